"""The console's pages: what came in, what it became, where it went; replays, late routes, search, configuration."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from gateway.config import Config
from gateway.safe_http.ssrf import HIDDEN
from gateway.store import Store, StoreUnavailable, leases, search
from gateway.store.retention import blank
from gateway.web.console import config as configuration
from gateway.web.console import templating
from tests.acme import keyword_callback, status_post, text, update
from tests.visitor import BASE, KEY, Visitor, console

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7331*7331*7331 }}"
CONFIG = (
    BASE
    + """
allow_networks = ["10.0.0.0/8"]
egress_proxy = "http://canary-proxy-user:canary-proxy-password@proxy.example.com:3128"

[carrierx]
token = "canary-token"
partner_sid = "66352290-bd20-4ed0-a403-8c00792f15b8"

[legacy]
user_name = "canary-legacy-user"
password = "canary-legacy-password"
api_key = "canary-legacy-key"

[endpoint.page]
url = "http://127.0.0.1:9999/page.php?key=canary-query"
credentials = { user_name = "canary-user", password = "canary-password", api_key = "canary-api-key" }
username = "gateway"
password = "canary-basic"
headers = { X-Tenant = "canary-header" }
status_words = "numeric"
timeout = 7

[endpoint.app]
url = "http://127.0.0.1:9999/app"
format = "carrierx"
secret = "canary-signing-secret"

[endpoint.odd]
url = "http://127.0.0.1:9999/odd.asp"
send_charset = false
encode_twice = ["message", "group"]
phone = "national"

[[number]]
number = "15162065919"
shortcode = "12345"
title = "Acme alerts"
callback = ["app"]
status = ["page"]

  [[number.keyword]]
  word = "JOIN"
  aliases = ["SIGNUP"]
  callback = ["page", "app"]
"""
)
CANARY = re.compile(r"canary[a-z-]*")
TRIO = {
    "user_name": "canary-legacy-user",
    "password": "canary-legacy-password",
    "api_key": "canary-legacy-key",
}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with console(tmp_path, CONFIG) as made:
        yield made


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    made = Visitor(app)
    made.log_in()
    return made


def store_of(app: Flask) -> Store:
    found: Store = app.extensions["gateway"].store
    return found


def call(app: Flask, body: bytes, path: str = "/carrierx/callback", content_type: str = "application/json") -> int:
    """A platform's callback; the status of its answer."""
    return app.test_client().post(f"{path}/{KEY}", data=body, content_type=content_type).status_code


def newest(app: Flask) -> search.EventDetail:
    with store_of(app).reader() as connection:
        (found, *_) = search.search_events(connection, search.EventSearch()).found
        whole = search.load_event(connection, found.event.id)
    assert whole
    return whole


def attempt(app: Flask, endpoint: str, outcome: leases.AttemptOutcome, answer: bytes = b"ok") -> None:
    """What the worker does with all that is due to one endpoint."""
    now, store = time.time(), store_of(app)
    work = partial(
        leases.claim, owner="worker", limits={endpoint: leases.ClaimLimit(9)}, now=now, lease_seconds={endpoint: 30.0}
    )
    for claimed in store.writer.write(work):
        settled = leases.SettledDelivery(
            claimed=claimed,
            outcome=outcome,
            finished_at=now + 0.1,
            due=now + 5 if outcome == "again" else None,
            sentence="" if outcome == "succeeded" else "answered 500 (Internal Server Error)",
            status=200 if outcome == "succeeded" else 500,
            answer_headers=(("Server", "Apache"), ("X-Echo", "canary-header")),
            answer_body=answer,
            times={"connect": 1.5, "total": 12.5},
            diagnosis=()
            if outcome == "succeeded"
            else ("answered 500 (Internal Server Error)", "its own log tells why"),
        )
        settle = partial(leases.settle_all, owner="worker", settled=[settled], now=now)
        store.writer.write(settle, ordering_keys=[claimed.ordering_key])


def words(answer: TestResponse) -> str:
    """What a person reads, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


# Overview


def test_an_empty_overview(visitor: Visitor) -> None:
    said = words(visitor.get("/"))
    assert "Accepted in 24 h 0" in said and "Oldest owed –" in said
    assert "app working none yet 0 – 0 – –" in said and "page working none yet" in said


def test_the_overview(app: Flask, visitor: Visitor) -> None:
    call(app, text())
    call(app, text(message_sid="b", message="join again"))
    call(app, text(message_sid="c", to_did="19995550000"))
    call(app, b"{")
    attempt(app, "page", "dead")
    attempt(app, "app", "succeeded")
    said = words(visitor.get("/"))
    assert "Accepted in 24 h 2" in said and "Unrouted in 24 h 1" in said and "Refused in 24 h 1" in said
    assert re.search(r"Owed 2 Oldest owed \d+ s Dead 1", said)
    assert re.search(
        r"page working dead \d+ s ago 1 \d+ s 1 12 ms answered 500 \(Internal Server Error\) \d+ s ago", said
    )
    assert re.search(r"app working succeeded \d+ s ago 1 \d+ s 0 12 ms –", said)


def test_an_endpoint_that_was_taken_out_is_still_shown_while_it_is_owed(app: Flask, visitor: Visitor) -> None:
    call(app, text())
    work = "UPDATE deliveries SET endpoint = 'former' WHERE endpoint = 'page'"
    store_of(app).writer.write(lambda connection: connection.exec_driver_sql(work))
    assert "former not in the configuration" in words(visitor.get("/"))


# Events


def test_the_search(app: Flask, visitor: Visitor) -> None:
    call(app, text(message="join me"))
    call(app, text(message_sid="other", from_did="15165550001", message="hello there"))
    call(app, update())
    call(app, keyword_callback(**TRIO), "/legacy/callback", "application/x-www-form-urlencoded")
    for query, found in (
        ("", 4),
        ("phone=15162065515", 3),
        ("phone=%2B1+(516)+206-5515", 3),
        ("phone=5162065515", 3),
        ("number=12345", 4),
        ("number=15162065919&phone=15165550001", 1),
        ("keyword=JOIN", 2),
        ("keyword=join", 2),
        ("ticket=order-7", 2),
        ("message_sid=other", 1),
        ("state=accepted", 4),
        ("state=unrouted", 0),
        ("source=legacy-callback", 1),
        ("since=2020-01-01T00:00", 4),
        ("until=2020-01-01T00:00", 0),
        ("since=2020-01-01T00:00:00%2B01:00", 4),
        ("unknown=1&_scheme=evil&_external=1", 4),
        ("state=nonsense", 4),
    ):
        page = visitor.get(f"/events?{query}")
        assert page.status_code == 200
        assert len(set(re.findall(r'href="(/events/\d+)"', page.text))) == found, query
    assert "hello there" in words(visitor.get("/events"))


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("value", ["x", "2026-13-01", "-1", "9999999999999999"])
def test_a_time_that_is_none(visitor: Visitor, name: str, value: str) -> None:
    page = visitor.get(f"/events?{name}={value}")
    assert page.status_code == 400 and f'name="{name}" value="{value}" aria-invalid="true"' in page.text


def test_pages(app: Flask, visitor: Visitor) -> None:
    for turn in range(51):
        call(app, text(message_sid=f"sid-{turn}", message=f"number {turn}."))
    first = visitor.get("/events?phone=15162065515&_scheme=evil")
    (older,) = re.findall(r'href="([^"]+)" rel="next"', first.text)
    assert html.unescape(older) == "/events?phone=15162065515&offset=50"
    assert "number 50." in first.text and "number 0." not in first.text and 'rel="prev"' not in first.text
    second = visitor.get(html.unescape(older))
    assert "number 0." in second.text and 'rel="next"' not in second.text and 'rel="prev"' in second.text


@pytest.mark.parametrize("offset", ["-1", "x", "99999999999999999999999"])
def test_an_offset_that_is_none(visitor: Visitor, offset: str) -> None:
    assert visitor.get(f"/events?offset={offset}").status_code == 200
    assert visitor.get(f"/deliveries?offset={offset}").status_code == 200


def test_one_event_whole(app: Flask, visitor: Visitor) -> None:
    body = text(message="join é 🎉\nsecond line")
    call(app, body)
    attempt(app, "page", "again", b"<h1>Oops</h1>")
    attempt(app, "app", "succeeded")
    event = newest(app).event
    page = visitor.get(f"/events/{event.id}")
    said = words(page)
    assert html.escape(body.decode(), quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page.text
    assert "keyword JOIN" in said and "phone 15162065515" in said and "segments 1" in said
    assert "page pending" in said and "app succeeded" in said
    assert re.search(r"next attempt \d{4}-\d\d-\d\d \d\d:\d\d:\d\d , in \d s", said)
    assert "message=join+%C3%A9+%F0%9F%8E%89%0Asecond+line" in said, "what the page gets, as bytes"
    assert "answered 500 (Internal Server Error) its own log tells why" in said
    assert "<h1>Oops" in said and "X-Delivery-Id" in said and "connect 1.5, total 12.5" in said
    assert "000000 7b 22" in said, "byte for byte"


def test_the_bytes_can_be_saved_and_are_never_shown_as_what_they_say(app: Flask, visitor: Visitor) -> None:
    body = b"phone=15162065515&shortcode=12345&message=%3Cscript%3E\xff\x00raw&user_name=canary-legacy-user&password=x"
    call(app, body, "/legacy/callback", "text/html")
    event = newest(app).event
    answer = visitor.get(f"/events/{event.id}/body")
    assert answer.data == event.body and b"canary" not in answer.data
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="event-{event.id}.bin"'
    assert visitor.get(f"/events/{event.id}").status_code == 200


@pytest.mark.parametrize(
    "path", ["/events/0", "/events/999", f"/events/{2**63}", f"/events/{10**40}", "/events/1/body"]
)
def test_an_event_that_is_not_there(visitor: Visitor, path: str) -> None:
    assert visitor.get(path).status_code == 404


def test_by_the_id_that_its_receiver_saw(app: Flask, visitor: Visitor) -> None:
    call(app, text())
    delivery = newest(app).deliveries[0]
    answer = visitor.get(f"/deliveries/{delivery.delivery_id}")
    assert answer.headers["Location"] == f"/events/{delivery.event_id}#delivery-{delivery.delivery_id}"
    assert visitor.get("/deliveries/00000000-0000-0000-0000-000000000000").status_code == 404
    assert visitor.get("/deliveries/nonsense").status_code == 404


@pytest.mark.parametrize("path", ["/legacy/callback", "/legacy/status", "/carrierx/callback"])
def test_everything_that_comes_in_is_text(app: Flask, visitor: Visitor, path: str) -> None:
    """Hostile fields everywhere: no page has an element, an attribute or a template of theirs."""
    if path == "/carrierx/callback":
        call(app, text(message=HOSTILE, message_sid=HOSTILE, status=HOSTILE, user_data=HOSTILE, type=HOSTILE), path)
    elif path == "/legacy/callback":
        fields = dict.fromkeys(("title", "message", "carrier", "keyword", "group", "custom_ticket"), HOSTILE)
        call(app, keyword_callback(**fields, **TRIO), path, f"application/x-www-form-urlencoded; x={HOSTILE}")
    else:
        fields = dict.fromkeys(("status", "ticket", "custom_ticket"), HOSTILE)
        call(app, status_post(**fields), path, f"application/x-www-form-urlencoded; x={HOSTILE}")
    attempt(app, "page", "dead", HOSTILE.encode())
    attempt(app, "app", "dead", HOSTILE.encode())
    event = newest(app).event
    pages = (
        "/",
        "/events",
        f"/events?phone={HOSTILE}&state={HOSTILE}",
        f"/events/{event.id}",
        "/deliveries",
        "/refused",
    )
    for each in (*pages, f"/deliveries?to={HOSTILE}", f"/explain?to={HOSTILE}&text={HOSTILE}"):
        page = visitor.get(each)
        assert page.status_code == 200
        assert "<script" not in page.text and "<img" not in page.text and str(7331**3) not in page.text
    assert "&lt;script&gt;alert(1)" in visitor.get(f"/events/{event.id}").text


def test_secrets_that_an_endpoint_echoes_are_hidden(app: Flask, visitor: Visitor) -> None:
    call(app, text())
    attempt(app, "page", "dead", b"you sent password=canary-password and canary%2Dapi-key canary-api-key canary-basic")
    said = words(visitor.get(f"/events/{newest(app).event.id}"))
    assert f"you sent password={HIDDEN}" in said and f"X-Echo: {HIDDEN}" in said
    assert not CANARY.findall(said.replace("canary%2Dapi-key", ""))


# Unrouted and refused


def test_unrouted(app: Flask, visitor: Visitor, tmp_path: Path) -> None:
    for turn in range(3):
        call(app, text(message_sid=f"sid-{turn}", to_did="19995550000", message="join late"))
    event = newest(app).event
    assert "join late" in words(visitor.get("/unrouted"))
    path = f"/events/{event.id}"
    with capture_logs() as logs:
        answer = visitor.post(f"{path}/route", page=path)
    assert logs == [{"event": "routed_later", "log_level": "info", "routed": 0, "left": 1}], "nothing was done"
    assert (answer.status_code, answer.headers["Location"]) == (303, path)
    assert "Routed 0; 1 still go nowhere." in words(visitor.get(path))

    configure(app, tmp_path, CONFIG.replace('shortcode = "12345"', 'shortcode = "19995550000"'))
    visitor.post(f"{path}/route", page=path)
    said = words(visitor.get(path))
    assert "Routed 1; 0 still go nowhere." in said and "accepted" in said and "page pending" in said
    with capture_logs() as logs:
        visitor.post("/unrouted/route", page="/unrouted")
    assert logs[0]["event"] == "audit" and logs[0]["action"] == "reroute"
    assert logs[1:] == [{"event": "routed_later", "log_level": "info", "routed": 2, "left": 0}]
    said = words(visitor.get("/unrouted"))
    assert "Routed 2; 0 still go nowhere." in said and "None found." in said
    visitor.post(f"{path}/route", page="/")
    assert "Routed 0" in words(visitor.get(path)), "once is enough"
    assert len(newest(app).deliveries) == 2


def test_refused(app: Flask, visitor: Visitor) -> None:
    form = b"shortcode=12345&user_name=canary-legacy-user&api_key=canary-legacy-key&password="
    call(app, form + b"canary-legacy-password", "/legacy/callback", "")
    call(app, form + b"canary-another-one", "/legacy/callback", "")
    call(app, b'{"direction": "any"}')
    said = words(visitor.get("/refused"))
    assert "phone : " in said and "direction : " in said and "credentials : " in said and not CANARY.search(said)
    with store_of(app).reader() as connection:
        found = search.search_events(connection, search.EventSearch(state="refused")).found
    reasons = (
        "direction : Must be one of: inbound, outbound.",
        "credentials : Not the configured ones.",
        "phone : Missing data for required field.",
    )
    for each, reason in zip(found, reasons, strict=True):
        page = visitor.get(f"/events/{each.event.id}")
        assert page.status_code == 200 and not CANARY.search(page.text)
        assert [one for one in reasons if one in words(page)] == [reason]


# Deliveries and replays


def test_replay_of_one(app: Flask, visitor: Visitor) -> None:
    call(app, text())
    attempt(app, "page", "dead")
    attempt(app, "app", "succeeded")
    whole = newest(app)
    path = f"/events/{whole.event.id}"
    for delivery, button in zip(whole.deliveries, ("Replay", "Send again"), strict=True):
        assert button in words(visitor.get(path))
        answer = visitor.post(f"/deliveries/{delivery.delivery_id}/replay", page=path)
        assert answer.headers["Location"] == f"{path}#delivery-{delivery.delivery_id}"
        assert "Put back 1 delivery." in words(visitor.get(path))
    assert {each.state for each in newest(app).deliveries} == {"pending"}
    visitor.post(f"/deliveries/{whole.deliveries[0].delivery_id}/replay", page=path)
    assert "It is on its way already." in words(visitor.get(path))


def test_replay_of_a_filter(app: Flask, visitor: Visitor) -> None:
    for turn in range(3):
        call(app, text(message_sid=f"sid-{turn}", from_did=f"1516555000{turn}"))
    attempt(app, "page", "dead")
    attempt(app, "app", "dead")
    said = words(visitor.get("/deliveries?to=page"))
    assert "every dead delivery to page" in said and said.count("legacy-callback") == 3
    visitor.post("/deliveries/replay", page="/deliveries?to=page", state="dead", to="page", since="2999-01-01T00:00")
    assert "Put back 0 deliveries." in words(visitor.get("/deliveries"))
    answer = visitor.post("/deliveries/replay", page="/deliveries?to=page", state="dead", to="page", since="")
    assert answer.headers["Location"] == "/deliveries?state=dead&to=page"
    assert "Put back 3 deliveries." in words(visitor.get("/deliveries?to=page"))
    assert "legacy-callback" not in words(visitor.get("/deliveries"))
    visitor.post("/deliveries/replay", page="/deliveries", state="dead", to="", since="2020-01-01T00:00")
    assert "Put back 3 deliveries." in words(visitor.get("/deliveries"))


@pytest.mark.parametrize("data", [{"state": "pending"}, {"state": "x"}, {"since": "yesterday"}])
def test_replays_of_nothing_known(app: Flask, visitor: Visitor, data: dict[str, str]) -> None:
    assert visitor.post("/deliveries/replay", page="/", **data).status_code == 400


@pytest.mark.parametrize("path", ["/deliveries/replay", "/unrouted/route", "/events/1/route"])
def test_changes_are_posts_with_a_token(visitor: Visitor, path: str) -> None:
    assert visitor.get(path).status_code in (404, 405)
    assert visitor.raw_post(path, {}, **{"Sec-Fetch-Site": "same-origin"}).status_code == 400
    data = {"csrf_token": visitor.token("/")}
    assert visitor.raw_post(path, data, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_what_its_format_cannot_say_is_not_replayed(app: Flask, visitor: Visitor) -> None:
    call(app, text())
    work = "UPDATE deliveries SET content_type = '', state = 'dead', queue_position = NULL, due = NULL, settled_at = 1"
    store_of(app).writer.write(lambda connection: connection.exec_driver_sql(work))
    whole = newest(app)
    assert "Replay" not in words(visitor.get(f"/events/{whole.event.id}"))
    visitor.post(f"/deliveries/{whole.deliveries[0].delivery_id}/replay", page="/")
    assert "Put back 0 deliveries." in words(visitor.get("/"))


def test_what_is_blanked_is_shown_as_deleted_and_cannot_be_sent_or_routed(app: Flask, visitor: Visitor) -> None:
    call(app, text())
    attempt(app, "page", "dead", b"you sent canary-text")
    attempt(app, "app", "succeeded")
    sent = newest(app)
    call(app, text(message_sid="late", to_did="19995550000"))
    unrouted = newest(app).event
    now = unrouted.received_at + 31 * 86_400
    blanked = store_of(app).writer.write(partial(blank, before=now, now=now, seconds=60.0))
    assert blanked.events == 2
    path = f"/events/{sent.event.id}"
    said = words(visitor.get(path))
    assert said.count("deleted after 31 days") == 3 and not re.search("canary-text|JOIN please|Send again|Replay", said)
    assert "deleted after 31 days" in words(visitor.get("/events"))
    visitor.post(f"/deliveries/{sent.deliveries[0].delivery_id}/replay", page="/")
    assert "It cannot be sent again: its body is deleted after its retention." in words(visitor.get("/"))
    visitor.post("/deliveries/replay", page="/deliveries", state="dead", to="page", since="")
    said = words(visitor.get("/"))
    assert "Put back 0 deliveries." in said and "1 cannot be sent again: their bodies are deleted" in said
    assert "Route by" not in words(visitor.get(f"/events/{unrouted.id}"))
    for way, sentence in (
        (f"/events/{unrouted.id}/route", "It cannot be routed: its text is deleted after its retention."),
        ("/unrouted/route", "Routed 0; 0 still go nowhere. 1 cannot be routed: their texts are deleted"),
    ):
        visitor.post(way, page="/")
        assert sentence in words(visitor.get("/"))


# Configuration and explain


def configure(app: Flask, folder: Path, changed: str) -> None:
    (folder / "gateway.toml").write_text(changed, encoding="utf-8")
    settings = app.extensions["gateway"].settings
    settings._looked = float("-inf")
    assert settings.current


def test_the_configuration_without_its_secrets(visitor: Visitor) -> None:
    page = visitor.get("/configuration")
    said = words(page)
    assert not CANARY.findall(page.text) and KEY not in page.text
    for each in (
        "keys 1 set",
        "password set",
        "allow_networks 10.0.0.0/8",
        "prefix 1",
        "country US",
        f"egress_proxy http://{HIDDEN}@proxy.example.com:3128",
        "carrierx.token set carrierx.login – carrierx.password –",
        "legacy.user_name set legacy.password set legacy.api_key set",
        f"url http://127.0.0.1:9999/page.php?key={HIDDEN}",
        "timeout 7 s connect_timeout 5 s",
        "username gateway password set",
        "headers X-Tenant: set",
        "secret 1 set",
        "delivered → 100",
        "send_charset no",
        "encode_twice group, message",
        "phone national",
        "15162065919: Acme alerts",
        "JOIN word SIGNUP page, app",
    ):
        assert each in said, each


def test_the_database_is_shown_without_its_password() -> None:
    url = "postgresql://me:canary@db.example.com:5432/sms?password=canary&sslmode=require"
    shown = dict(configuration.gateway_rows(Config(folder=Path(), data=Path(), database=url)))
    assert shown["database"] == f"postgresql://{HIDDEN}@db.example.com:5432/sms?password={HIDDEN}&sslmode={HIDDEN}"


def test_a_refused_configuration(app: Flask, visitor: Visitor, tmp_path: Path) -> None:
    assert "was refused" not in words(visitor.get("/"))
    configure(app, tmp_path, CONFIG.replace("timeout = 7", "timout = 7") + "<script>")
    for page in ("/", "/events", "/test/callback"):
        assert "The changed configuration was refused." in words(visitor.get(page))
    assert "refused" not in words(Visitor(app).get("/login")), "that is nobody's business before the login"
    configure(app, tmp_path, CONFIG.replace("timeout = 7", "timout = 7"))
    said = words(visitor.get("/configuration"))
    assert "gateway.toml:" in said and "endpoint.page.timout" in said and not CANARY.search(said)
    assert "timeout 7 s" in said, "the one before is still at work"
    configure(app, tmp_path, CONFIG)
    assert "was refused" not in words(visitor.get("/"))


def test_warnings(app: Flask, visitor: Visitor, tmp_path: Path) -> None:
    configure(app, tmp_path, CONFIG + '\n  [[number.keyword]]\n  word = "two words"\n  callback = ["app"]\n')
    assert "two words" in words(visitor.get("/configuration"))
    assert "Warnings" in words(visitor.get("/configuration"))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "Number or short code that is texted"),
        ("to=12345&text=signup+now", 'It matches JOIN Because the first word is "SIGNUP"'),
        ("to=12345&text=hello", "It matches no keyword"),
        ("to=1+516+206+5919&text=join", "page (legacy) http://127.0.0.1:9999/page.php"),
        ("to=99999&text=join", "99999 is no number or short code of the configuration"),
    ],
)
def test_explain(visitor: Visitor, query: str, said: str) -> None:
    page = visitor.get(f"/explain?{query}")
    assert said in words(page) and not CANARY.search(page.text)


def test_explain_says_which_keywords_match_as_well(app: Flask, visitor: Visitor, tmp_path: Path) -> None:
    configure(
        app, tmp_path, CONFIG + '\n  [[number.keyword]]\n  word = "JO"\n  match = "prefix"\n  callback = ["app"]\n'
    )
    page = visitor.get("/explain?to=12345&text=join")
    assert 'JO (prefix): the text begins with "JO"; but match = "word" is more exact' in words(page)


# What goes wrong


def test_while_the_store_is_away(app: Flask, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("canary-database-host is down")

    monkeypatch.setattr(Store, "reader", away)
    for path in ("/", "/events", "/events/1", "/deliveries", "/configuration"):  # a session is a row of the store
        answer = visitor.get(path)
        assert answer.status_code == 503 and answer.headers["Retry-After"] and "canary" not in answer.text


def test_sandbox_has_a_page_of_its_own(visitor: Visitor) -> None:
    assert 'href="/sandbox"' not in visitor.get("/").text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0 s"), (0, "0 s"), (59.9, "60 s"), (60, "1 min"), (3_599, "59 min"), (7_200, "2 h"), (200_000, "2 d")],
)
def test_spans(seconds: float, said: str) -> None:
    assert templating.ago(seconds) == said


def test_bodies_as_fields() -> None:
    assert templating.fields(b'{"a": "x", "b": null, "c": 0.10, "d": ["y"]}', "") == [
        ("a", "x"), ("b", "null"), ("c", "0.10"), ("d", '["y"]'),
    ]  # fmt: skip
    assert templating.fields(b"a=1&a=2", "application/x-www-form-urlencoded") == [("a", "1"), ("a", "2")]
    assert templating.fields(b"{", "application/json") == templating.fields(b" ", "") == []


def test_hexdump() -> None:
    assert templating.hexdump(b"") == ""
    first, second = templating.hexdump(bytes(range(0x30, 0x41))).split("\n")
    assert first == "000000  30 31 32 33 34 35 36 37  38 39 3a 3b 3c 3d 3e 3f  0123456789:;<=>?"
    assert second.startswith("000010  40") and second.endswith("  @")
