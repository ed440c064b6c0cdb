"""TLS: whom we trust, what we speak, and the ways in which it fails, told apart."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from gateway.safe_http.client import HttpClient, post
from gateway.safe_http.models import Request, Response
from tests.servers import Caller, Server, closing, ok, replying

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
OLD = "DEFAULT:@SECLEVEL=0"
"""What OpenSSL 3 must be told before it speaks TLS 1.1."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def context(
    authority: trustme.CA,
    name: str = "127.0.0.1",
    dates: tuple[timedelta, timedelta] = (-DAY, DAY),
    newest: ssl.TLSVersion | None = None,
) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_alpn_protocols(["h2", "http/1.1"])
    leaf = authority.issue_cert(name, not_before=NOW + dates[0], not_after=NOW + dates[1])
    leaf.configure_cert(made)
    if newest:
        made.set_ciphers(OLD)
        made.minimum_version = ssl.TLSVersion.TLSv1
        made.maximum_version = newest
    return made


def send(server: Server, verify: bool | str, **changes: object) -> Response:
    fields: dict[str, object] = {"body": b"a=1", "verify_tls": verify, **changes}
    return post(Request(url=server.url("/x"), **fields))  # type: ignore[arg-type]


def told(answer: Response) -> tuple[str, str]:
    return (answer.failure.kind, answer.failure.sentence) if answer.failure else ("", "")


def test_a_ca_file_is_believed_and_http_1_is_spoken(authority: trustme.CA, ca_file: str) -> None:
    with Server(replying(ok()), tls=context(authority)) as server:
        answer = send(server, ca_file)
    assert (answer.status, answer.failure) == (200, None)
    assert server.protocols == ["http/1.1"]
    assert server.requests[0].startswith(b"POST /x HTTP/1.1\r\n")
    assert 0 < answer.times.connect < answer.times.tls < answer.times.first_byte <= answer.times.total


def test_connections_over_tls_are_kept(authority: trustme.CA, ca_file: str) -> None:
    with Server(replying(ok()), tls=context(authority)) as server, HttpClient() as transport:
        for _ in range(3):
            transport.start(Request(url=server.url(), body=b"a", verify_tls=ca_file), 0)
            assert transport.run(20)[0][1].status == 200
    assert (server.connections, len(server.requests)) == (1, 3)


def test_a_connection_that_was_not_verified_is_not_lent(authority: trustme.CA, ca_file: str) -> None:
    with Server(replying(ok()), tls=context(authority, "other.example")) as server, HttpClient() as transport:
        for verify, status in ((False, 200), (ca_file, None), (False, 200)):
            transport.start(Request(url=server.url(), body=b"a", verify_tls=verify), 0)
            assert transport.run(20)[0][1].status == status
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("name", "dates", "sentence"),
    [
        ("127.0.0.1", (-2 * DAY, -DAY), "certificate expired"),
        ("127.0.0.1", (DAY, 2 * DAY), "the certificate is not valid yet: one of the two clocks is wrong"),
        ("other.example", (-DAY, DAY), "the certificate is for another host name"),
        ("127.0.0.2", (-DAY, DAY), "the certificate is for another host name"),
    ],
)
def test_bad_certificates(
    authority: trustme.CA, ca_file: str, name: str, dates: tuple[timedelta, timedelta], sentence: str
) -> None:
    with Server(replying(ok()), tls=context(authority, name, dates)) as server:
        assert told(send(server, ca_file)) == ("certificate", sentence)
        assert not server.requests
        assert send(server, False).status == 200


def test_an_authority_that_nobody_knows(authority: trustme.CA) -> None:
    with Server(replying(ok()), tls=context(authority)) as server:
        kind, sentence = told(send(server, True))
    assert kind == "certificate" and "authority that we do not know" in sentence
    assert not server.requests


def test_a_ca_file_that_is_not_there(authority: trustme.CA, tmp_path: Path) -> None:
    with Server(replying(ok()), tls=context(authority)) as server:
        answer = send(server, str(tmp_path / "none.pem"))
    assert told(answer) == ("certificate", "the CA file of verify_tls cannot be read")


@pytest.mark.parametrize(
    ("newest", "tls_min", "status"),
    [
        (ssl.TLSVersion.TLSv1_1, "1.2", None),
        (ssl.TLSVersion.TLSv1_1, "1.0", 200),
        (ssl.TLSVersion.TLSv1, "1.1", None),
        (ssl.TLSVersion.TLSv1, "1.0", 200),
        (ssl.TLSVersion.TLSv1_2, "1.2", 200),
        (ssl.TLSVersion.TLSv1_2, "1.3", None),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_oldest_version(
    authority: trustme.CA, ca_file: str, newest: ssl.TLSVersion, tls_min: str, status: int | None
) -> None:
    with Server(replying(ok()), tls=context(authority, newest=newest)) as server:
        answer = send(server, ca_file, tls_min=tls_min)
    assert answer.status == status
    if status is None:
        assert told(answer) == ("tls", "the server speaks only TLS versions older than tls_min allows")


def greet(caller: Caller) -> None:
    caller.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    caller.wait_for_end()


def test_no_tls_on_that_port() -> None:
    with Server(greet) as server:
        answer = post(Request(url=server.url(scheme="https"), body=b"a"))
    assert told(answer) == ("tls", "the server does not speak TLS on this port: is it http:// instead of https://?")


def test_a_handshake_that_breaks_off() -> None:
    def script(caller: Caller) -> None:
        caller.socket.recv(5)
        caller.reset()

    with Server(script) as server:
        assert told(post(Request(url=server.url(scheme="https"), body=b"a")))[0] == "tls"


def test_a_handshake_without_end() -> None:
    with Server(Caller.wait_for_end) as server:
        answer = post(Request(url=server.url(scheme="https"), body=b"a", connect_timeout=1))
    assert told(answer) == (
        "timeout",
        "the server took the connection but did not finish the TLS handshake within 1 s",
    )


def test_http_where_tls_is_spoken(authority: trustme.CA) -> None:
    with Server(closing(ok()), tls=context(authority)) as server:
        answer = post(Request(url=server.url(scheme="http"), body=b"a"))
    assert told(answer)[0] in ("reset", "protocol")
