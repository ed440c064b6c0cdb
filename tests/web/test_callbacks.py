"""Where the platforms call: what they are answered, and what is on disk by then."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text as sql
from structlog.testing import capture_logs

from gateway.inbound.accept import MIN_EVENT_BYTES
from gateway.serve import logging
from gateway.store import Store, StoreUnavailable
from gateway.web.context import WebContext
from tests import acme
from tests.visitor import Visitor, console

CARRIERX = "/carrierx/callback/"
CALLBACK = "/legacy/callback/"
STATUS = "/legacy/status/"
BODIES = {CARRIERX: acme.text(), CALLBACK: acme.keyword_callback(), STATUS: acme.status_post()}
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with console(tmp_path, acme.TOML.format(database="sqlite:///data/gateway.db")) as made:
        yield made


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def store_of(app: Flask) -> Store:
    here: WebContext = app.extensions["gateway"]
    return here.store


def kept(app: Flask) -> list[Any]:
    with store_of(app).reader() as connection:
        return list(connection.execute(sql("SELECT * FROM events ORDER BY id")))


@pytest.mark.parametrize("path", BODIES)
def test_200_is_on_disk(app: Flask, client: FlaskClient, path: str) -> None:
    with capture_logs() as logs:
        answer = client.post(path + acme.KEY, data=BODIES[path])
    body, kind = (b"{}", "application/json") if path == CARRIERX else (b"", "text/plain")
    assert (answer.status_code, answer.data, answer.mimetype) == (200, body, kind)
    (event,) = kept(app)
    assert bytes(event.body) == BODIES[path]
    said = {"format": event.source, "state": event.state, "event_id": event.id, "key": "keys[0]"}
    assert logs == [{"event": "callback_kept", "log_level": "info", **said}], "and nothing of the body"


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("key", ["wrong", "", "k\u00e9y", "key-of-the-tests2"])
def test_a_wrong_key_is_403(app: Flask, client: FlaskClient, path: str, key: str) -> None:
    assert client.post(path + key, data=BODIES[path]).status_code == 403
    assert not kept(app)


@pytest.mark.parametrize("path", BODIES)
def test_the_key_may_be_the_password_of_basic(client: FlaskClient, path: str) -> None:
    token = base64.b64encode(b"anybody:the-next-key").decode()
    answer = client.post(path.rstrip("/"), data=BODIES[path], headers={"Authorization": f"Basic {token}"})
    assert answer.status_code == 200


NAMED = """
[[key]]
name = "platform"
value = ["platform-key-of-2027", "platform-key-of-2026"]
for = "legacy"
"""


def test_a_key_lets_in_what_it_is_for_and_is_named(tmp_path: Path) -> None:
    with console(tmp_path, acme.TOML.format(database="sqlite:///data/gateway.db") + NAMED) as app:
        client = app.test_client()
        for value in ("platform-key-of-2027", "platform-key-of-2026"):
            assert client.post(CALLBACK + value, data=BODIES[CALLBACK]).status_code == 200
            assert client.post(STATUS + value, data=BODIES[STATUS]).status_code == 200
            answer = client.post(CARRIERX + value, data=BODIES[CARRIERX])
            assert answer.status_code == 403
            assert answer.get_json() == {"errors": {"key": ["This key is not for carrierx callbacks."]}}
        # A second key in HTTP Basic counts, too.
        answer = client.post(CARRIERX + value, data=BODIES[CARRIERX], auth=("anybody", acme.KEY))
        assert answer.status_code == 200
        assert [event.key for event in kept(app)] == ["platform"] * 4 + ["keys[0]"]
        said = client.get("/metrics").text
        line = 'gateway_callbacks_turned_away_total{format="carrierx",key="platform",reason="scope"} 2.0'
        assert line in said and "platform-key-of" not in said


def test_beyond_the_budget_refused_ones_are_counted_alone(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.inbound.accept.BUDGET_BYTES", MIN_EVENT_BYTES)
    visitor = Visitor(app)
    visitor.log_in("password-of-the-tests")
    answers = []
    for _ in range(3):
        answers.append(client.post(CARRIERX + acme.KEY, data=b"{}"))
        assert ("More came today" in visitor.get("/refused").text) == (len(answers) > 1)
    assert {(answer.status_code, answer.data) for answer in answers} == {(400, answers[0].data)}
    assert len(kept(app)) == 1
    said = client.get("/metrics").text
    assert 'gateway_callbacks_turned_away_total{format="carrierx",key="keys[0]",reason="budget"} 2.0' in said
    assert client.post(CARRIERX + acme.KEY, data=acme.text()).status_code == 200


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
def test_other_methods_are_405(client: FlaskClient, path: str, method: str) -> None:
    answer = client.open(path + acme.KEY, method=method)
    assert answer.status_code == 405 and answer.headers["Allow"] == "POST"


@pytest.mark.parametrize("path", BODIES)
def test_a_wrong_key_is_told_before_the_body_is_read(client: FlaskClient, path: str) -> None:
    class Unread:
        def read(self, size: int = -1) -> bytes:
            raise AssertionError("the body was read")

        readline = read

    answer = client.post(path + "wrong", environ_overrides={"wsgi.input": Unread(), "CONTENT_LENGTH": "5"})
    assert answer.status_code == 403


@pytest.mark.parametrize("path", BODIES)
def test_a_mebibyte_is_taken_and_no_more(app: Flask, client: FlaskClient, path: str) -> None:
    size = 1024 * 1024
    assert client.post(path + acme.KEY, data=b"x" * size).status_code == 400
    assert client.post(path + acme.KEY, data=b"x" * (size + 1)).status_code == 413
    assert len(kept(app)) == 1


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(("coding", "status"), [("gzip", 415), ("identity", 200), ("Identity", 200), ("x, br", 415)])
def test_encoded_bodies_are_415(client: FlaskClient, path: str, coding: str, status: int) -> None:
    answer = client.post(path + acme.KEY, data=BODIES[path], headers={"Content-Encoding": coding})
    assert answer.status_code == status


def test_faults_are_named(client: FlaskClient) -> None:
    answer = client.post(CARRIERX + acme.KEY, data=b'{"direction": "any"}')
    assert answer.status_code == 400 and {"direction", "from", "to", "message_sid"} <= set(answer.get_json()["errors"])
    answer = client.post(CALLBACK + acme.KEY, data=b"message=hello")
    assert answer.status_code == 400 and answer.mimetype == "text/plain"
    assert [line.partition(":")[0] for line in answer.text.splitlines()] == ["phone", "shortcode"]


def test_a_store_that_cannot_keep_is_503(monkeypatch: pytest.MonkeyPatch, app: Flask, client: FlaskClient) -> None:
    def unavailable(*given: Any, **named: Any) -> None:
        raise StoreUnavailable("canary: disk on fire")

    monkeypatch.setattr(store_of(app).writer, "submit", unavailable)
    for path, body in BODIES.items():
        answer = client.post(path + acme.KEY, data=body)
        assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
        assert b"canary" not in answer.data
    assert client.get("/readyz").status_code == 503 and client.get("/healthz").status_code == 200


def test_a_fault_of_ours_is_503_too(monkeypatch: pytest.MonkeyPatch, client: FlaskClient) -> None:
    def broken(*given: Any) -> None:
        raise RuntimeError("a bug, with canary")

    monkeypatch.setattr("gateway.routing.route.route", broken)
    with capture_logs([logging.add_exception]) as logs:
        answer = client.post(CARRIERX + acme.KEY, data=acme.text())
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
    (line,) = logs
    assert (line["event"], line["log_level"], line["exception"]) == ("callback_failed", "error", "RuntimeError")
    assert line["frames"][-1].endswith(" broken") and "canary" not in str(line) and acme.KEY not in str(line)


def test_a_fault_of_the_metrics_is_503_too(app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("gateway.metrics.Metrics.observe", broken)
    with capture_logs() as logs:
        answer = client.post(CARRIERX + acme.KEY, data=acme.text())
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
    assert [line["event"] for line in logs] == ["callback_kept", "callback_failed"]


@pytest.mark.parametrize(("hops", "status"), [("", 200), ("4", 200), ("5", 400), ("x", 200), ("9" * 40, 200)])
def test_what_goes_in_circles_is_refused(client: FlaskClient, hops: str, status: int) -> None:
    answer = client.post(CARRIERX + acme.KEY, data=acme.text(), headers={"X-Gateway-Hops": hops})
    assert answer.status_code == status


def test_the_hops_go_on(app: Flask, client: FlaskClient) -> None:
    client.post(CARRIERX + acme.KEY, data=acme.text(), headers={"X-Gateway-Hops": "2"})
    with store_of(app).reader() as connection:
        headers = [json.loads(row.headers) for row in connection.execute(sql("SELECT headers FROM deliveries"))]
    assert headers and all(["X-Gateway-Hops", "3"] in one for one in headers)


def test_no_content_type_is_a_form_and_so_is_any_other(app: Flask, client: FlaskClient) -> None:
    for kind in (None, FORM.upper(), "text/plain", f"{FORM}; charset=utf-8"):
        headers = {"Content-Type": kind} if kind else {}
        answer = client.post(CALLBACK + acme.KEY, data=acme.keyword_callback(), headers=headers)
        assert answer.status_code == 200
    assert {event.state for event in kept(app)} == {"accepted"}


def test_metrics(client: FlaskClient) -> None:
    client.post(CARRIERX + acme.KEY, data=acme.text())
    client.post(CARRIERX + "wrong", data=acme.text())
    said = client.get("/metrics").text
    assert 'gateway_callbacks_kept_total{format="carrierx",key="keys[0]",state="accepted"} 1.0' in said
    assert 'gateway_callbacks_turned_away_total{format="carrierx",key="",reason="key"} 1.0' in said
    assert 'gateway_deliveries_owed{endpoint="page"} 1.0' in said
    assert client.get("/readyz").status_code == 200


def test_a_text_that_a_pattern_finds_ambiguous_is_answered_at_once(tmp_path: Path) -> None:
    """`re` needed 31 seconds for it, in which no other callback was answered."""
    word = '\n  [[number.keyword]]\n  word = "^(a|aa)+$"\n  match = "regex"\n'
    with console(tmp_path, acme.TOML.format(database="sqlite:///data/gateway.db") + word) as app:
        begun = time.perf_counter()
        body = acme.text(message="a" * 61 + "b", to_did="15162065900")
        assert app.test_client().post(f"{CARRIERX}{acme.KEY}", data=body).status_code == 200
        assert time.perf_counter() - begun < 5
