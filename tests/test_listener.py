"""What a sender can do to the web half on the wire, by bare sockets against the real server."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.serve.listener import TICK
from tests.running import HOST, ROOT, free_port, listens, until
from tests.wire_application import PATIENCE

LIMIT = 1024 * 1024
LONG = 20.0
"""Seconds after which a test fails instead of hanging."""


class Wire:
    """The application of `wire_application` in a process of its own."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.folder, self.port = folder, free_port()
        command = [sys.executable, "-m", "tests.wire_application", str(self.port), str(folder), *more]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "HTTP_CANARY": "canary", "CANARY": "canary"}
        self.errors = (folder / "errors").open("w+b")
        self.process = subprocess.Popen(command, stderr=self.errors, env=environ)
        until(lambda: listens(self.port), "the web half listens")

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=LONG)

    def send(self, head: str, body: bytes = b"", *, close: bool = True) -> bytes:
        """One request with its whole answer. `head`: lines; `Host` and `Connection` are put to them."""
        with closing(self.connect()) as connection:
            connection.sendall(_head(head, close) + body)
            return _all(connection)

    def ask(self, head: str, body: bytes = b"") -> dict[str, Any]:
        """What the application saw."""
        seen: dict[str, Any] = json.loads(self.send(head, body).partition(b"\r\n\r\n")[2])
        return seen

    def kept(self) -> list[str]:
        return json.loads(self.send("GET /kept").partition(b"\r\n\r\n")[2])

    def said(self) -> str:
        return Path(self.errors.name).read_text()

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said().splitlines() if f'"event": "{event}"' in line]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.errors.close()


def _head(lines: str, close: bool = True) -> bytes:
    first, *more = lines.split("\n")
    ends = ["Connection: close"] if close else []
    return "\r\n".join([f"{first} HTTP/1.1", "Host: gateway", *ends, *more, "", ""]).encode("latin-1")


def _all(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    made = Wire(tmp_path_factory.mktemp("wire"))
    yield made
    made.end()


@pytest.fixture
def own_wire(tmp_path: Path) -> Iterator[Wire]:
    made = Wire(tmp_path)
    yield made
    made.end()


def test_a_body_with_a_length(wire: Wire) -> None:
    seen = wire.ask("POST /a?x=1%20\nContent-Length: 3\nContent-Type: text/plain", b"abc")
    assert (seen["body"], seen["CONTENT_LENGTH"], seen["CONTENT_TYPE"]) == ("abc", "3", "text/plain")
    assert (seen["PATH_INFO"], seen["QUERY_STRING"], seen["REMOTE_ADDR"]) == ("/a", "x=1%20", HOST)
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == (HOST, str(wire.port))


def test_a_body_in_chunks_has_a_length_when_it_arrives(wire: Wire) -> None:
    seen = wire.ask("POST /a\nTransfer-Encoding: chunked", b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (seen["body"], seen["CONTENT_LENGTH"]) == ("abcde", "5")
    assert "HTTP_TRANSFER_ENCODING" not in seen


def test_length_and_chunks_have_no_reading(wire: Wire) -> None:
    with closing(wire.connect()) as connection:
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: gateway\r\n\r\n"
        chunks = b"6\r\nchunks\r\n0\r\n\r\n"
        head = _head(f"POST /a\nContent-Length: {len(chunks + smuggled)}\nTransfer-Encoding: chunked", close=False)
        connection.sendall(head + chunks + smuggled)
        answer = _all(connection)
    # Refused, and the connection ends there: nothing behind it is read as a request, or as the body.
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1
    assert "chunks" not in "".join(wire.kept())


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST /a\nContent-Length: 3\nContent-Length: 4", 400),
        ("POST /a\nContent-Length: 3, 3", 400),
        ("POST /a\nContent-Length: +3", 400),
        ("POST /a\nContent-Length: -3", 400),
        ("POST /a\nTransfer-Encoding: xchunked\nContent-Length: 3", 400),
        ("POST /a\nTransfer-Encoding: gzip, chunked", 501),
        ("GET /a\nHost: other", 400),
        ("GET /a\nName : value", 400),
        ("GET /a\nName: value\n folded", 400),
        ("OPTIONS *", 400),
        ("GET /a\n" + "\n".join(f"X-{number}: 1" for number in range(120)), 431),
        ("GET /" + "a" * 70_000, 431),
        (f"POST /a\nContent-Length: {LIMIT + 1}", 413),
    ],
)
def test_heads_that_are_refused(wire: Wire, head: str, status: int) -> None:
    assert _status(wire.send(head)) == status


def test_a_head_that_is_too_long(wire: Wire) -> None:
    with closing(wire.connect()) as connection:
        connection.sendall(_head("GET /a\nName: " + "a" * 400_000))
        assert _status(_all(connection)) in (400, 431)


def test_a_request_without_host(wire: Wire) -> None:
    with closing(wire.connect()) as connection:
        connection.sendall(b"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert _status(_all(connection)) == 400


def test_http_1_0_needs_no_host(wire: Wire) -> None:
    with closing(wire.connect()) as connection:
        connection.sendall(b"GET /page HTTP/1.0\r\n\r\n")
        assert _all(connection).endswith(b"four")


def test_an_absolute_address_is_a_path(wire: Wire) -> None:
    seen = wire.ask("GET http://elsewhere.example/a?b")
    assert (seen["PATH_INFO"], seen["QUERY_STRING"], seen["HTTP_HOST"]) == ("/a", "b", "gateway")


def test_bytes_of_a_path(wire: Wire) -> None:
    assert wire.ask("GET /%C3%A9/%2F")["PATH_INFO"] == "/\u00c3\u00a9//"


def test_names_of_headers(wire: Wire) -> None:
    seen = wire.ask("GET /a\nX_Forwarded_For: 1.2.3.4\nX-Many: 1\nX-Many: 2\nCookie: a=1\nCookie: b=2")
    assert "HTTP_X_FORWARDED_FOR" not in seen
    assert (seen["HTTP_X_MANY"], seen["HTTP_COOKIE"]) == ("1, 2", "a=1; b=2")


def test_the_environment_of_the_process_stays_out(wire: Wire) -> None:
    assert "canary" not in wire.ask("GET /a").values()


def test_head(wire: Wire) -> None:
    answer = wire.send("HEAD /page")
    assert b"content-length: 4" in answer.lower() and answer.endswith(b"\r\n\r\n")


def test_two_requests_on_one_connection(wire: Wire) -> None:
    with closing(wire.connect()) as connection:
        connection.sendall(_head("POST /a\nContent-Length: 3", close=False) + b"abc" + _head("GET /page"))
        assert _all(connection).count(b"HTTP/1.1 200 OK") == 2


def test_many_requests_sent_ahead_are_answered_in_their_order(wire: Wire) -> None:
    bodies = [f"body-{number:02}" for number in range(30)]
    posts = [_head(f"POST /a\nContent-Length: {len(body)}", close=False) + body.encode() for body in bodies]
    with closing(wire.connect()) as connection:
        connection.sendall(b"".join(posts) + _head("GET /page"))
        answers = _all(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 31
    assert re.findall(r'"body": "([^"]*)"', answers.decode()) == bodies


def test_a_slow_answer_keeps_its_place(own_wire: Wire) -> None:
    with closing(own_wire.connect()) as connection:
        connection.sendall(_head("POST /hold\nContent-Length: 4", close=False) + b"slow" + _head("GET /page"))
        until((own_wire.folder / "held").exists, "the first is in hand")
        (own_wire.folder / "release").touch()
        answers = _all(connection)
    assert answers.index(b'"body": "slow"') < answers.index(b"four")


def test_who_has_said_all_may_still_listen(wire: Wire) -> None:
    with closing(wire.connect()) as connection:
        connection.sendall(_head("POST /a\nContent-Length: 3", close=False) + b"abc")
        connection.shutdown(socket.SHUT_WR)
        assert b'"body": "abc"' in _all(connection)


def test_a_head_that_comes_byte_by_byte(wire: Wire) -> None:
    with closing(wire.connect()) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in _head("POST /a%20b?c=d\nContent-Length: 3\nX-Long: " + "x" * 100) + b"abc":
            connection.sendall(bytes([byte]))
        seen = json.loads(_all(connection).partition(b"\r\n\r\n")[2])
    assert (seen["PATH_INFO"], seen["QUERY_STRING"], seen["body"]) == ("/a b", "c=d", "abc")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("offer", ["h2c", "websocket"])
def test_an_offer_of_another_protocol_is_declined(wire: Wire, method: str, offer: str) -> None:
    """Java's client makes one with its first request, and goes on with this protocol where nobody takes it up."""
    head = (
        f"{method} /a\nConnection: Upgrade, HTTP2-Settings\nUpgrade: {offer}\nHTTP2-Settings: AAEA\nContent-Length: 3"
    )
    with closing(wire.connect()) as connection:
        connection.sendall(_head(head, close=False) + b"abc" + _head("GET /page"))
        answers = _all(connection)
    assert b'"body": "abc"' in answers and answers.endswith(b"four")
    assert answers.count(b"HTTP/1.1 200 OK") == 2


def test_an_offer_behind_another_request_in_one_piece_has_no_reading(wire: Wire) -> None:
    offer = _head("POST /a\nConnection: Upgrade\nUpgrade: h2c\nContent-Length: 3", close=False) + b"xyz"
    with closing(wire.connect()) as connection:
        connection.sendall(_head("GET /page", close=False) + offer)
        answers = _all(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 1 and answers.count(b"HTTP/1.1 400") == 1
    assert "xyz" not in wire.kept()


@pytest.mark.parametrize("head", ["CONNECT elsewhere:443", "FOO /a", "GET", "PRI * HTTP/2.0"])
def test_what_is_no_request_is_refused(wire: Wire, head: str) -> None:
    assert _status(wire.send(head)) == 400


def test_http_1_0_may_keep_its_connection(wire: Wire) -> None:
    with closing(wire.connect()) as connection:
        for more in ("Connection: keep-alive\r\n", ""):
            connection.sendall(f"GET /page HTTP/1.0\r\n{more}\r\n".encode())
            answer = b""
            while not answer.endswith(b"four"):
                answer += connection.recv(65536)
            assert (b"Connection: keep-alive" in answer) == bool(more)
        assert connection.recv(1) == b""


def test_answers_are_dated(wire: Wire) -> None:
    date = wire.send("GET /page").partition(b"\r\nDate: ")[2].partition(b"\r\n")[0].decode()
    assert abs((parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()) < LONG


def test_the_largest_body(wire: Wire) -> None:
    assert wire.ask(f"POST /a\nContent-Length: {LIMIT}", b"a" * LIMIT)["size"] == LIMIT


def test_chunks_without_end(wire: Wire) -> None:
    """The application gets one byte more than it takes, and can say so."""
    chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
    with closing(wire.connect()) as connection:
        connection.sendall(_head("POST /a\nTransfer-Encoding: chunked") + chunk * 17)
        assert json.loads(_all(connection).partition(b"\r\n\r\n")[2])["size"] == LIMIT + 1


def test_who_waits_for_a_hundred_is_told_to_go_on(wire: Wire) -> None:
    with closing(wire.connect()) as connection:
        connection.sendall(_head("POST /a\nContent-Length: 3\nExpect: 100-continue"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(b"abc")
        assert b'"body": "abc"' in _all(connection)


@pytest.mark.parametrize("expect", ["", "\nExpect: 100-continue"])
@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_refused_before_the_body_is_read(wire: Wire, expect: str, framing: str) -> None:
    answer = wire.send(f"POST /unread\n{framing}{expect}", close=False)
    assert _status(answer) == 403 and b"100 Continue" not in answer


@pytest.mark.parametrize(
    ("framing", "start"), [("Content-Length: 1000", b"half"), ("Transfer-Encoding: chunked", b"4\r\nhalf\r\n")]
)
def test_a_body_that_never_comes(wire: Wire, framing: str, start: bytes) -> None:
    before = len(wire.logged("body_never_came"))
    assert _status(wire.send(f"POST /a\n{framing}", start, close=False)) == 408
    (line,) = wire.logged("body_never_came")[before:]
    assert (line["level"], line["seconds"]) == ("info", PATIENCE)
    assert "half" not in "".join(wire.kept())


@pytest.mark.parametrize(
    ("framing", "start"), [("Content-Length: 1000", b"cut off"), ("Transfer-Encoding: chunked", b"7\r\ncut off\r\n")]
)
def test_a_body_that_is_cut_off_reaches_nobody(own_wire: Wire, framing: str, start: bytes) -> None:
    with closing(own_wire.connect()) as connection:
        connection.sendall(_head(f"POST /a\n{framing}") + start)
    until(lambda: "body_cut_off" in own_wire.said(), "the cut is seen")
    assert own_wire.kept() == []


def test_a_slow_body_that_comes_after_all(own_wire: Wire) -> None:
    """The application was asked without it meanwhile; it runs with it once, and not at the same time."""
    with closing(own_wire.connect()) as connection:
        connection.sendall(_head("POST /a\nContent-Length: 6") + b"abc")
        with pytest.raises(TimeoutError):
            connection.settimeout(PATIENCE / 3)
            connection.recv(1)
        connection.settimeout(LONG)
        connection.sendall(b"def")
        assert b'"body": "abcdef"' in _all(connection)
    assert own_wire.kept() == ["abcdef"]


def test_three_hundred_stalled_senders_hinder_nobody(own_wire: Wire) -> None:
    starts = [b"", b"POST /a HT", _head("POST /a\nContent-Length: 9") + b"half", _head("POST /a\nContent-Length: 9")]
    with ExitStack() as stack:
        stalled = [stack.enter_context(closing(own_wire.connect())) for _ in range(300)]
        for number, connection in enumerate(stalled):
            connection.sendall(starts[number % len(starts)])
        for _ in range(20):
            assert b'"body": "abc"' in own_wire.send("POST /a\nContent-Length: 3", b"abc")


@pytest.mark.parametrize("framing", ["Content-Length: 3", "Transfer-Encoding: chunked"])
def test_many_large_bodies_leave_room_for_small_ones(own_wire: Wire, framing: str) -> None:
    large = _head(f"POST /a\nContent-Length: {LIMIT}")
    body = b"abc" if "Length" in framing else b"3\r\nabc\r\n0\r\n\r\n"
    with ExitStack() as stack:
        stalled = [stack.enter_context(closing(own_wire.connect())) for _ in range(65)]
        for connection in stalled:
            connection.sendall(large)
        # As many as there is room for wait; one too many is told to come again.
        answer = until(lambda: _answered(stalled), "one is refused")
        assert _status(answer) == 503 and b"retry-after" in answer.lower()
        assert b'"body": "abc"' in own_wire.send(f"POST /a\n{framing}", body)


def _answered(connections: list[socket.socket]) -> bytes:
    ready, _, _ = select.select(connections, [], [], LONG)
    return ready[0].recv(65536)


def test_chunks_take_room_as_they_come(own_wire: Wire) -> None:
    chunk = b"20000\r\n" + b"a" * 0x20000 + b"\r\n"
    with ExitStack() as stack:
        stalled = [stack.enter_context(closing(own_wire.connect())) for _ in range(65)]
        for connection in stalled:
            connection.sendall(_head("POST /a\nTransfer-Encoding: chunked") + chunk)
        assert _status(until(lambda: _answered(stalled), "one is refused")) == 503


def test_errands_are_used_again_however_long_it_serves(own_wire: Wire) -> None:
    seen = set[bytes]()
    end = time.monotonic() + 5 * TICK
    while time.monotonic() < end:
        seen.add(own_wire.send("GET /errands").partition(b"\r\n\r\n")[2])
    assert seen == {b"1"}


def test_a_crash_of_the_application(own_wire: Wire) -> None:
    assert _status(own_wire.send("GET /crash")) == 500
    told = own_wire.said()
    assert "application_failed" in told and "ValueError" in told and "canary" not in told
    assert _status(own_wire.send("GET /page")) == 200


def test_what_is_in_flight_is_finished(own_wire: Wire) -> None:
    with closing(own_wire.connect()) as connection:
        connection.sendall(_head("POST /hold\nContent-Length: 3") + b"abc")
        until((own_wire.folder / "held").exists, "the request is in flight")
        own_wire.process.terminate()
        until(lambda: not listens(own_wire.port), "nothing new is taken")
        (own_wire.folder / "release").touch()
        assert b'"body": "abc"' in _all(connection)
    assert own_wire.process.wait(LONG) == 0


def test_what_does_not_end_in_time_is_cut_off_and_told(tmp_path: Path) -> None:
    wire = Wire(tmp_path, "0.5")
    try:
        with closing(wire.connect()) as connection:
            connection.sendall(_head("POST /hold\nContent-Length: 3") + b"abc")
            until((tmp_path / "held").exists, "the request is in flight")
            wire.process.terminate()
            assert _all(connection) == b""
        assert wire.process.wait(LONG) == 0
        (line,) = wire.logged("requests_cut_off")
        assert (line["level"], line["seconds"]) == ("warning", 0.5)
    finally:
        wire.end()


@pytest.mark.parametrize("size", [LIMIT + 1, 8 * LIMIT])
def test_who_sends_too_much_is_told_so(wire: Wire, size: int) -> None:
    """He has sent it all by then: an answer in the midst of it would be a broken connection, and no answer."""
    assert _status(wire.send(f"POST /a\nContent-Length: {size}", b"x" * size)) == 413
    chunk = b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"
    assert wire.ask("POST /a\nTransfer-Encoding: chunked", chunk)["size"] == LIMIT + 1
