"""Nothing expensive is read for somebody unknown: bodies of pages, pairs, large forms to send."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
from flask import Flask

from gateway.web.app import MAX_PAGE_BYTES
from gateway.web.callbacks import MAX_QUICK_BYTES
from gateway.web.legacy_forms import MAX_SENDER_BYTES, MAX_SENDER_NAME_BYTES
from schemas import wire
from tests.legacy_calls import AUTH, TOML, events, leaked
from tests.visitor import KEY, Visitor, console

FORM = wire.FORM
MANY = "a=b&" * wire.MAX_PAIRS
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
FILLING = {f"filling{number}": "é" * 100 for number in range(MAX_QUICK_BYTES // 600 + 1)}
"""Makes a form large; each byte of a value is three in it."""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with console(tmp_path, TOML) as made:
        yield made


@pytest.fixture
def visitor(tmp_path: Path) -> Iterator[Visitor]:
    """Who is logged in."""
    with console(tmp_path) as made:
        visitor = Visitor(made)
        visitor.log_in()
        yield visitor


@pytest.mark.parametrize("path", ["/login", "/logout", "/test/paste", "/opt-outs", "/nowhere"])
def test_the_body_of_a_page_is_small(visitor: Visitor, path: str) -> None:
    body = b"a" * (MAX_PAGE_BYTES + 1)
    answer = visitor.client.post(path, data=body, content_type=FORM)
    assert answer.status_code == (404 if path == "/nowhere" else 413)
    # The body is not touched: there is none.
    length = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO()}
    answer = visitor.client.post(path, content_type=FORM, environ_overrides=length)
    assert answer.status_code == (404 if path == "/nowhere" else 413)


def test_pasted_bodies_may_be_as_large_as_a_page(visitor: Visitor) -> None:
    said = {"body": "", "format": "legacy-callback", "csrf_token": visitor.token("/test/paste")}
    most = MAX_PAGE_BYTES - len(urlencode(said))
    for length, status in ((most, 400), (most + 1, 413)):
        answer = visitor.client.post("/test/paste", data=said | {"body": "a" * length}, headers=SAME_ORIGIN)
        assert answer.status_code == status


@pytest.mark.parametrize("count", [wire.MAX_PAIRS - 1, wire.MAX_PAIRS])
def test_pairs_of_a_page_are_counted_before_they_are_decoded(
    app: Flask, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    monkeypatch.setattr("werkzeug.formparser.parse_qsl", lambda body, **_: decoded.append(body) or [])
    answer = app.test_client().post("/login", data=b"a&" * count, content_type=FORM)
    assert (answer.status_code, bool(decoded)) == ((400, True) if count < wire.MAX_PAIRS else (413, False))


@pytest.mark.parametrize("path", ["/login", "/events", "/legacy/webservices/", f"/carrierx/callback/{KEY}"])
def test_pairs_of_a_query_are_counted_before_they_are_decoded(app: Flask, path: str) -> None:
    assert app.test_client().get(f"{path}?{MANY}").status_code == 414
    assert app.test_client().get(f"{path}?{MANY[4:]}").status_code != 414


WRONG = AUTH | {"password": "canary of somebody else"}
SPELLINGS = {
    "plain": urlencode(WRONG),
    "escaped names": urlencode(WRONG).replace("username", "%75ser%5Fname").replace("password", "%50assword"),
    "inner names": urlencode({f"auth[{name}]": value for name, value in WRONG.items()}),
    "bare brackets": "&".join(f"auth[{name}]={value}" for name, value in WRONG.items()),
    "none": "",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["sendMessage", "getCustomTransactionStatus"])
def test_a_large_form_with_wrong_credentials_is_not_read(
    app: Flask, name: str, spelling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    read_form = wire.read_form
    monkeypatch.setattr(wire, "read_form", lambda body, type_: read.append(body) or read_form(body, type_))
    client, small = app.test_client(), f"{SPELLINGS[spelling]}&custom_ticket=ct"
    answers = [
        parse_qsl(client.post(f"/legacy/{name}", data=body, content_type=FORM).text, keep_blank_values=True)
        for body in (small, f"{small}&{urlencode(FILLING)}", f"{urlencode(FILLING)}&{small}")
    ]
    assert dict(answers[0])["error_code"] == "101" and answers[0] == answers[1] == answers[2]
    assert max(map(len, read)) <= len(small)
    kept = [(event.state, event.number, event.keyword, event.custom_ticket, event.body) for event in events(app)]
    assert len(set(kept)) <= 1 and len(kept) == (3 if name == "sendMessage" else 0)
    assert not leaked(app)


@pytest.mark.parametrize("prefix", ["auth[{}]", "%20{}%20", "\0{}", "{}"])
def test_a_large_form_with_the_right_credentials_is_read(app: Flask, prefix: str) -> None:
    said = {prefix.format(name): value for name, value in AUTH.items()} | {"message": "x", "sendTo": "15162065515"}
    for body in (
        urlencode(said | FILLING),
        urlencode(FILLING | said) + "\r\n",
        urlencode(FILLING | said).replace("a", "%61"),
    ):
        body = body.replace("%2520", "+")
        answer = app.test_client().post("/legacy/sendMessage", data=body, content_type=FORM)
        assert dict(parse_qsl(answer.text))["result"] == "1"
    assert not leaked(app)


@pytest.mark.parametrize(
    "body",
    [
        urlencode(AUTH) + "&custom_ticket=" + "%41" * MAX_SENDER_BYTES,
        urlencode(AUTH).replace("username", "+" * MAX_SENDER_NAME_BYTES + "username") + "&a=" + "b" * MAX_QUICK_BYTES,
    ],
    ids=["values", "names"],
)
def test_what_a_sender_says_of_himself_is_short(app: Flask, body: str) -> None:
    answer = app.test_client().post("/legacy/sendMessage", data=body, content_type=FORM)
    assert dict(parse_qsl(answer.text))["error_code"] == "101"
