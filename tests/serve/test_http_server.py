"""Everything that a sender can do to the web half on the wire, by bare sockets against the real server."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.serve.bodies import SLOW_SECONDS, SMALL_CHUNKS
from gateway.serve.bridge import HEARTBEAT_PATH, MAX_QUICK_BYTES
from gateway.serve.calls import BUSY
from gateway.serve.connections import Connections
from gateway.serve.run import DRAIN_SECONDS, serve
from gateway.serve.supervisor import GRACE_SECONDS, Supervisor
from tests.running import HOST, ROOT, free_port, listens, until
from tests.serve.test_serve import Script, in_thread
from tests.serve.wire_application import HEAD_SECONDS, PATIENCE, PROXY, Application, in_a_process

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.serve.wire_application"])
LIMIT = 1024 * 1024
LONG = 20.0
"""Seconds after which a test fails instead of hanging."""


class Wire:
    """The application of `wire_application` in a process of its own."""

    def __init__(
        self, folder: Path, host: str = HOST, files: int = 0, patience: float = LONG, drain: float = DRAIN_SECONDS
    ) -> None:
        self.folder, self.port, self.near = folder, free_port(), "::1" if ":" in host else HOST
        arguments = (self.port, folder, host, patience, drain, files)
        self.process = PROCESSES.Process(target=in_a_process, args=arguments)
        self.process.start()
        until(self._listens, "the web half listens")

    def _listens(self) -> bool:
        with suppress(OSError), closing(self.connect()):
            return True
        return False

    def connect(self, source: str = "") -> socket.socket:
        """From another address of this machine, if one is named."""
        return socket.create_connection((self.near, self.port), LONG, (source, 0) if source else None)

    def send(self, head: str, body: bytes = b"", *, close: bool = True) -> bytes:
        """One request with its whole answer. `head`: lines; `Host` and `Connection` are put to them."""
        with closing(self.connect()) as connection:
            connection.sendall(_head(head, close) + body)
            return _all(connection)

    def ask(self, head: str, body: bytes = b"") -> dict[str, Any]:
        """Sends one request; returns it as the application saw it."""
        seen: dict[str, Any] = json.loads(self.send(head, body).partition(b"\r\n\r\n")[2])
        return seen

    def told(self, path: str) -> list[str]:
        """`/kept`, `/asked` or `/counted`, as the application tells."""
        told: list[str] = json.loads(self.send(f"GET {path}").partition(b"\r\n\r\n")[2])
        return told

    def kept(self) -> list[str]:
        return self.told("/kept")

    def said(self) -> str:
        return (self.folder / "errors").read_text()

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said().splitlines() if f'"event": "{event}"' in line]

    def end(self) -> None:
        self.process.kill()
        self.process.join()

    def exit_code(self, within: float) -> int | None:
        self.process.join(within)
        return self.process.exitcode


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


@pytest.fixture(scope="module")
def hasty_wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """One that gives up a body after `PATIENCE`. For tests of that alone: on a busy machine, that is soon."""
    made = Wire(tmp_path_factory.mktemp("hasty_wire"), patience=PATIENCE)
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


@pytest.mark.parametrize("chunked_first", [False, True])
def test_length_and_chunks_have_one_reading(wire: Wire, chunked_first: bool) -> None:
    """Granian reads the chunks, shows no length, and closes the connection, as RFC 9112, 6.3 allows."""
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: gateway\r\n\r\n"
    chunks = b"6\r\nchunks\r\n0\r\n\r\n"
    fields = sorted([f"Content-Length: {len(chunks + smuggled)}", "Transfer-Encoding: chunked"], reverse=chunked_first)
    head = _head("\n".join(["POST /both", *fields]), close=False)
    with closing(wire.connect()) as connection:
        connection.sendall(head + chunks + smuggled)
        answer = _all(connection)
    # Nothing behind it is read as a request, or as the body.
    assert answer.count(b"HTTP/1.1 200 OK") == 1 and b"connection: close" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["body"] == "chunks"
    assert not [one for one in wire.told("/asked") if "smuggled" in one]


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
        answer = _all(connection)
    assert _status(answer) == 400 and b"\r\nx-content-type-options: nosniff\r\n" in answer.lower()


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


def test_a_header_that_is_not_ascii(wire: Wire) -> None:
    """Granian does not show it. Without one that decides something it would be another request."""
    seen = wire.ask("GET /a\nUser-Agent: Soci\u00e9t\u00e9\nCookie: a=\u00e9\nX-Other: 1")
    assert seen["HTTP_X_OTHER"] == "1" and not {"HTTP_USER_AGENT", "HTTP_COOKIE"} & set(seen)
    for name in ("Content-Type", "Authorization", "X-Forwarded-For", "Content-Encoding"):
        assert _status(wire.send(f"GET /a\n{name}: \u00e9")) == 400


def test_a_query_that_is_not_ascii(wire: Wire) -> None:
    with closing(wire.connect()) as connection:
        connection.sendall("GET /a?b=\u00e9 HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n".encode())
        seen = json.loads(_all(connection).partition(b"\r\n\r\n")[2])
    assert seen["QUERY_STRING"].encode("latin-1") == "b=\u00e9".encode()


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


def test_who_says_that_he_has_said_all_is_not_waited_for(own_wire: Wire) -> None:
    """Granian takes the end of what he says for the end of the connection. Nobody is told, so he sends it again."""
    with closing(own_wire.connect()) as connection:
        connection.sendall(_head("POST /a\nContent-Length: 3", close=False) + b"abc")
        connection.shutdown(socket.SHUT_WR)
        assert b" 200 " not in _all(connection)
    assert own_wire.kept() in ([], ["abc"])


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


def test_an_offer_behind_another_request_in_one_piece_is_declined(wire: Wire) -> None:
    offer = _head("POST /a\nConnection: Upgrade\nUpgrade: h2c\nContent-Length: 3", close=False) + b"xyz"
    with closing(wire.connect()) as connection:
        connection.sendall(_head("GET /page", close=False) + offer + _head("GET /page"))
        answers = _all(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 3 and answers.endswith(b"four")
    assert answers.count(b'"body": "xyz"') == 1


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
            assert (b"connection: keep-alive" in answer) == bool(more)
        assert connection.recv(1) == b""


def test_answers_are_dated(wire: Wire) -> None:
    date = wire.send("GET /page").partition(b"\r\ndate: ")[2].partition(b"\r\n")[0].decode()
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
def test_a_body_that_never_comes(hasty_wire: Wire, framing: str, start: bytes) -> None:
    before = len(hasty_wire.logged("body_never_came"))
    assert _status(hasty_wire.send(f"POST /a\n{framing}", start, close=False)) == 408
    (line,) = until(lambda: hasty_wire.logged("body_never_came")[before:], "it is logged")
    assert (line["level"], line["seconds"]) == ("info", PATIENCE)
    assert "half" not in "".join(hasty_wire.kept())


@pytest.mark.parametrize(
    ("framing", "start"), [("Content-Length: 1000", b"cut off"), ("Transfer-Encoding: chunked", b"7\r\ncut off\r\n")]
)
def test_a_body_that_is_cut_off_reaches_nobody(own_wire: Wire, framing: str, start: bytes) -> None:
    with closing(own_wire.connect()) as connection:
        connection.sendall(_head(f"POST /a\n{framing}") + start)
    until(lambda: own_wire.told("/counted") == ["cut_off"], "the cut is seen")
    assert own_wire.kept() == []


def test_a_slow_body_that_comes_after_all(own_wire: Wire) -> None:
    """The application was asked without it meanwhile; it runs with it once, and not at the same time."""
    with closing(own_wire.connect()) as connection:
        connection.sendall(_head("POST /a\nContent-Length: 6") + b"abc")
        with pytest.raises(TimeoutError):
            connection.settimeout(2 * SLOW_SECONDS)
            connection.recv(1)
        connection.settimeout(LONG)
        connection.sendall(b"def")
        assert b'"body": "abcdef"' in _all(connection)
    assert own_wire.kept() == ["abcdef"]


def test_the_application_runs_once_at_a_time_for_a_slow_body(own_wire: Wire) -> None:
    with closing(own_wire.connect()) as connection:
        connection.sendall(_head("POST /hold\nContent-Length: 6") + b"abc")
        until(lambda: _held(own_wire) == "+", "it is asked without the body")
        connection.sendall(b"def")
        _later()
        (own_wire.folder / "release").touch()
        assert b'"body": "abcdef"' in _all(connection)
    assert _held(own_wire) == "+-+-"


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


def test_large_bodies_give_their_room_back(own_wire: Wire) -> None:
    for _ in range(65):
        assert own_wire.ask(f"POST /a\nContent-Length: {LIMIT}", b"x" * LIMIT)["size"] == LIMIT


def test_chunks_take_room_as_they_come(own_wire: Wire) -> None:
    chunk = b"20000\r\n" + b"a" * 0x20000 + b"\r\n"
    with ExitStack() as stack:
        stalled = [stack.enter_context(closing(own_wire.connect())) for _ in range(65)]
        for connection in stalled:
            connection.sendall(_head("POST /a\nTransfer-Encoding: chunked") + chunk)
        assert _status(until(lambda: _answered(stalled), "one is refused")) == 503


def test_errands_are_used_again_however_long_it_serves(own_wire: Wire) -> None:
    seen = set[bytes]()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        seen.add(own_wire.send("GET /errands").partition(b"\r\n\r\n")[2])
    assert seen == {b"1"}


@pytest.mark.parametrize(("size", "errand"), [(MAX_QUICK_BYTES, True), (MAX_QUICK_BYTES + 1, False)])
def test_a_larger_body_is_not_handled_on_the_event_loop(wire: Wire, size: int, errand: bool) -> None:
    assert wire.ask(f"POST /errands/body\nContent-Length: {size}", b"x" * size)["errand"] is errand


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
    assert own_wire.exit_code(LONG) == 0


def test_what_does_not_end_in_time_is_cut_off_and_told(tmp_path: Path) -> None:
    wire = Wire(tmp_path, drain=0.5)
    try:
        with closing(wire.connect()) as connection:
            connection.sendall(_head("POST /hold\nContent-Length: 3") + b"abc")
            until((tmp_path / "held").exists, "the request is in flight")
            wire.process.terminate()
            answer = _all(connection)
        assert _status(answer) == 503 and b"retry-after" in answer.lower()
        assert wire.exit_code(LONG) == 0
        (line,) = wire.logged("requests_cut_off")
        assert (line["level"], line["seconds"]) == ("warning", 0.5)
    finally:
        wire.end()


def test_who_waits_with_too_much_is_not_told_to_go_on(wire: Wire) -> None:
    answer = wire.send(f"POST /a\nContent-Length: {LIMIT + 1}\nExpect: 100-continue")
    assert _status(answer) == 413 and b"100 Continue" not in answer


def test_of_what_is_too_much_not_all_is_read(wire: Wire) -> None:
    piece, sent = b"x" * LIMIT, 0
    with closing(wire.connect()) as connection:
        connection.sendall(_head(f"POST /a\nContent-Length: {200 * LIMIT}", close=False))
        while sent < 200 * LIMIT and not select.select([connection], [connection], [], LONG)[0]:
            sent += connection.send(piece, socket.MSG_DONTWAIT)
        assert _status(connection.recv(65536)) == 413
    assert sent < 50 * LIMIT  # with what the system keeps for either side


@pytest.mark.parametrize("size", [LIMIT + 1, 8 * LIMIT])
def test_who_sends_too_much_is_told_so(wire: Wire, size: int) -> None:
    """He has sent it all by then: an answer in the midst of it would be a broken connection, and no answer."""
    assert _status(wire.send(f"POST /a\nContent-Length: {size}", b"x" * size)) == 413
    chunk = b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"
    assert wire.ask("POST /a\nTransfer-Encoding: chunked", chunk)["size"] == LIMIT + 1


def test_small_chunks_are_counted_as_they_come(own_wire: Wire) -> None:
    with closing(own_wire.connect()) as connection:
        connection.sendall(_head("POST /a\nTransfer-Encoding: chunked", close=False))
        with suppress(OSError):  # it is cut off by then
            connection.sendall(b"2\r\nab\r\n" * 2 * SMALL_CHUNKS)
        assert _status(connection.recv(65536)) == 400
    assert own_wire.told("/counted") == ["chunks"] and own_wire.kept() == []


def test_small_chunks_of_a_small_body(wire: Wire) -> None:
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in b"x" * (SMALL_CHUNKS - 1)) + b"0\r\n\r\n"
    assert wire.ask("POST /a\nTransfer-Encoding: chunked", body)["size"] == SMALL_CHUNKS - 1


def test_fields_behind_the_last_chunk_are_not_taken(wire: Wire) -> None:
    answer = wire.send("POST /a\nTransfer-Encoding: chunked", b"7\r\ntrailer\r\n0\r\nX-Late: 1\r\n\r\n")
    assert _status(answer) == 400 and "trailer" not in wire.kept()


def test_what_waits_keeps_no_place_on_a_thread(own_wire: Wire) -> None:
    """Few requests compute side by side; those that take long do so because they wait, and others may begin."""
    with ExitStack() as stack:
        held = [stack.enter_context(closing(own_wire.connect())) for _ in range(4 * BUSY)]
        for connection in held:
            connection.sendall(_head("GET /hold"))
        until(lambda: _held(own_wire) == "+" * len(held), "all are in hand")
        assert own_wire.send("GET /page").endswith(b"four")
        (own_wire.folder / "release").touch()
        assert all(_status(_all(connection)) == 200 for connection in held)


def _held(wire: Wire) -> str:
    file = wire.folder / "held"
    return file.read_text().replace("\n", "") if file.exists() else ""


def test_a_body_that_does_not_come_does_not_delay_the_end(tmp_path: Path) -> None:
    made = Wire(tmp_path)
    try:
        with closing(made.connect()) as connection:
            connection.sendall(_head("POST /a\nContent-Length: 9\nExpect: 100-continue"))
            assert connection.recv(100).startswith(b"HTTP/1.1 100")
            made.process.terminate()
            assert _status(connection.recv(65536)) == 503
            assert made.exit_code(GRACE_SECONDS) == 0
        assert "requests_cut_off" not in made.said()
    finally:
        made.end()


@pytest.mark.parametrize("start", [b"", b"POST /a HT", _head("GET /page", close=False)])
def test_slow_heads_and_idle_connections_are_ended(own_wire: Wire, start: bytes) -> None:
    with closing(own_wire.connect()) as connection:
        connection.sendall(start)
        began = time.monotonic()
        _all(connection)
        assert time.monotonic() - began > HEAD_SECONDS / 2


def test_connections_that_say_nothing_do_not_delay_the_end(own_wire: Wire) -> None:
    with ExitStack() as stack:
        for start in (b"", b"POST /a HT", _head("GET /page", close=False)):
            stack.enter_context(closing(own_wire.connect())).sendall(start)
        own_wire.process.terminate()
        assert own_wire.exit_code(GRACE_SECONDS / 2) == 0
    assert "requests_cut_off" not in own_wire.said()


def test_ipv6(tmp_path: Path) -> None:
    made = Wire(tmp_path, host="::")
    try:
        assert made.ask("GET /a")["REMOTE_ADDR"] == "::1"
        made.near = HOST  # the same socket takes both
        assert made.ask("GET /a")["REMOTE_ADDR"] == HOST
    finally:
        made.end()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as other, pytest.raises(OSError, match="in use"):
        serve(Application(tmp_path), HOST, other.getsockname()[1], lifeline=False)


def test_a_sign_of_life_needs_no_application(wire: Wire) -> None:
    assert _status(wire.send(f"GET {HEARTBEAT_PATH}")) == 204


def _child(name: str, port: int, folder: Path) -> Script:
    code = "import pathlib; from tests.serve.wire_application import main; "
    code += f"main({port}, pathlib.Path({str(folder)!r}), lifeline=True)"
    return Script(name, [code], {"PYTHONPATH": str(ROOT)})


def test_a_process_whose_listener_is_dead_gives_no_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives, its event loop turns, and nobody can reach it."""
    port = free_port()
    child = _child("web", port, tmp_path)
    with in_thread(Supervisor([child], heartbeat_timeout=2.0), monkeypatch):
        until(lambda: child.last_beat is not None, "it has given one")
        first = child.process
        with closing(socket.create_connection((HOST, port), LONG)) as connection:
            connection.sendall(_head("GET /deaf"))
            _all(connection)
        until(lambda: child.deaths == 1, "it is ended")
        until(lambda: child.process is not first and listens(port), "it is started again")


def test_of_two_on_one_port_only_the_one_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system hands it half of all connections as before, signs of life of the other one among them."""
    port = free_port()
    hung, other = _child("hung", port, tmp_path), _child("other", port, tmp_path)
    with in_thread(Supervisor([hung, other], heartbeat_timeout=4.0), monkeypatch):
        until(lambda: None not in (hung.last_beat, other.last_beat), "both have given one")
        assert hung.process is not None
        os.kill(hung.process.pid, signal.SIGSTOP)
        until(lambda: hung.deaths == 1, "it is ended")
        assert other.deaths == 0


FILES = 320
"""With so many files a process may have 64 connections, and 8 from one address."""


@pytest.fixture
def small_wire(tmp_path: Path) -> Iterator[Wire]:
    made = Wire(tmp_path, files=FILES, patience=PATIENCE)
    yield made
    made.end()


def _open(connection: socket.socket) -> bool:
    """Nothing was sent over it by the other side, nor was it closed."""
    readable, _, _ = select.select([connection], [], [], 0)
    return not readable


def _later() -> None:
    """The system tells for how long a connection was silent by the millisecond."""
    end = time.monotonic() + 0.1
    until(lambda: time.monotonic() > end, "time passes")


def test_of_too_many_connections_of_one_address_the_longest_silent_go(small_wire: Wire) -> None:
    with ExitStack() as stack:
        other = stack.enter_context(closing(small_wire.connect("127.0.0.2")))
        many = [stack.enter_context(closing(small_wire.connect())) for _ in range(20)]
        _later()
        for connection in many[:8]:
            connection.sendall(b"POST /a HT")
        until(lambda: sum(map(_open, many)) == 8, "eight are left")
        assert all(map(_open, [*many[:8], other]))
        assert small_wire.send("GET /page").endswith(b"four")
    assert small_wire.told("/counted").count("address") == 12


def test_a_trusted_proxy_may_have_any_number_of_connections(small_wire: Wire) -> None:
    with ExitStack() as stack:
        proxied = [stack.enter_context(closing(small_wire.connect(PROXY))) for _ in range(20)]
        many = [stack.enter_context(closing(small_wire.connect())) for _ in range(20)]
        until(lambda: sum(map(_open, many)) == 8, "others have their eight")
        assert all(map(_open, proxied))


def test_with_too_many_connections_in_all_the_longest_silent_go(small_wire: Wire) -> None:
    with ExitStack() as stack:
        old = [stack.enter_context(closing(small_wire.connect("127.0.1.1"))) for _ in range(4)]
        _later()
        sources = [f"127.0.2.{number}" for number in range(9) for _ in range(6)]
        many = [stack.enter_context(closing(small_wire.connect(source))) for source in sources]
        until(lambda: sum(map(_open, [*old, *many])) == 56, "there is room for others")
        assert all(map(_open, many))
        assert small_wire.send("GET /page").endswith(b"four")
    assert set(small_wire.told("/counted")) == {"full"}


def test_looking_at_connections_takes_no_files() -> None:
    with socket.create_server((HOST, 0)) as server, ExitStack() as stack:
        port = server.getsockname()[1]
        for _ in range(20):
            stack.enter_context(closing(socket.create_connection((HOST, port))))
            stack.enter_context(closing(server.accept()[0]))
        connections = Connections(port, 8 * 100, lambda _address: False, lambda _reason: None)
        connections.close()
        before = os.listdir("/proc/self/fd")
        connections.look()
        assert os.listdir("/proc/self/fd") == before


@pytest.fixture
def pair() -> Iterator[tuple[Connections, socket.socket]]:
    """A connection, and who looks at its server's side."""
    with socket.create_server((HOST, 0)) as server:
        connections = Connections(server.getsockname()[1], 800, lambda _address: False, lambda _reason: None)
        connections.close()
        with closing(socket.create_connection(server.getsockname()[:2])) as client, closing(server.accept()[0]):
            yield connections, client


def test_who_is_silent_for_long_is_ended(
    pair: tuple[Connections, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    connections, client = pair
    connections.look()
    assert _open(client)
    _later()
    monkeypatch.setattr("gateway.serve.connections.SILENT_MS", 50)
    connections.look()
    assert client.recv(1) == b""


def test_another_connection_that_has_the_number_by_now_is_left_alone(pair: tuple[Connections, socket.socket]) -> None:
    connections, client = pair
    (found,) = connections._found()
    connections._end(found._replace(peer=("192.0.2.1", 1)), "silent")
    assert _open(client)
    connections._end(found, "silent")
    assert client.recv(1) == b""


def test_behind_a_proxy_each_client_may_have_so_many_bodies_under_way(small_wire: Wire) -> None:
    """The longest under way go first, and others' stay."""
    with ExitStack() as stack:

        def start(client: str) -> socket.socket:
            connection = stack.enter_context(closing(small_wire.connect(PROXY)))
            connection.sendall(_head(f"POST /a\nX-Forwarded-For: 1.1.1.1, {client}\nContent-Length: 9") + b"half")
            return connection

        many, others = [start("198.51.100.7") for _ in range(12)], [start("203.0.113.8") for _ in range(4)]
        first = [_status(connection.recv(65536)) for connection in many[:4]]
        rest = [_status(connection.recv(65536)) for connection in [*many[4:], *others]]
    assert (first, rest) == ([503] * 4, [408] * 12)
    assert small_wire.told("/counted").count("client") == 4


@pytest.mark.parametrize("start", [b"", b"POST /a HT", _head("POST /a\nContent-Length: 9") + b"half"])
def test_resets_leave_no_trace_in_the_log(own_wire: Wire, start: bytes) -> None:
    for _ in range(200):
        with closing(own_wire.connect()) as connection:
            connection.sendall(start)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert own_wire.send("GET /page").endswith(b"four")
    levels = {json.loads(line)["level"] for line in own_wire.said().splitlines()}
    assert levels <= {"info"}


def test_bodies_that_are_cut_off_are_counted(own_wire: Wire) -> None:
    for _ in range(5):
        with closing(own_wire.connect()) as connection:
            connection.sendall(_head("POST /a\nContent-Length: 9") + b"half")
    until(lambda: own_wire.told("/counted") == ["cut_off"] * 5, "each is counted")
