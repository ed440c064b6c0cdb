"""The legacy calls as plain form posts, answered as a form or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from gateway.outbound.model import ErrorCode
from gateway.store import StoreUnavailable, ledger
from gateway.web.legacy_forms import OPERATIONS
from tests.legacy_calls import AUTH, PHONES, SECRETS, TEXT, TOML, events, leaked, owed, rows, store_of
from tests.visitor import console

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with console(tmp_path, TOML) as made:
        yield made


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def post(client: FlaskClient, name: str, said: Any, **headers: str) -> TestResponse:
    body = said if isinstance(said, bytes) else urlencode(said, doseq=True).encode()
    return client.post(f"/legacy/{name}", data=body, headers={"Content-Type": FORM, **headers})


def read(answer: TestResponse) -> dict[str, str]:
    assert answer.content_type == f"{FORM}; charset=UTF-8"
    return dict(parse_qsl(answer.text, keep_blank_values=True, strict_parsing=True))


SENDING = AUTH | {"message": TEXT, "sendTo": PHONES[0], "custom_ticket": "ct"}
WITHOUT = {name: value for name, value in SENDING.items() if name != "sendTo"}


def test_a_ticket_as_a_form_and_as_json(app: Flask, client: FlaskClient) -> None:
    said = read(post(client, "sendMessage", SENDING))
    assert list(said) == ["result", "error_code", "message", "custom_ticket", "ticket"]
    assert (said["result"], said["error_code"], said["custom_ticket"]) == ("1", "0", "ct")
    answer = post(client, "sendMessage", SENDING, Accept="application/json")
    assert answer.content_type == "application/json" and answer.get_json()["result"] is True
    assert [event.ticket for event in events(app)] == [said["ticket"], answer.get_json()["ticket"]]
    assert [one["message"] for one in owed(app)] == [TEXT, TEXT] and not leaked(app)


@pytest.mark.parametrize("accept", ["", "*/*", "text/html,*/*;q=0.8", f"{FORM},application/json;q=0.5"])
def test_a_form_unless_json_is_preferred(client: FlaskClient, accept: str) -> None:
    read(post(client, "sendMessage", SENDING, Accept=accept))


@pytest.mark.parametrize(
    "pairs",
    [
        [("sendTo", PHONES[0]), ("sendTo", PHONES[1])],
        [("sendTo[]", PHONES[0]), ("sendTo[]", PHONES[1])],
        [("sendTo[0]", PHONES[0]), ("sendTo[1]", PHONES[1])],
        [("sendTo", f"{PHONES[0]},{PHONES[1]}")],
        [("sendTo", f" +{PHONES[0]} ;\r\n{PHONES[1]}\n")],
        [("recipients", ",".join(PHONES))],
        [("recipientList[recipients][0]", PHONES[0]), ("recipientList[recipients][1]", PHONES[1])],
        [
            ("recipientList[recipients][0][sendTo]", PHONES[0]),
            ("recipientList[recipients][0][type]", "1"),
            ("recipientList[recipients][1][sendTo]", PHONES[1]),
            ("recipientList[recipients][1][type]", "1"),
        ],
        [("recipients[a][sendTo]", PHONES[0]), ("recipients[b][sendTo]", PHONES[1])],
        [("recipientList[0][sendTo]", PHONES[0]), ("recipientList[1][sendTo]", PHONES[1])],
        [("recipients[][sendTo]", PHONES[0]), ("recipients[][type]", "1"), ("recipients[][sendTo]", PHONES[1])],
    ],
)
def test_recipients_in_every_spelling(app: Flask, client: FlaskClient, pairs: list[tuple[str, str]]) -> None:
    assert read(post(client, "sendMessage", [*WITHOUT.items(), *pairs]))["result"] == "1"
    assert [one["to"] for one in owed(app)] == list(PHONES)


@pytest.mark.parametrize(
    "spell",
    [lambda name: name, lambda name: {"username": "user_name", "code": "shortcode"}.get(name, name), "auth[{}]".format],
)
def test_credentials_in_every_spelling(app: Flask, client: FlaskClient, spell: Any) -> None:
    said = {spell(name): value for name, value in AUTH.items()} | {"message": "x", "sendTo": PHONES[0]}
    assert read(post(client, "sendMessage", said))["result"] == "1"
    parts = "".join(f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in said.items())
    kind = "multipart/form-data; boundary=b"
    answer = client.post("/legacy/sendMessage", data=f"{parts}--b--\r\n", headers={"Content-Type": kind})
    assert read(answer)["result"] == "1" and not leaked(app)
    assert all(PHONES[0].encode() in event.body for event in events(app))


@pytest.mark.parametrize("spell", [str.upper, str.title, "auth[{}]".format, "AUTH[{}]".format, " {} ".format])
def test_credentials_are_kept_nowhere(app: Flask, client: FlaskClient, spell: Any) -> None:
    secret = {spell(name): value for name, value in SECRETS.items()}
    post(client, "sendMessage", secret | {"message": "x"})
    post(client, "sendMessage", (urlencode(secret) + "&x" * 1001).encode())
    body = urlencode(secret).encode()
    client.post("/legacy/sendMessage", data=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert len(events(app)) == 3 and not leaked(app)


def test_the_first_of_doubled_names_counts(app: Flask, client: FlaskClient) -> None:
    assert read(post(client, "sendMessage", [*SENDING.items(), ("message", "other"), ("code", "9")]))["result"] == "1"
    assert owed(app)[0]["message"] == TEXT


def test_a_template(app: Flask, client: FlaskClient) -> None:
    said = AUTH | {"template": "welcome", "name": "you", "recipientList[recipients][0][sendTo]": PHONES[0]}
    said |= {"recipientList[recipients][1][sendTo]": PHONES[1], "recipientList[recipients][1][name]": "Ann"}
    assert read(post(client, "sendTemplateMessage", said))["result"] == "1"
    assert [one["message"] for one in owed(app)] == ["Hello you, from 12345", "Hello Ann, from 12345"]
    refused = read(post(client, "sendTemplateMessage", {k: v for k, v in said.items() if k != "name"}))
    assert refused["error_code"] == str(ErrorCode.TEMPLATE)


def test_a_form_in_windows_1252(app: Flask, client: FlaskClient) -> None:
    said = urlencode(SENDING | {"message": "é €"}, encoding="windows-1252").encode()
    assert read(post(client, "sendMessage", said))["result"] == "1"
    assert owed(app)[0]["message"] == "é €"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"password": "canary wrong"}, ErrorCode.CREDENTIALS),
        ({"code": "99999"}, ErrorCode.CODE),
        ({"sendTo": ""}, ErrorCode.RECIPIENTS),
        ({"message": ""}, ErrorCode.MESSAGE),
        ({"status_url": "ftp://x/"}, ErrorCode.STATUS_URL),
    ],
)
def test_a_refusal_has_the_same_shape(app: Flask, client: FlaskClient, changes: dict[str, str], code: int) -> None:
    for accept in (FORM, "application/json"):
        answer = post(client, "sendMessage", SENDING | changes, Accept=accept)
        said = answer.get_json() if accept != FORM else read(answer)
        assert answer.status_code == 200 and str(said["error_code"]) == str(code) and said["message"]
        assert said["result"] in (False, "0") and said["ticket"] == ""
    assert not owed(app) and not leaked(app)


def test_what_became_of_it(client: FlaskClient) -> None:
    ticket = read(post(client, "sendMessage", SENDING | {"sendTo": ",".join(PHONES)}))["ticket"]
    asked = SECRETS | {"transaction_ticket_id": ticket}
    said = read(post(client, "getTransactionStatus", asked))
    assert list(said)[:5] == ["result", "error_code", "message", "recipients[0][sendTo]", "recipients[0][status_code]"]
    assert (said["recipients[0][sendTo]"], said["recipients[1][sendTo]"]) == PHONES
    assert (said["recipients[1][status_message]"], said["recipients[1][result]"]) == ("queued", "1")
    told = post(client, "getTransactionStatus", asked | {"sentTo": PHONES[1]}, Accept="application/json").get_json()
    assert (
        told["recipients"] == [{"sendTo": PHONES[1], "status_code": 99, "status_message": "queued", "result": True}]
        and told["result"]
    )
    by_own = post(client, "getCustomTransactionStatus", SECRETS | {"custom_ticket": "ct", "sendTo": PHONES[0]})
    assert read(by_own)["recipients[0][sendTo]"] == PHONES[0]
    assert read(post(client, "getTransactionStatus", SECRETS | {"ticket": ticket}))["result"] == "1"
    none = post(client, "getTransactionStatus", SECRETS | {"ticket": "x"}, Accept="application/json").get_json()
    assert (none["result"], none["error_code"], none["recipients"]) == (False, ErrorCode.UNKNOWN_TICKET, [])


def test_nobody_can_tell(app: Flask, client: FlaskClient) -> None:
    """102 is no failure: who reads it as one would send a second time what may have been sent."""
    ticket = read(post(client, "sendMessage", SENDING))["ticket"]
    ((send_id,),) = rows(app, "SELECT send_id FROM ledger")
    store_of(app).writer.write(lambda conn: ledger.mark_undecided(conn, send_id, "The answer was lost.", 1.0))
    told = post(client, "getTransactionStatus", SECRETS | {"transaction_ticket_id": ticket}, Accept="application/json")
    assert told.get_json()["recipients"] == [
        {"sendTo": PHONES[0], "status_code": 102, "status_message": "unknown", "result": True}
    ]


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_no_form(app: Flask, client: FlaskClient, name: str) -> None:
    answer = post(client, name, b"&".join([b"a=b"] * 1001))
    assert answer.status_code == 400 and read(answer)["error_code"] == str(ErrorCode.MALFORMED)
    kind = {"Content-Type": "multipart/form-data; boundary=b", "Accept": "application/json"}
    answer = client.post(f"/legacy/{name}", data=b"password=canary", headers=kind)
    assert answer.status_code == 400 and answer.get_json()["result"] is False
    assert [json.loads(event.errors)["body"] != [] for event in events(app)] == [True, True] and not leaked(app)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_other_methods_are_405(client: FlaskClient, name: str, method: str) -> None:
    answer = client.open(f"/legacy/{name}", method=method)
    assert answer.status_code == 405 and answer.headers["Allow"] == "POST"


def test_too_large_and_packed(client: FlaskClient) -> None:
    large = post(client, "sendMessage", b"message=" + b"x" * 1024 * 1024)
    assert large.status_code == 413 and read(large)["result"] == "0"
    assert post(client, "sendMessage", b"x", **{"Content-Encoding": "gzip"}).status_code == 415


def test_a_store_that_is_away(app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(store_of(app).writer, "write", away)
    answer = post(client, "sendMessage", SENDING)
    assert (answer.status_code, answer.headers["Retry-After"], read(answer)["error_code"]) == (
        503,
        "5",
        str(ErrorCode.LATER),
    )
