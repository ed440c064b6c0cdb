"""Hostile envelopes: references that do not end, secrets in odd places, and bytes in every charset."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from flask import Flask
from flask.testing import FlaskClient

from gateway.web import legacy_api as web
from gateway.web.limits import Limit
from gateway.web.soap import SOAP_11
from tests.legacy_calls import AUTH, TEXT, TOML, events, leaked, owed, rows, send, soap, values
from tests.visitor import console


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with console(tmp_path, TOML) as made:
        yield made


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def referring(inner: str, parts: str) -> str:
    call = f"<sendMessage><auth href='#auth'/><message>x</message>{inner}</sendMessage>"
    return f"<s:Envelope xmlns:s='{SOAP_11}'><s:Body>{call}{parts}</s:Body></s:Envelope>"


def attributes(count: int, name: str = "a") -> str:
    return " ".join(f'{name}{n}="urn:{n}"' for n in range(count))


def tenfold(level: int) -> str:
    return f"<r id='r{level}'>" + f"<r href='#r{level + 1}'/>" * 10 + "</r>"


ENDLESS = "Too many elements, or references among them that do not end."
LONG = "Too much text, by references to the same."
BOMBS = {
    "itself": ("<a id='a'><x href='#a'/><x href='#a'/></a>", ENDLESS),
    "round": ("<a id='a' href='#b'/><b id='b' href='#a'/>", ""),
    "laughs": ("<a id='a' href='#r0'/>" + "".join(map(tenfold, range(20))), ENDLESS),
    "wide": ("<a id='a'>" + "<item href='#b'/>" * 15_000 + "</a><b id='b'>" + "<c/>" * 15_000 + "</b>", ENDLESS),
    "long": ("<a id='a'>" + "<x href='#b'/>" * 4 + "</a><b id='b'>" + "x" * 700_000 + "</b>", LONG),
    "attributes": ("<a id='a'>" + "<x href='#b'/>" * 15_000 + f"</a><b id='b' {attributes(98)}/>", ""),
    "many attributes": (f"<a id='a' {attributes(40_000)}/>", "More than 20000 attributes."),
    "namespaces": (f"<a id='a' {attributes(19_000, 'xmlns:a')}/>", ""),
    "chain": (
        "<password href='#p0'/>" * 6_000 + "".join(f"<p id='p{n}' href='#p{n + 1}'/>" for n in range(6_000)),
        "",
    ),
    "nowhere": ("", ""),
}
"""Parts of an envelope, and the sentence of the fault that answers them; empty: the envelope is read."""
MOST_CALLS = 3_000_000
"""Calls of functions for one envelope; the most expensive of these needs a third of it."""


@contextmanager
def bounded() -> Iterator[None]:
    """Ends what would go on for hours, after so many calls: a number of seconds would depend on the machine."""
    calls = 0

    def count(_frame: FrameType, _event: str, _arg: object) -> None:
        nonlocal calls
        calls += 1
        if calls > MOST_CALLS:
            raise AssertionError("It does not end.")

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("name", BOMBS)
def test_references_that_do_not_end(client: FlaskClient, name: str) -> None:
    """Most of these would cost hours, or all memory, if they were followed blindly."""
    parts, fault = BOMBS[name]
    with bounded():
        answer = soap(client, referring("<recipientList href='#a'/>", parts + "<auth id='auth'/>"))
    assert (answer.status_code, values(answer).get("faultstring", "")) == (400 if fault else 200, fault)


def headed(header: str) -> str:
    """An envelope that is accepted, but for what its header may bring."""
    return send().replace("<s:Body>", f"<s:Header>{header}</s:Header><s:Body>")


@pytest.mark.parametrize(
    ("header", "most", "fault"),
    [
        (lambda tags: "<h/>" * (tags - headed("").count("<")), 60_000, "More than 60000 tags."),
        (lambda depth: "<h>" * (depth - 2) + "</h>" * (depth - 2), 64, "Nested deeper than 64."),
        (lambda count: f"<h {attributes(count)}/>", 100, "An element with more than 100 attributes."),
        (lambda count: "<h a='b'/>" * (count - 2), 20_000, "More than 20000 attributes."),
        (
            lambda count: "<h a = '\"' b\n=\n\"'\"/>" * ((count - 2) // 2 + count % 2),
            20_000,
            "More than 20000 attributes.",
        ),
    ],
    ids=["tags", "depth", "attributes", "all attributes", "spaced attributes"],
)
def test_how_much_an_envelope_may_be(client: FlaskClient, header: Callable[[int], str], most: int, fault: str) -> None:
    assert values(soap(client, headed(header(most))))["result"] == "true"
    answer = soap(client, headed(header(most + 1)))
    assert (answer.status_code, values(answer)["faultstring"]) == (400, fault)


@pytest.mark.parametrize(
    "auth",
    [
        "<auth><username>acme-user</username><password href='#p'/></auth><p id='p' href='#q'/><q id='q'>canary</q>",
        "<auth><item><key href='#k'/><value href='#p'/></item></auth><k id='k'>password</k><p id='p'>canary</p>",
        "<auth><PassWord>canary<b>canary</b>canary</PassWord></auth>",
        "<auth password='canary' x:api_key='canary' xmlns:x='urn:x'/>",
        "<auth><x:user_name xmlns:x='urn:x'>canary</x:user_name></auth>",
        "<auth><password><![CDATA[canary]]></password></auth>",
        "<auth><password>can<!-- x -->ary</password></auth>",
    ],
)
def test_credentials_are_kept_nowhere(app: Flask, client: FlaskClient, auth: str) -> None:
    for name in ("sendMessage", "noSuchCall"):
        body = f"<s:Envelope xmlns:s='{SOAP_11}'><s:Body><{name}>{auth}</{name}></s:Body></s:Envelope>"
        assert soap(client, body).status_code == (200 if name == "sendMessage" else 400)
    assert len(events(app)) == 2 and not leaked(app)


@pytest.mark.parametrize(
    ("charset", "declared", "content_type"),
    [
        ("utf-8", None, "text/xml"),
        ("utf-8", None, None),
        ("utf-8", "utf-8", "text/xml; charset=UTF-8"),
        ("utf-8-sig", "utf-8", "text/xml"),
        ("utf-16", "utf-16", "text/xml; charset=utf-16"),
        ("utf-16-le", "utf-16", "text/xml"),
        ("utf-16-be", "utf-16", "text/xml; charset=utf-16"),
        ("iso-8859-1", "ISO-8859-1", "text/xml"),
        ("iso-8859-1", None, "text/xml; charset=iso-8859-1"),
        ("iso-8859-15", "ISO-8859-15", "text/xml"),
        ("iso-8859-15", None, "text/xml; charset=iso-8859-15"),
        ("windows-1252", "windows-1252", 'text/xml; charset="windows-1252"'),
        ("windows-1252", "utf-8", "text/xml; charset=utf-8"),
        ("windows-1252", None, "text/xml; charset=utf-16"),
        ("utf-8", "no-such-charset", "text/xml; charset=nor-this"),
    ],
)
def test_charsets(
    app: Flask, client: FlaskClient, charset: str, declared: str | None, content_type: str | None
) -> None:
    text = "é ü" if charset == "iso-8859-1" else "é €" if charset in ("windows-1252", "iso-8859-15") else TEXT
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    body = (head + send(message=text)).encode(charset)
    assert values(soap(client, body, content_type))["result"] == "true"
    assert owed(app)[0]["message"] == text and text.encode()[:2] in events(app)[0].body


def test_strangers_do_not_fill_the_disk(app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of wrong guesses no body is kept, of what cannot be read the beginning; and of both no more than so many."""
    monkeypatch.setattr(web, "UNREADABLE_KEPT", Limit("calls of strangers kept", 3))
    wrong = send(auth=AUTH | {"password": "guess"})
    for _ in range(2):
        assert values(soap(client, wrong))["error_code"] == "101"
    long = b"a=%ff&" * 5_000
    for _ in range(4):
        assert client.post("/legacy/sendMessage", data=long, content_type="text/plain; charset=utf-8").status_code
        assert values(soap(client, "<no envelope"))
    kept = rows(app, "SELECT state, length(body) AS size FROM events ORDER BY id")
    assert {row.state for row in kept} == {"refused"} and len(kept) == 3
    assert [row.size for row in kept[:2]] == [0, 0] and all(row.size <= web.MAX_KEPT_BYTES for row in kept)
    assert values(soap(client, send()))["result"] == "true", "who may is let in all the same"
