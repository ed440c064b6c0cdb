"""Endpoints that misbehave, all at once and in one loop: what an attempt at each comes to, and that the good one among
them never waits."""

from __future__ import annotations

import gzip
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from gateway.config import Endpoint
from gateway.delivery.result import judge
from gateway.safe_http.client import HttpClient
from gateway.safe_http.error_pages import FAILURE_BODY
from gateway.safe_http.models import Request, Response
from tests.servers import Caller, Script, Server, answer, closing, ok, replying, silent

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ENDPOINT = Endpoint(name="page", url="http://page.test/", failure_body=FAILURE_BODY)
PAGE = b"<br />\n<b>Fatal error</b>:  Uncaught Error: no in <b>/var/www/join.php</b> on line <b>3</b><br />"


def dripping(caller: Caller) -> None:
    """A byte a second, from the second line on."""
    caller.read_request()
    caller.send(b"HTTP/1.1 200 OK\r\n")
    for byte in b"Content-Length: 99\r\n\r\n" + b"." * 99:
        if caller.server.stopped.wait(1) or not caller.send(bytes([byte])):
            return


def resetting(caller: Caller) -> None:
    caller.read_request()
    caller.reset()


def endless(begin: bytes, more: bytes) -> Script:
    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(b"HTTP/1.1 200 OK\r\n" + begin)
        while caller.send(more):
            pass

    return script


def leaving(caller: Caller) -> None:
    """Keeps the connection after its first answer, and closes it just when it is used again."""
    caller.read_request()
    caller.send(ok())
    if len(caller.server.requests) < 3:
        caller.read_request()


BOMB = gzip.compress(bytes(10_000_000))
HTTP: dict[str, tuple[Script, str, str]] = {
    "good": (replying(ok()), "succeeded", ""),
    "drips": (dripping, "again", "did not end within 1 s"),
    "says nothing": (silent, "again", "no answer within 1 s"),
    "resets": (resetting, "again", "broke the connection off"),
    "headers without end": (endless(b"", b"X-More: 1\r\n" * 100), "again", "the answer's headers are"),
    "a header without end": (endless(b"X: ", b"x" * 4096), "again", "the answer's headers are"),
    "bomb": (replying(ok(BOMB, "Content-Encoding: gzip")), "succeeded", ""),
    "a body without end": (endless(b"\r\n", bytes(65536)), "succeeded", ""),
    "moved": (replying(answer(302, b"", "Location: /login")), "again", "answered 302 to a login page"),
    "error page": (replying(ok(PAGE)), "again", "a PHP error page behind a 200"),
    "breaks off": (closing(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), "again", "off in the middle"),
    "leaves": (leaving, "succeeded", ""),
}
"""name → what it does, what becomes of a delivery, and a piece of the sentence why"""


def server_context(authority: trustme.CA, until: timedelta = DAY) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_before=NOW - 2 * DAY, not_after=NOW + until).configure_cert(context)
    return context


def of_tls_1_0(authority: trustme.CA) -> ssl.SSLContext:
    context = server_context(authority)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context


def request(url: str, number: int, timeout: float, ca_file: str) -> Request:
    headers = (("Content-Type", "text/plain"), ("X-Delivery-Id", f"delivery-{number}"))
    return Request(url, b"text", headers, timeout=timeout, connect_timeout=timeout, verify_tls=ca_file)


def everything(transport: HttpClient) -> Iterator[tuple[str, Response]]:
    while len(transport):
        yield from transport.run(5)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_each_comes_to_its_own_end(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    contexts: dict[str, Callable[[], ssl.SSLContext]] = {
        "expired": lambda: server_context(authority, -DAY),
        "TLS 1.0": lambda: of_tls_1_0(authority),
    }
    with ExitStack() as stack, HttpClient() as transport:
        servers = {name: stack.enter_context(Server(script)) for name, (script, _, _) in HTTP.items()}
        for name, context in contexts.items():
            servers[name] = stack.enter_context(Server(replying(ok()), tls=context()))
        ended: dict[str, list[Response]] = {name: [] for name in servers}
        for number in (1, 2):
            for name, server in servers.items():
                patience = 1 if name in ("drips", "says nothing") else 60
                transport.start(request(server.url(), number, patience, str(tmp_path / "ca.pem")), name)
            for name, came in everything(transport):
                ended[name].append(came)
    for name, (_, outcome, sentence) in HTTP.items():
        for came in ended[name]:
            verdict = judge(came, ENDPOINT, NOW.timestamp())
            assert verdict.outcome == outcome and sentence in verdict.sentence, (name, came)
            assert len(came.body) <= 65536
    assert {came.failure and came.failure.sentence for came in ended["expired"]} == {"certificate expired"}
    assert {came.failure and came.failure.kind for came in ended["TLS 1.0"]} == {"tls"}
    assert not servers["expired"].requests and not servers["TLS 1.0"].requests, "no text goes out before that is known"
    leaves = [sent.partition(b"X-Delivery-Id: ")[2].split(b"\r\n")[0] for sent in servers["leaves"].requests]
    assert leaves == [b"delivery-1", b"delivery-2", b"delivery-2"]


def test_the_good_one_does_not_wait() -> None:
    """All others are under way, and stay so; of the good one twenty requests go out and come back one by one."""
    slow = [silent, dripping, endless(b"X: ", b"")]
    with ExitStack() as stack, HttpClient() as transport:
        for script in slow:
            server = stack.enter_context(Server(script))
            transport.start(Request(server.url(), b"text", timeout=300), "slow")
        good = stack.enter_context(Server(replying(ok())))
        for _ in range(20):
            transport.start(Request(good.url(), b"text"), "good")
            ended: list[tuple[object, Response]] = []
            while not ended:
                ended = transport.run(5)
            assert [(tag, came.status) for tag, came in ended] == [("good", 200)]
        assert len(transport) == len(slow) and good.connections == 1
