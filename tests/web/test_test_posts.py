"""The test forms, their twin for programs, the commands and the paste page, against real servers on this machine."""

from __future__ import annotations

import html
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import pytest
from click.testing import CliRunner
from flask import Flask
from standardwebhooks.webhooks import Webhook
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from gateway import test_posts
from gateway.cli import messages
from gateway.safe_http.ssrf import HIDDEN
from gateway.web import limits
from gateway.web.console.test_posts import TEST_POSTS_PER_MINUTE
from gateway.web.context import WebContext
from schemas import FORMATS, CannotSay, WireFormat
from schemas.legacy import CALLBACK_FIELDS, STATUS_FIELDS
from tests.acme import keyword_callback, status_post, text, update
from tests.servers import Caller, Server, answer, ok, replying
from tests.visitor import BASE, PASSWORD, Visitor, console

PHRASE = "canary phrase/é&'<"
SIGNING = "whsec_" + b64encode(b"canary-signing-secret-32-bytes!!").decode()
SECRETS = ("canary-user", PHRASE, "canary-api-key", "canary-basic", "canary-header", "canary-query", SIGNING)
ENDPOINTS = """
allow_networks = []

[endpoint.page]
url = "{url}/page.php?key=canary-query&mode=sms"
credentials = {{ user_name = "canary-user", password = "{phrase}", api_key = "canary-api-key" }}
username = "gateway"
password = "canary-basic"
headers = {{ X-Tenant = "canary-header" }}

[endpoint.app]
url = "{url}/app"
format = "carrierx"
secret = "{secret}"

[endpoint.old]
url = "{url}/old.asp"
charset = "windows-1252"
send_charset = false
phone = "national"

[[number]]
number = "15162065919"
shortcode = "54321"
title = "Acme alerts"
default_keyword = "ACME1234"
callback = ["page"]
status = ["page", "app"]

  [[number.keyword]]
  word = "PARTY"
  callback = ["page", "app"]
  title = "Summer party"
"""
JSON = {"Accept": "application/json"}
PROGRAM = {**JSON, "Authorization": "Basic " + b64encode(f"program:{PASSWORD}".encode()).decode()}


def configured(url: str, allow: str = "[]") -> str:
    tables = ENDPOINTS.format(url=url, secret=SIGNING, phrase=PHRASE)
    return BASE + tables.replace("allow_networks = []", f"allow_networks = {allow}")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(replying(ok(b"saved"))) as running:
        yield running


@pytest.fixture
def app(tmp_path: Path, server: Server) -> Iterator[Flask]:
    with console(tmp_path, configured(server.url(""), '["127.0.0.0/8"]')) as made:
        yield made


@pytest.fixture
def strict(tmp_path: Path, server: Server) -> Iterator[Flask]:
    """Free-form URLs only to the public internet."""
    with console(tmp_path, configured(server.url(""))) as made:
        yield made


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    made = Visitor(app)
    made.log_in()
    return made


def ask(app: Flask, kind: str = "callback", **fields: str) -> TestResponse:
    """What a program does."""
    return app.test_client().post(f"/test/{kind}", data=fields, headers=PROGRAM)


def told(app: Flask, kind: str = "callback", **fields: str) -> dict[str, Any]:
    answered = ask(app, kind, **fields)
    assert answered.status_code == 200, answered.text
    found: dict[str, Any] = answered.get_json()
    return found


def head_and_body(request: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}, body


def fields_of(request: bytes) -> list[tuple[str, str]]:
    return parse_qsl(head_and_body(request)[1].decode("ascii"), keep_blank_values=True, strict_parsing=True)


# The twin for programs


def test_the_documented_answer(app: Flask, server: Server) -> None:
    found = told(app, endpoint="old", message="PARTY é 🎉")
    assert set(found) == {"ok", "verdict", "diagnosis", "request", "response", "times"}
    assert found["ok"] is True and found["verdict"] == "succeeded"
    assert set(found["request"]) == {"method", "url", "headers", "body"}
    assert found["request"]["method"] == "POST" and found["request"]["url"] == server.url("/old.asp")
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in found["request"]["headers"])
    assert set(found["response"]) == {"status", "headers", "body"}
    assert found["response"]["status"] == 200 and found["response"]["body"] == "saved"
    assert ["Content-Length", "5"] in found["response"]["headers"]
    assert set(found["times"]) == {"name", "connect", "tls", "first_byte", "total"}
    assert all(isinstance(value, (int, float)) for value in found["times"].values())
    assert 0 < found["times"]["connect"] <= found["times"]["first_byte"] <= found["times"]["total"]


def test_what_is_shown_is_what_was_sent(app: Flask, server: Server) -> None:
    found = told(app, endpoint="old")
    headers, body = head_and_body(server.requests[0])
    assert {name.lower(): value for name, value in found["request"]["headers"]} == headers
    assert found["request"]["body"] == body.decode("ascii")


@pytest.mark.parametrize(("kind", "names"), [("callback", CALLBACK_FIELDS), ("status", STATUS_FIELDS)])
def test_every_field_in_its_order_samples_where_none_is_given(
    app: Flask, server: Server, kind: str, names: tuple[str, ...]
) -> None:
    told(app, kind, url=server.url("/free.php"))
    found = fields_of(server.requests[0])
    assert [name for name, _ in found] == list(names)
    assert ("code", "54321") in found, "the sample is of the number that is configured"


def test_every_field_can_be_changed(app: Flask, server: Server) -> None:
    given = {name: f"{name} é & 🎉\nlines" for name in CALLBACK_FIELDS} | {"phone": "15162065515"}
    given |= {"code": "12345", "shortcode": "12345"}
    told(app, url=server.url("/"), **given)
    assert fields_of(server.requests[0]) == [(name, given[name]) for name in CALLBACK_FIELDS]


def test_empty_stays_empty(app: Flask, server: Server) -> None:
    told(app, url=server.url("/"), title="", message="", keyword="")
    found = dict(fields_of(server.requests[0]))
    assert (found["title"], found["message"], found["keyword"]) == ("", "", "")


def test_it_is_the_deliverys_own_request(app: Flask, server: Server) -> None:
    told(app, endpoint="page")
    headers, body = head_and_body(server.requests[0])
    assert server.requests[0].startswith(b"POST /page.php?key=canary-query&mode=sms HTTP/1.1\r\n")
    assert headers["content-type"] == "application/x-www-form-urlencoded; charset=UTF-8"
    assert headers["x-test"] == "1" and headers["x-delivery-attempt"] == "1" and len(headers["x-delivery-id"]) == 36
    assert headers["x-tenant"] == "canary-header"
    assert headers["authorization"] == "Basic " + b64encode(b"gateway:canary-basic").decode()
    assert body.endswith(b"&user_name=canary-user&password=canary+phrase%2F%C3%A9%26%27%3C&api_key=canary-api-key")
    assert "expect" not in headers and "transfer-encoding" not in headers


def test_the_manners_of_the_endpoint(app: Flask, server: Server) -> None:
    found = told(app, endpoint="old", message="é 🎉", phone="15162065515")
    headers, body = head_and_body(server.requests[0])
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert b"&message=%E9+%3F&phone=5162065515&" in body
    assert any("message" in sentence for sentence in found["diagnosis"]), "what the charset lacks is said"


@pytest.mark.parametrize("kind", ["callback", "status"])
def test_an_endpoint_for_json_gets_the_message(app: Flask, server: Server, kind: str) -> None:
    found = told(app, kind, endpoint="app")
    headers, body = head_and_body(server.requests[0])
    said = json.loads(body)
    assert headers["content-type"].startswith("application/json")
    assert said["direction"] == ("inbound" if kind == "callback" else "outbound")
    assert set(said["legacy"]) == set(CALLBACK_FIELDS if kind == "callback" else STATUS_FIELDS)
    Webhook(SIGNING).verify(body, headers)
    assert json.loads(found["request"]["body"]) == said


@pytest.mark.parametrize("kind", ["callback", "status"])
def test_no_secret_is_shown(tmp_path: Path, kind: str) -> None:
    def echo(caller: Caller) -> None:
        while (request := caller.read_request()) is not None:
            tenant = head_and_body(request)[0].get("x-tenant", "none")
            said = unquote_plus(request.decode())
            caller.send(
                ok(
                    "\n".join((request.decode(), said, html.escape(said), json.dumps(said))).encode(),
                    f"X-Echo: {tenant}",
                )
            )

    with Server(echo) as server, console(tmp_path, configured(server.url(""))) as app:
        visitor = Visitor(app)
        visitor.log_in()
        for name in ("page", "app"):
            found = told(app, kind, endpoint=name)
            page = visitor.post(f"/test/{kind}", endpoint=name)
            assert server.requests[-1] and found["ok"] and page.status_code == 200
            for secret in SECRETS:
                assert secret not in json.dumps(found), secret
                assert secret not in page.text, secret
            for spelled in ("canary+phrase", "canary phrase", b64encode(b"gateway:canary-basic").decode()):
                assert spelled not in json.dumps(found) + page.text


def test_what_is_hidden_keeps_its_place(app: Flask) -> None:
    found = told(app, endpoint="page")
    assert found["request"]["url"].endswith(f"/page.php?key={HIDDEN}&mode={HIDDEN}")
    assert found["request"]["body"].endswith(f"&user_name={HIDDEN}&password={HIDDEN}&api_key={HIDDEN}")
    assert ["X-Tenant", HIDDEN] in found["request"]["headers"]
    assert ["Authorization", HIDDEN] in found["request"]["headers"]


def test_credentials_can_be_given_and_are_not_shown(app: Flask, server: Server) -> None:
    found = told(app, url=server.url("/"), user_name="me", password="canary-typed", api_key="k")
    assert server.requests[0].endswith(b"&user_name=me&password=canary-typed&api_key=k")
    assert "canary-typed" not in json.dumps(found)
    assert found["request"]["body"].endswith(f"&user_name={HIDDEN}&password={HIDDEN}&api_key={HIDDEN}")


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, {"endpoint"}),
        ({"endpoint": "", "url": " "}, {"endpoint"}),
        ({"endpoint": "page", "url": "http://example.com/"}, {"endpoint"}),
        ({"endpoint": "nobody"}, {"endpoint"}),
        ({"endpoint": "page", "colour": "blue", "sendTo": "1"}, {"colour", "sendTo"}),
        ({"endpoint": "page", "phone": ""}, {"phone"}),
        ({"endpoint": "page", "code": "", "shortcode": ""}, {"shortcode"}),
    ],
)
def test_the_callers_mistakes(app: Flask, server: Server, fields: dict[str, str], names: set[str]) -> None:
    answered = ask(app, **fields)
    assert answered.status_code == 400
    found = answered.get_json()["errors"]
    assert set(found) == names and all(isinstance(each, list) and each for each in found.values())
    assert not server.requests


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://127.1:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f000001:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://0.0.0.0:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://[fd00::1]/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
        "http://user:canary-url@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\@example.com/",
        "http://127.0.0.1:22/",
        "//127.0.0.1:{port}/",
        "http://[::1",
        "nonsense",
    ],
)
def test_a_refused_address_is_an_answer(strict: Flask, server: Server, url: str) -> None:
    found = told(strict, url=url.format(port=server.port))
    assert found["ok"] is False and found["response"] is None and found["diagnosis"]
    assert found["request"]["body"].startswith("title=")
    assert not server.requests and not server.connections


def test_the_whole_reason_for_the_operator(strict: Flask) -> None:
    said = " ".join(told(strict, url="http://127.0.0.1:8080/")["diagnosis"])
    assert "this address is not allowed: 127.0.0.1" in said


def test_allow_networks_opens_them(app: Flask, server: Server) -> None:
    assert told(app, url=server.url("/"))["ok"] is True


def test_metadata_is_never_open(tmp_path: Path, server: Server) -> None:
    with console(tmp_path, configured(server.url(""), '["0.0.0.0/0"]')) as app:
        assert told(app, url="http://169.254.169.254/")["response"] is None
        assert told(app, url=server.url("/"))["ok"] is True


def test_our_own_address_is_never_open(app: Flask, server: Server) -> None:
    app.config["OWN_ADDRESSES"] = frozenset({("127.0.0.1", server.port)})
    for where in ({"endpoint": "old"}, {"url": server.url("/")}):
        found = told(app, **where)
        assert found["ok"] is False and found["response"] is None
    assert not server.requests


@pytest.mark.parametrize(
    ("reply", "verdict", "words"),
    [
        (answer(302, b"", "Location: /Account/Login.aspx"), "again", "answered 302 to a login page"),
        (
            ok(b"<title>Error Occurred While Processing Request</title>"),
            "again",
            "a ColdFusion error page behind a 200",
        ),
        (answer(500, b"oops"), "again", "answered 500"),
        (answer(410, b"gone"), "dead", "answered 410"),
        (b"", "again", ""),
    ],
)
def test_what_is_wrong_in_plain_words(tmp_path: Path, reply: bytes, verdict: str, words: str) -> None:
    with Server(replying(reply) if reply else _hang_up) as server, console(tmp_path, configured(server.url(""))) as app:
        found = told(app, endpoint="old")
    assert found["ok"] is False and found["verdict"] == verdict
    assert words in " ".join(found["diagnosis"])
    assert (found["response"] is None) == (not reply)
    assert len(server.requests) == 1, "a test is never repeated"


def _hang_up(caller: Caller) -> None:
    caller.read_request()


def test_what_the_format_cannot_say(app: Flask, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise CannotSay("This cannot be said.")

    mute = WireFormat("legacy-callback", FORMATS["legacy-callback"].load, refuse)  # type: ignore[arg-type]
    monkeypatch.setattr(test_posts, "FORMATS", {"legacy-callback": mute})
    found = told(app, endpoint="old")
    assert found["ok"] is False and found["verdict"] == "dead" and found["response"] is None
    assert found["diagnosis"] == ["This cannot be said."] and not server.requests


def test_nothing_of_a_test_is_kept(app: Flask) -> None:
    told(app, endpoint="page")
    with app.extensions["gateway"].store.reader() as connection:
        for table in ("events", "deliveries", "attempts"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0


def test_the_log_says_that_it_was_a_test_and_nothing_more(app: Flask, server: Server) -> None:
    with capture_logs() as logged:
        told(app, url=server.url("/secret-path?canary-query=1"), message="canary-text", phone="15162065515")
    (line,) = [each for each in logged if each["event"] == "test_post"]
    assert line["test"] is True and line["kind"] == "callback" and line["verdict"] == "succeeded"
    for each in ("canary", "secret-path", "15162065515"):
        assert each not in str(logged)


def test_one_at_a_time(tmp_path: Path) -> None:
    waiting, let_go = threading.Event(), threading.Event()

    def slow(caller: Caller) -> None:
        caller.read_request()
        waiting.set()
        let_go.wait(30)
        caller.send(ok())

    with Server(slow) as server, console(tmp_path, configured(server.url(""))) as app:
        answers: list[int] = []
        first = threading.Thread(target=lambda: answers.append(ask(app, endpoint="old").status_code))
        first.start()
        assert waiting.wait(30)
        second = ask(app, endpoint="old")
        # A refusal does not end the test that is still running.
        assert ask(app, endpoint="old").status_code == 429
        let_go.set()
        first.join(30)
        third = ask(app, endpoint="old")
    assert second.status_code == 429 and int(second.headers["Retry-After"]) > 0
    assert answers == [200] and third.status_code == 200
    assert len(server.requests) == 2


def test_not_too_many(app: Flask) -> None:
    """120 in a minute, as docs/console.md says."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    context: WebContext = app.extensions["gateway"]
    object.__setattr__(context, "clock", lambda: at)
    for _ in range(119):
        context.limits.count(at.timestamp(), limits.Limit("test of program 127.0.0.1", TEST_POSTS_PER_MINUTE))
    answers = [ask(app, endpoint="old") for _ in range(2)]
    assert [each.status_code for each in answers] == [200, 429]
    assert answers[1].headers["Retry-After"] == "60"
    at += timedelta(seconds=59)
    assert ask(app, endpoint="old").status_code == 429
    at += timedelta(seconds=2)
    assert ask(app, endpoint="old").status_code == 200


def test_a_body_that_is_no_form(app: Flask) -> None:
    headers = {**PROGRAM, "Content-Type": "application/json"}
    answered = app.test_client().post("/test/callback", data=b'{"endpoint": "old"}', headers=headers)
    assert answered.status_code == 400 and "endpoint" in answered.get_json()["errors"]


# The page


def test_the_form_has_every_field_with_a_sample(visitor: Visitor) -> None:
    callback, status = visitor.get("/test/callback").text, visitor.get("/test/status").text
    assert all(f'name="{name}"' in callback for name in CALLBACK_FIELDS)
    assert all(f'name="{name}"' in status for name in STATUS_FIELDS)
    assert 'value="54321"' in callback and "PARTY a test" in callback and 'value="Summer party"' in callback
    assert "canary" not in callback + status


def test_the_page_shows_what_came_of_it(visitor: Visitor, server: Server) -> None:
    page = visitor.post("/test/callback", endpoint="old", message="first\r\nsecond <b>", title="kept")
    assert page.status_code == 200
    assert "Answered 200" in page.text and "saved" in page.text and "POST /old.asp HTTP/1.1" in page.text
    assert "message=first%0Asecond+%3Cb%3E" in page.text, "the browser's line end is a line feed again"
    assert 'value="kept"' in page.text and "first\nsecond &lt;b&gt;" in page.text, "the form is as it was left"
    assert '<option value="old" selected' in page.text


def test_answers_are_text(tmp_path: Path) -> None:
    hostile = b"</pre><script>alert(1)</script><img src=x onerror=alert(2)>"
    with Server(replying(ok(hostile, "X-Hostile: <script>alert(3)</script>"))) as server:
        with console(tmp_path, configured(server.url(""))) as app:
            visitor = Visitor(app)
            visitor.log_in()
            page = visitor.post("/test/callback", endpoint="old", title='"><script>alert(4)</script>')
    assert page.text.count("&lt;script&gt;") == 3
    assert "<script" not in page.text and "<img" not in page.text


@pytest.mark.parametrize("kind", ["callback", "status"])
def test_mistakes_stand_at_their_fields(visitor: Visitor, server: Server, kind: str) -> None:
    field = "phone" if kind == "callback" else "sendTo"
    page = visitor.post(f"/test/{kind}", endpoint="old", **{field: ""})
    assert page.status_code == 400 and "Nothing was sent" in page.text
    assert f'name="{field}" value="" aria-invalid="true" aria-describedby="fault-{field}-1"' in page.text
    assert not server.requests


def test_a_foreign_page_cannot_send_tests(visitor: Visitor, server: Server) -> None:
    data = {"endpoint": "old"}
    assert visitor.raw_post("/test/callback", data).status_code == 400
    data["csrf_token"] = visitor.token("/test/callback")
    assert visitor.raw_post("/test/callback", data, Origin="https://evil.example").status_code == 403
    assert not server.requests


def test_json_with_a_session_needs_the_token(visitor: Visitor, server: Server) -> None:
    answered = visitor.client.post("/test/callback", data={"endpoint": "old"}, headers=JSON)
    assert answered.status_code == 400 and "errors" in answered.get_json()
    assert not server.requests


# The commands


def run(tmp_path: Path, server: Server, *arguments: str) -> Any:
    path = tmp_path / "gateway.toml"
    path.write_text(configured(server.url("")))
    command, *rest = arguments
    commands = {"test-callback": messages.test_callback, "test-status": messages.test_status}
    return CliRunner().invoke(commands[command], [*rest, "--config", str(path)])


def test_the_command_does_what_the_form_does(tmp_path: Path, server: Server) -> None:
    done = run(tmp_path, server, "test-callback", "page", "--field", "message=PARTY = on", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found) == ["ok", "verdict", "diagnosis", "request", "response", "times"]
    assert dict(fields_of(server.requests[0]))["message"] == "PARTY = on"
    assert not [secret for secret in SECRETS if secret in done.output]


def test_the_command_in_words(tmp_path: Path, server: Server) -> None:
    done = run(tmp_path, server, "test-status", "old")
    assert done.exit_code == 0 and "Succeeded" in done.output and "Answered 200" in done.output
    assert [name for name, _ in fields_of(server.requests[0])] == list(STATUS_FIELDS)


def test_failure_is_exit_1(tmp_path: Path) -> None:
    with Server(replying(answer(500, b"\x1b[2Joops"))) as server:
        done = run(tmp_path, server, "test-callback", "old")
    assert done.exit_code == 1 and "answered 500" in done.output
    assert "\x1b" not in done.output, "an answer does not drive the terminal"


def test_a_refused_url_in_the_shell(tmp_path: Path, server: Server) -> None:
    done = run(tmp_path, server, "test-callback", server.url("/"))
    assert done.exit_code == 1 and "this address is not allowed" in done.output
    assert not server.requests


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pagee",), "Did you mean page?"),
        (("zzz",), "Known: page, app, old."),
        (("page", "--field", "colour=blue"), "colour: Not a field of this format."),
        (("page", "--field", "colour"), "write NAME=VALUE"),
        ((), "Missing argument"),
    ],
)
def test_mistakes_in_the_shell(tmp_path: Path, server: Server, arguments: tuple[str, ...], words: str) -> None:
    done = run(tmp_path, server, "test-callback", *arguments)
    assert done.exit_code in (1, 2) and words in done.output
    assert not server.requests


# Paste


@pytest.mark.parametrize(
    ("body", "read_as", "other_side", "words"),
    [
        (text(message="party é"), "carrierx", "legacy-callback", "message=party+%C3%A9"),
        (update(), "carrierx", "legacy-status", "status=sent"),
        (keyword_callback(), "legacy-callback", "carrierx", '"direction":"inbound"'),
        (status_post(), "legacy-status", "carrierx", '"direction":"outbound"'),
    ],
)
def test_the_other_side_of_what_is_pasted(
    app: Flask, server: Server, body: bytes, read_as: str, other_side: str, words: str
) -> None:
    answered = app.test_client().post("/test/paste", data={"body": body.decode()}, headers=PROGRAM)
    found = answered.get_json()
    assert (found["format"], found["other_side"]["format"]) == (read_as, other_side)
    assert words in found["other_side"]["bodies"][0]["body"].replace(": ", ":")
    assert not server.requests, "nothing is sent"


def test_the_route_of_what_is_pasted(app: Flask, visitor: Visitor) -> None:
    found = app.test_client().post("/test/paste", data={"body": text(message="Party!")}, headers=PROGRAM).get_json()
    assert found["route"]["number"] == "15162065919" and found["route"]["keyword"] == "PARTY"
    assert found["route"]["endpoints"] == ["page", "app"]
    assert [(each["endpoint"], each["format"]) for each in found["deliveries"]] == [
        ("page", "legacy-callback"),
        ("app", "carrierx"),
    ]
    page = visitor.post("/test/paste", body=text(message="<script>alert(1)</script> party").decode())
    assert page.status_code == 200 and "<script" not in page.text and "&lt;script&gt;" in page.text
    assert "Route" in page.text and "Read as carrierx" in page.text


def test_pasted_credentials_are_blanked(visitor: Visitor) -> None:
    page = visitor.post("/test/paste", body=keyword_callback(password="canary-pasted", api_key="canary-key").decode())
    assert page.status_code == 200 and "canary" not in page.text


@pytest.mark.parametrize("body", ["", "{", "[]", '{"direction": "any"}', "phone=1", "a" * 60_000, "\ud83c", "%00=%ff"])
def test_what_cannot_be_read_says_why(app: Flask, visitor: Visitor, body: str) -> None:
    data = {"body": body.encode("utf-8", "replace").decode()}
    answered = app.test_client().post("/test/paste", data=data, headers=PROGRAM)
    assert answered.status_code == 400 and answered.get_json()["errors"]
    assert visitor.post("/test/paste", **data).status_code == 400


def test_a_format_that_is_none(app: Flask) -> None:
    data = {"body": text().decode(), "format": "xml"}
    answered = app.test_client().post("/test/paste", data=data, headers=PROGRAM)
    assert answered.status_code == 400 and "format" in answered.get_json()["errors"]
