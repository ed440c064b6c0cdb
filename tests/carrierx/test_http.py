"""`CoreAPI` on real connections: requests that did or did not go out, responses without end, and secrets in errors."""

from __future__ import annotations

import json
import ssl
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from gateway.carrierx import AnswerLost, CarrierXError, CoreAPI, CoreError, NotSent, ServerError
from tests.running import free_port
from tests.servers import Caller, Script, Server, answer, ok, replying, silent
from tests.servers import closing as ending

SENT = b'{"message_sid": "sid", "status": "queued"}'
FROM, TO, TEXT = "15162065575", "15162065574", "The canary sings: a text that nobody else must read é"
TOKEN = "canary-token-4711-0815"


def api_of(server: Server, **changes: Any) -> CoreAPI:
    return CoreAPI(server.url("/core/v2"), **{"token": TOKEN, "timeout": 20.0, "retries": 0, **changes})


def send(api: CoreAPI) -> dict[str, Any]:
    return api.send(FROM, TO, TEXT)


def failing(script: Script, ask: Callable[[CoreAPI], object] = send, **changes: Any) -> CarrierXError:
    with Server(script) as server, api_of(server, **changes) as api, pytest.raises(CarrierXError) as caught:
        ask(api)
    return caught.value


def test_a_connection_is_kept_and_nothing_else() -> None:
    with Server(replying(ok(SENT, "Set-Cookie: a=b"))) as server, api_of(server) as api:
        assert [send(api)["message_sid"] for _ in range(3)] == ["sid"] * 3
    assert server.connections == 1 and not any(b"ookie" in request for request in server.requests)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /core/v2/sms/messages HTTP/1.1\r\n") and TEXT.encode() in body
    assert f"Content-Length: {len(body)}".encode() in head and b"hunked" not in head


def test_many_threads_share_one() -> None:
    together = threading.Barrier(4)

    def script(caller: Caller) -> None:
        while caller.read_request() is not None:
            together.wait(20)
            caller.send(ok(SENT))

    with Server(script) as server, api_of(server) as api, ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            assert [one["message_sid"] for one in threads.map(lambda _: send(api), range(4))] == ["sid"] * 4
    assert server.connections == 4 and len(server.requests) == 12


def test_after_close_it_goes_on() -> None:
    with Server(replying(ok(SENT))) as server, api_of(server) as api:
        send(api)
        api.close()
        send(api)
    assert server.connections == 2


def test_a_session_of_the_caller_is_used() -> None:
    with Server(replying(ok(SENT))) as server, closing(requests.Session()) as session:
        assert send(api_of(server, session=session))["message_sid"] == "sid"


def test_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(replying(ok(SENT))) as server, closing(requests.Session()) as session:
        for api in (api_of(server), api_of(server, session=session)):
            assert send(api)["message_sid"] == "sid"
    assert all(f"Authorization: Bearer {TOKEN}".encode() in request for request in server.requests)


@pytest.mark.parametrize("session", [False, True])
def test_redirects_are_not_followed(session: bool) -> None:
    def drip(caller: Caller) -> None:
        # A body that nobody needs, and that does not end.
        caller.read_request()
        caller.send(b"HTTP/1.1 307 Elsewhere\r\nLocation: /other\r\n\r\n")
        while session is False and caller.send(b"x" * 65536):
            pass

    with closing(requests.Session()) as own:
        error = failing(drip, session=own if session else None)
    assert isinstance(error, CoreError) and error.status == 307


def test_nobody_listens() -> None:
    with pytest.raises(NotSent, match="connection refused"):
        send(CoreAPI(f"http://127.0.0.1:{free_port()}", token="t", retries=0))


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 70, "*.example"])
def test_no_such_name(host: str) -> None:
    with pytest.raises(NotSent):
        send(CoreAPI(f"http://{host}", token="t", retries=0))


def test_what_was_not_sent_is_sent_again() -> None:
    port, naps = free_port(), list[float]()
    api = CoreAPI(f"http://127.0.0.1:{port}", token="t", retries=2, sleep=naps.append)
    with pytest.raises(NotSent):
        send(api)
    assert len(naps) == 2


def test_what_could_not_leave_in_time_does_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a name is looked up slowly, the message may be given up, and sent by somebody else."""
    hours = iter(range(0, 36_000, 3_600))
    monkeypatch.setattr("gateway.carrierx.http.monotonic", lambda: float(next(hours)))
    with Server(replying(ok(SENT))) as server, api_of(server) as api, pytest.raises(NotSent, match="took too long"):
        send(api)
    assert not server.requests


def read_and_reset(caller: Caller) -> None:
    caller.read_request()
    caller.reset()


def half(caller: Caller) -> None:
    caller.read_request()
    caller.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + SENT)


def half_a_chunk(caller: Caller) -> None:
    caller.read_request()
    caller.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(SENT), SENT))


def drip(caller: Caller) -> None:
    caller.read_request()
    caller.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    while caller.send(b" "):
        caller.server.stopped.wait(0.05)


def endless(caller: Caller) -> None:
    caller.read_request()
    caller.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while caller.send(b" " * 65536):
        pass


@pytest.mark.parametrize(
    ("script", "said", "changes"),
    [
        (silent, "took too long", {"timeout": 0.3}),
        (drip, "too slowly", {"timeout": 0.3}),
        (endless, "more than 1048576 bytes", {}),
        (read_and_reset, "reset by peer", {}),
        (ending(b""), "connection was closed", {}),
        (half, "not to the end", {}),
        (half_a_chunk, "not to the end", {}),
        (ending(b"SSH-2.0-nonsense\r\n\r\n"), "no HTTP", {}),
        (replying(ok(b"<html>")), "not in JSON", {}),
        (replying(ok(b"\xff\xfe{}")), "not in UTF-8", {}),
        (replying(answer(204)), "not in JSON", {}),
    ],
)
def test_answers_that_are_lost(script: Script, said: str, changes: dict[str, Any]) -> None:
    for ask in (send, lambda api: api.send_raw(b"{}"), lambda api: api.read("x")):
        error = failing(script, ask, **changes)
        assert isinstance(error, AnswerLost) and said in str(error)


def test_a_status_is_known_however_its_body_ends() -> None:
    error = failing(ending(b"HTTP/1.1 503 Down\r\nContent-Length: 100\r\n\r\n{"))
    assert isinstance(error, ServerError) and error.status == 503


def test_a_list_may_be_longer_than_an_object() -> None:
    page = b'{"items": [{"message_sid": "1", "message": "%s"}], "has_more": false}' % (b"x" * 2_000_000)
    with Server(replying(ok(page))) as server, api_of(server) as api:
        assert len(api.messages().items) == 1


def test_an_answer_in_chunks() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(SENT), SENT)
    with Server(replying(chunked)) as server, api_of(server) as api:
        assert [send(api)["message_sid"] for _ in range(2)] == ["sid", "sid"]
    assert server.connections == 1


@pytest.fixture(scope="module")
def tls() -> ssl.SSLContext:
    """A server's context with a certificate of an unknown authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_a_certificate_that_is_not_good(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURL_CA_BUNDLE", "")
    with Server(replying(ok(SENT)), tls=tls) as server, api_of(server) as api, pytest.raises(NotSent) as caught:
        send(api)
    assert "certificate is not good" in str(caught.value) and not server.requests


def test_a_handshake_that_breaks_off() -> None:
    def hang_up(caller: Caller) -> None:
        caller.socket.recv(10)
        caller.reset()

    with Server(hang_up) as server, pytest.raises(NotSent):
        send(CoreAPI(server.url(scheme="https"), token="t", retries=0))


def test_no_tls_where_it_should_be() -> None:
    with Server(ending(ok(SENT))) as server, pytest.raises(NotSent):
        send(CoreAPI(server.url(scheme="https"), token="t", retries=0, timeout=0.5))


def echoes(body: bytes) -> list[bytes]:
    """Responses that repeat the whole request: as JSON, as HTML, cut."""
    text = body.decode()
    told = f"{TOKEN} Basic bG9naW46Y2FuYXJ5LXBhc3N3b3Jk canary-password {text} +{FROM} {TO} +1 (516) 206-5574 x{TO[:8]}"
    quoted = json.dumps({"message": told, "errors": [{"message": told, "field": TEXT}, told]})
    return [
        answer(400, quoted.encode()),
        answer(500, f"<html><b>{told}</b></html>".encode()),
        answer(422, told[:90].encode()),
        answer(502, TEXT[5:40].encode()),
        ok(told.encode()),
        b"HTTP/1.1 " + told.encode() + b"\r\n\r\n",
    ]


@pytest.mark.parametrize("turn", range(6))
@pytest.mark.parametrize("account", [{"token": TOKEN}, {"token": "", "login": "login", "password": "canary-password"}])
def test_nothing_that_is_secret_is_told(turn: int, account: dict[str, str]) -> None:
    def script(caller: Caller) -> None:
        request = caller.read_request() or b""
        caller.send(echoes(request.partition(b"\r\n\r\n")[2])[turn])

    error = failing(script, **account)
    chain = [error, error.__context__, error.__cause__]
    told = "".join([*map(str, chain), *map(repr, chain), *traceback.format_exception(error)])
    own = (account["token"],) if account["token"] else ("canary-password", "bG9naW46Y2FuYXJ5")
    for secret in (FROM, TO, "206-5574", *own):
        assert secret not in told
    assert not any(TEXT[at : at + 12] in told for at in range(len(TEXT) - 12))
    assert "canary" not in repr(CoreAPI(**account))


def test_a_body_that_is_no_json_is_not_told_either() -> None:
    error = failing(replying(answer(400, b"<p>what is " + TEXT.encode())), lambda api: api.send_raw(TEXT.encode()))
    assert isinstance(error, CoreError) and error.message == "what is [hidden]"


def test_a_callback_url_is_a_secret() -> None:
    url = "https://sms.example.com/carrierx/callback/canary-key-4711"
    error = failing(
        replying(answer(400, f'{{"message": "cannot use {url} for it"}}'.encode())),
        lambda api: api.set_callback(url, did="x"),
    )
    assert isinstance(error, CoreError) and error.message == "cannot use [hidden] for it"
