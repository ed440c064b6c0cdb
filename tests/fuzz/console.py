"""Every page of the console, as its routes list them: queries and forms of a person, of a program and of a stranger."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st
from lxml import etree
from sqlalchemy import select
from werkzeug.routing import Rule

from gateway.store import schema
from gateway.web.console.search_forms import EVENT_FIELDS, EVENT_SOURCES, EVENT_STATES, SEND_FIELDS
from schemas.credentials import CREDENTIALS
from schemas.legacy import CALLBACK_FIELDS, STATUS_FIELDS
from tests import acme, drawn
from tests.fuzz.corpus import VECTORS, damaged
from tests.fuzz.engine import Target
from tests.legacy_calls import LEGACY, send, soap, store_of
from tests.servers import Server, ok, replying
from tests.visitor import Visitor, console

PASSWORD = "password-of-the-tests"
BASIC = {"Authorization": "Basic " + b64encode(f"anybody:{PASSWORD}".encode()).decode()}
NAMES = tuple(
    dict.fromkeys(
        ("next", "token", "password", "to", "text", "offset", "after_phone", "after_number", "what", "endpoint", "url")
        + ("body", "format", "csrf_token", "note")
        + (*EVENT_FIELDS, *SEND_FIELDS, *CALLBACK_FIELDS, *STATUS_FIELDS, *CREDENTIALS)
    )
)
# No name is looked up, and nobody outside this machine is called.
urls = st.builds(
    "{}://{}{}".format,
    st.sampled_from(("http", "https", "file", "gopher", "HTTP", "")),
    st.sampled_from(("127.0.0.1:9", "[::1]", "0x7f000001", "169.254.169.254", "10.0.0.1:99999", "u:p@127.1", "[", "")),
    st.sampled_from(("", "/", "/x?y=z#", "\\@127.0.0.1/", "/\r\nX: y", "/%00")),
)
values = st.one_of(
    st.sampled_from(("page", "app", "gone", "legacy-callback", "carrierx", "2026-11-20T08:00", "12345", PASSWORD, "1")),
    st.sampled_from((*EVENT_STATES, *EVENT_SOURCES, "dead", "succeeded", "lift", "https://evil.example/", "//evil")),
    st.sampled_from(("0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00", "-1", "9" * 30, "٣", "[hidden]", "\0", "%")),
    drawn.numbers,
    drawn.texts,
    urls,
)
pasted = st.sampled_from(sorted(VECTORS)).flatmap(
    lambda name: st.tuples(
        st.sampled_from((name, name, "")), damaged([body for body, _ in VECTORS[name]]) | drawn.bodies
    ).map(lambda given: [("format", given[0]), ("body", given[1].decode(errors="replace"))])
)
posted = st.sampled_from(("page", "app")).flatmap(
    lambda name: st.tuples(st.just(("endpoint", name)), st.tuples(st.sampled_from(NAMES), values)).map(list)
)
pairs = st.lists(st.tuples(st.sampled_from(NAMES) | st.text(max_size=8), values), max_size=6)
callers = st.sampled_from(("person", "person", "program", "program", "stranger"))


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    with Server(replying(ok(b"<b>got it</b>"))) as application:
        url = f'"{application.url("/page")}"'
        toml = acme.TOML.format(database="sqlite:///data/gateway.db").replace('"http://127.0.0.1:9999/page.php"', url)
        with console(folder, toml + LEGACY) as app:
            person = Visitor(app)
            stranger = app.test_client()
            ids = found_ids(app)
            addresses = (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in count(1))
            assert person.log_in(PASSWORD).status_code == 303
            token = person.token("/opt-outs")

            def check(given: tuple[str, str, str, list[tuple[str, str]], list[tuple[str, str]], str]) -> str:
                method, path, caller, query, form, accept = given
                if path in ("/login", "/logout") and caller == "person":
                    caller = "stranger"  # whose guesses, even on a device that is known, do not hold up the others
                client = person.client if caller == "person" else stranger
                headers = {"Accept": accept} | (BASIC if caller == "program" else {})
                if caller == "person" and method == "POST":
                    form = [("csrf_token", token), *form]
                answer = client.open(
                    path + (f"?{urlencode(query, errors='replace')}" if query else ""),
                    method=method,
                    data=urlencode(form, errors="replace").encode() if form else None,
                    content_type=drawn.FORM if form else None,
                    headers=headers,
                    environ_overrides={"REMOTE_ADDR": next(addresses)},
                )
                assert answer.status_code < 500, answer.status
                answer.close()
                return f"{caller} {answer.status_code // 100}xx"

            inputs = requests(list(app.url_map.iter_rules()), ids) | submitted(forms_of(person, ids))
            yield Target(inputs=inputs, check=check, ways=WAYS)


WAYS = ("person 2xx", "person 3xx", "person 4xx", "program 2xx", "program 3xx", "program 4xx", "stranger 3xx")


def found_ids(app: Any) -> list[str]:
    """Ids of events and deliveries that there are: a few callbacks and sends come first."""
    client = app.test_client()
    for path, body in (
        ("carrierx", acme.text()),
        ("carrierx", acme.text(to_did="15160000000")),
        ("carrierx", b"{"),
        ("legacy", acme.keyword_callback()),
    ):
        client.post(f"/{path}/callback/{acme.KEY}", data=body)
    soap(client, send())
    with store_of(app).reader() as connection:
        events = connection.execute(select(schema.events.c.id)).scalars().all()
        deliveries = connection.execute(select(schema.deliveries.c.delivery_id)).scalars().all()
    assert len(events) == 5 and deliveries, (events, deliveries)
    return [*map(str, events), *deliveries]


def forms_of(person: Visitor, ids: list[str]) -> list[tuple[str, str, list[str]]]:
    """Method, path and fields of each form on the pages that the navigation and the events lead to."""
    start = etree.HTML(person.get("/").data)
    paths = {path for path in start.xpath("//nav//a/@href") if path.startswith("/")}
    found = {}
    for path in sorted(paths | {"/test/status", "/test/paste"} | {f"/events/{id}" for id in ids if id.isdigit()}):
        for form in etree.HTML(person.get(path).data).xpath("//form"):
            method, action = form.get("method", "get").upper(), form.get("action") or path
            found[method, action] = (method, action, sorted(set(form.xpath(".//@name")) - {"csrf_token"}))
    assert len(found) > 10, found
    return list(found.values())


def submitted(forms: list[tuple[str, str, list[str]]]) -> st.SearchStrategy[Any]:
    """A form with anything in its fields."""

    def filled_in(form: tuple[str, str, list[str]]) -> st.SearchStrategy[Any]:
        method, action, names = form
        fields = st.fixed_dictionaries({}, optional=dict.fromkeys(names, values)).map(lambda said: list(said.items()))
        query, body = (st.just([]), fields) if method == "POST" else (fields, st.just([]))
        return st.tuples(st.just(method), st.just(action), callers, query, body, st.just("text/html"))

    return st.sampled_from(forms).flatmap(filled_in)


def requests(rules: list[Rule], ids: list[str]) -> st.SearchStrategy[Any]:
    """Requests to any route with any argument."""
    paths = st.sampled_from(sorted(rules, key=str)).flatmap(lambda rule: filled(rule, ids))
    accepts = st.sampled_from(("text/html", "application/json", "*/*", "x/y;q=é", ""))
    return st.one_of(
        st.tuples(st.sampled_from(("GET", "POST", "POST", "HEAD", "PUT")), paths, callers, pairs, pairs, accepts),
        st.tuples(st.just("GET"), paths, callers, pairs, st.just([]), accepts),
        st.tuples(st.just("POST"), st.just("/test/paste"), callers, st.just([]), pasted, accepts),
        st.tuples(
            st.just("POST"), st.sampled_from(("/test/callback", "/test/status")), callers, st.just([]), posted, accepts
        ),
    )


def filled(rule: Rule, ids: list[str]) -> st.SearchStrategy[str]:
    """The paths of a route, most of them with ids that there are."""
    known = st.sampled_from(ids) | st.sampled_from(("callback", "status", "sent", "again", "given-up", "console.css"))
    words = known | drawn.texts.map(lambda text: quote(text, errors="replace")) | st.just("9" * 30)
    first, *others = re.split(r"<[^>]*>", rule.rule)
    parts = (st.tuples(words, st.just(part)).map("".join) for part in others)
    return st.tuples(st.just(first), *parts).map("".join)
