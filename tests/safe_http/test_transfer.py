"""A request in libcurl's terms, before anything is sent."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pycurl
import pytest

from gateway.safe_http import transfer
from gateway.safe_http.dns import ResolvedName
from gateway.safe_http.models import Failure, Request, Timings
from gateway.safe_http.ssrf import NO_ADDRESSES, AddressPolicy
from gateway.safe_http.transfer import (
    MAX_HEAD_BYTES,
    MAX_HEAD_LINES,
    PendingRequest,
    Profile,
    Target,
    Transfer,
    ca_bundle,
    handle_options,
    header_lines,
    target_of,
)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://page.test", Target("", "page.test", 80, False, "/", "http://page.test")),
        ("http://page.test?a=b/c", Target("", "page.test", 80, False, "/?a=b/c", "http://page.test?a=b/c")),
        (
            "HTTPS://Page.test:8443/a%2f?u=http://x/#top#end",
            Target("", "page.test", 8443, True, "/a%2f?u=http://x/", "HTTPS://Page.test:8443/a%2f?u=http://x/"),
        ),
        ("ftp://page.test/", Target("the URL does not begin with http:// or https://")),
    ],
)
def test_a_url_is_taken_apart(url: str, target: Target) -> None:
    assert target_of(url) == target


@pytest.mark.parametrize(
    ("headers", "lines"),
    [
        ((), ["Expect:", "Content-Type:"]),
        ((("content-TYPE", "text/plain"),), ["Expect:", "content-TYPE: text/plain"]),
        ((("X-A", "1"), ("X-B", " "), ("X-A", "~")), ["Expect:", "Content-Type:", "X-A: 1", "X-B;", "X-A: ~"]),
    ],
)
def test_the_lines_of_a_head(headers: tuple[tuple[str, str], ...], lines: list[str]) -> None:
    assert header_lines(headers) == lines


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        *[(("X-A", value), "a header's value has characters that cannot be sent") for value in ("é", "a\nb", "\x7f")],
        (("X A", "1"), "'X A' is no header that can be sent, or one that only the gateway writes"),
        (("", "1"), "'' is no header that can be sent, or one that only the gateway writes"),
        (("hOST", "1"), "'hOST' is no header that can be sent, or one that only the gateway writes"),
        (("Expect", "1"), "'Expect' is no header that can be sent, or one that only the gateway writes"),
    ],
)
def test_a_header_that_may_not_be_sent(header: tuple[str, str], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        header_lines((("X-Good", "1"), header))
    assert str(caught.value) == sentence


URL = "http://page.test/x?y"


def profile(
    url: str = URL, proxy: str = "", capture: bool = False, verify: bool | str = True, tls_min: str = "1.2"
) -> Profile:
    return url, proxy, capture, verify, tls_min


def test_nothing_of_the_environment_counts_and_nothing_is_followed() -> None:
    """No proxy, no `.netrc`, no redirect, no decompression: what an endpoint answers is what is judged."""
    chosen = handle_options(profile())
    assert [chosen[option] for option in (pycurl.PROXY, pycurl.NOPROXY, pycurl.NETRC, pycurl.FOLLOWLOCATION)] == [
        "",
        "*",
        0,
        0,
    ]
    assert chosen[pycurl.HTTP_CONTENT_DECODING] == 0 and chosen[pycurl.HTTP09_ALLOWED] == 0
    assert chosen[pycurl.PROTOCOLS] == pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
    assert chosen[pycurl.HTTP_VERSION] == pycurl.CURL_HTTP_VERSION_1_1
    assert (chosen[pycurl.POST], chosen[pycurl.NOSIGNAL], chosen[pycurl.USERAGENT]) == (1, 1, "sms-gateway/1")
    assert (chosen[pycurl.MAXAGE_CONN], chosen[pycurl.MAXLIFETIME_CONN]) == (60, 300)
    assert chosen[pycurl.DNS_CACHE_TIMEOUT] == 3600
    assert chosen[265] == 1, "a proxy's answer to CONNECT is no part of the endpoint's"
    assert [handle_options(profile(capture=capture))[pycurl.VERBOSE] for capture in (False, True)] == [0, 1]


def test_a_proxy_is_asked_for_the_whole_url_unless_it_makes_a_tunnel() -> None:
    proxy = "http://proxy.test:8080"
    assert handle_options(profile())[pycurl.REQUEST_TARGET] == "/x?y"
    chosen = handle_options(profile(proxy=proxy))
    assert (chosen[pycurl.URL], chosen[pycurl.REQUEST_TARGET]) == (URL, URL)
    assert (chosen[pycurl.PROXY], chosen[pycurl.NOPROXY]) == (proxy, "")
    assert handle_options(profile("https://page.test/x", proxy))[pycurl.REQUEST_TARGET] == "/x"


@pytest.mark.parametrize(("verify", "peer", "host"), [(True, 1, 2), (False, 0, 0), ("/etc/own.pem", 1, 2)])
def test_certificates_are_checked_unless_that_is_switched_off(verify: bool | str, peer: int, host: int) -> None:
    chosen = handle_options(profile(verify=verify))
    assert (chosen[pycurl.SSL_VERIFYPEER], chosen[pycurl.SSL_VERIFYHOST]) == (peer, host)
    assert chosen[pycurl.CAINFO] == (verify if isinstance(verify, str) else ca_bundle())
    assert chosen[pycurl.PROXY_CAINFO] == ca_bundle()


@pytest.mark.parametrize(
    ("tls_min", "version", "is_weak"),
    [
        ("1.0", pycurl.SSLVERSION_TLSv1_0, True),
        ("1.1", pycurl.SSLVERSION_TLSv1_1, True),
        ("1.2", pycurl.SSLVERSION_TLSv1_2, False),
        ("1.3", pycurl.SSLVERSION_TLSv1_3, False),
    ],
)
def test_old_tls_is_for_those_who_ask_for_it(tls_min: str, version: int, is_weak: bool) -> None:
    chosen = handle_options(profile(tls_min=tls_min))
    assert chosen[pycurl.SSLVERSION] == version
    assert chosen.get(pycurl.SSL_CIPHER_LIST) == ("DEFAULT:@SECLEVEL=0" if is_weak else None)
    assert pycurl.SSL_OPTIONS not in chosen


def test_the_authorities_of_windows_are_in_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    ca_bundle()
    monkeypatch.setattr("gateway.safe_http.transfer.os.name", "nt")
    assert handle_options(profile())[pycurl.SSL_OPTIONS] == 16
    assert pycurl.SSL_OPTIONS not in handle_options(profile(verify="/etc/own.pem"))


def test_a_connection_must_stand_before_the_shorter_of_two_times() -> None:
    target = target_of(URL)
    for timeout, connect_timeout in ((20.0, 5.0), (5.0, 20.0)):
        request = Request(url=URL, body=b"", timeout=timeout, connect_timeout=connect_timeout)
        assert PendingRequest(request, None, target, 100.0).deadline == 105.0


@pytest.mark.parametrize(
    ("raw", "headers", "is_whole"),
    [
        (b"", (), True),
        (b"HTTP/1.1 200 OK\r\nA: 1\r\nb:  2 : 3 \r\n\r\n", (("A", "1"), ("b", "2 : 3")), True),
        (b"HTTP/1.1 200 OK\nA: 1\n\n", (("A", "1"),), True),
        (b"HTTP/1.1 200 OK\r\nA: \xe9\r\nno header\r\n", (("A", "é"),), False),
        (b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\nHTTP/1.1 200 OK\r\nA: 1\r\n\r\n", (("A", "1"),), True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: 1\r\n", (("A", "1"),), False),
        (b"HTTP/1.1 200 OK\r\nA: HTTP/1\r\n\r\nT: 1\r\n", (("A", "HTTP/1"), ("T", "1")), True),
    ],
)
def test_the_head_of_an_answer(raw: bytes, headers: tuple[tuple[str, str], ...], is_whole: bool) -> None:
    assert transfer._read_head(raw) == (headers, is_whole, "")


def test_how_long_a_head_may_be() -> None:
    sentence = "the answer's headers are longer than 16 KB or 100 lines"
    first = b"HTTP/1.1 200 OK\r\n"
    lines = first + b"A: 1\r\n" * (MAX_HEAD_LINES - 2) + b"\r\n"
    assert [transfer._read_head(raw)[2] for raw in (lines, first + lines)] == ["", sentence]
    long = first + b"A: " + b"x" * (MAX_HEAD_BYTES - len(first) - 7) + b"\r\n\r\n"
    assert len(long) == MAX_HEAD_BYTES
    assert [transfer._read_head(raw)[2] for raw in (long, b" " + long)] == ["", sentence]


def test_the_machines_own_authorities_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A company's own authority is in there."""
    own = tmp_path / "own.pem"
    own.touch()
    paths = ssl.get_default_verify_paths()
    try:
        for cafile, others, found in (
            (str(own), (), str(own)),
            (str(tmp_path / "gone.pem"), (str(tmp_path), str(own)), str(own)),
            (None, (), None),
        ):
            ca_bundle.cache_clear()
            monkeypatch.setattr(ssl, "get_default_verify_paths", lambda cafile=cafile: paths._replace(cafile=cafile))
            monkeypatch.setattr(transfer, "_CA_BUNDLES", others)
            assert ca_bundle() == found or (found is None and "certifi" in ca_bundle())
    finally:
        ca_bundle.cache_clear()


@pytest.fixture
def carrying(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Transfer]]:
    """A handle with a request that was started at 100, two seconds ago, and waited so long for its name. Nothing is
    sent."""
    monkeypatch.setattr("gateway.safe_http.transfer.time", SimpleNamespace(monotonic=lambda: 102.0))
    made: list[Transfer] = []

    def load(timeout: float = 20.0, connect_timeout: float = 5.0) -> Transfer:
        one = Transfer(profile(), lambda _: None)
        made.append(one)
        request = Request(url=URL, body=b"", timeout=timeout, connect_timeout=connect_timeout)
        pending = PendingRequest(request, None, target_of(URL), 100.0, lookup_seconds=2.0)
        one.load(pending, ResolvedName(("127.0.0.1",)), AddressPolicy(False, (), NO_ADDRESSES))
        return one

    yield load
    for one in made:
        one.curl.close()


def test_when_a_request_is_late(carrying: Callable[..., Transfer]) -> None:
    one = carrying()
    assert [one.is_late(now) for now in (104.9, 105.0, 119.9, 120.0)] == [False, True, True, True]
    one.connected = True
    assert [one.is_late(now) for now in (105.0, 119.9, 120.0)] == [False, False, True]


def test_the_wait_for_the_name_is_taken_off_the_time(
    carrying: Callable[..., Transfer], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[tuple[float, float]] = []
    monkeypatch.setattr(Transfer, "limit", lambda _, *seconds: limits.append(seconds))
    carrying()
    carrying(timeout=4.0, connect_timeout=9.0)
    assert limits == [(18.0, 3.0), (2.0, 7.0)]


def test_libcurl_is_told_of_milliseconds_and_never_of_none(carrying: Callable[..., Transfer]) -> None:
    """To libcurl 0 ms are no limit at all."""
    one = carrying()
    told: list[tuple[int, int]] = []
    one._set = lambda *option: told.append(option)
    one.limit(20.0, 0.0001)
    one.limit(-1.0, 3.0)
    assert told == [
        (pycurl.TIMEOUT_MS, 20_000),
        (pycurl.CONNECTTIMEOUT_MS, 1),
        (pycurl.TIMEOUT_MS, 1),
        (pycurl.CONNECTTIMEOUT_MS, 3000),
    ]


def test_only_the_last_request_is_captured(carrying: Callable[..., Transfer]) -> None:
    """One that began anew, or stands behind a CONNECT, takes the place of the one before it."""
    one = carrying()
    for kind, piece in (
        (2, b"CONNECT page.test:443 HTTP/1.1\r\n\r\n"),
        (1, b"HTTP/1.1 200 OK\r\n"),
        (2, b"POST /x HTTP/1.1\r\n\r\n"),
        (4, b"POST half"),
        (2, b"POST /x HTTP/1.1\r\n"),
        (2, b"\r\n"),
        (4, b"POST "),
        (4, b"whole"),
        (0, b"a remark of libcurl's"),
    ):
        one._note_sent(kind, piece)
    assert one._sent == [b"POST /x HTTP/1.1\r\n", b"\r\n", b"POST ", b"whole"]
    one._note_sent(2, b"CONNECT page.test:443 HTTP/1.1\r\n\r\n")
    assert len(one._sent) == 1


def test_a_body_is_taken_up_to_64_kb(carrying: Callable[..., Transfer]) -> None:
    one = carrying()
    assert [one._write(b"x" * 65_535), one._write(b"x"), one._write(b"x")] == [None, None, 0]


def test_nothing_goes_out_once_an_answer_has_begun(carrying: Callable[..., Transfer]) -> None:
    one = carrying()
    assert [one._before_request("127.0.0.1", "", 80, 0) for _ in range(2)] == [0, 0] and one.connected
    one._head_lines.append(b"HTTP/1.1 200 OK\r\n")
    assert one._before_request("127.0.0.1", "", 80, 0) == 1
    assert one._own_failure(42, True, "") == Failure("reset", "the connection broke off in the middle of the answer")


def test_a_connection_that_is_lent_is_judged_and_the_first_refusal_stays(carrying: Callable[..., Transfer]) -> None:
    one = carrying()
    assert one._before_request("169.254.169.254", "", 80, 0) == 1
    found = one._own_failure(42, True, "")
    assert found is not None and found.kind == "refused_address" and "169.254.169.254" in found.sentence
    assert one._before_request("127.0.0.1", "", 80, 0) == 1 and one._own_failure(42, True, "") == found


def test_no_socket_can_be_had(carrying: Callable[..., Transfer], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "?")

    address = SimpleNamespace(family=socket.AF_INET, socktype=socket.SOCK_STREAM, protocol=6, addr=("127.0.0.1", 80))
    one = carrying()
    monkeypatch.setattr("gateway.safe_http.transfer.socket.socket", fail)
    assert one._open_socket(0, address) == -1
    found = one._own_failure(7, True, "")
    assert found is not None and found.kind == "resources" and os.strerror(errno.EMFILE) in found.sentence


def test_times_count_from_the_start_of_the_attempt(carrying: Callable[..., Transfer]) -> None:
    """libcurl counts from when the name was known; of a connection that was kept it tells the times of its making."""
    one = carrying()
    facts = {
        pycurl.NAMELOOKUP_TIME_T: 100,
        pycurl.CONNECT_TIME_T: 1000,
        pycurl.APPCONNECT_TIME_T: 0,
        pycurl.STARTTRANSFER_TIME_T: 5000,
        pycurl.TOTAL_TIME_T: 9000,
    }
    one._get = facts.__getitem__
    assert one._times(1) == Timings(2000.1, 2001.0, 0.0, 0.0, 2009.0)
    one._head_lines.append(b"HTTP/1.1 200 OK\r\n")
    assert one._times(1) == Timings(2000.1, 2001.0, 0.0, 2005.0, 2009.0)
    assert one._times(0) == Timings(2000.0, 0.0, 0.0, 2005.0, 2009.0)
    one.pending.lookup_seconds = 0.0
    assert one._times(1) == Timings(0.1, 1.0, 0.0, 5.0, 9.0)


def test_which_failures_are_a_shortage_of_ours(
    carrying: Callable[..., Transfer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's name is looked up by libcurl, with sockets that we do not see."""
    one = carrying()
    monkeypatch.setattr("gateway.safe_http.errors.current_shortage", lambda: "none left")
    short = Failure("resources", "none left")
    assert [one._own_failure(code, True, "") for code in (0, 5, 6, 7, 28, 56)] == [None, short, short, None, None, None]
    one.connected = True
    assert one._own_failure(6, True, "") is None


def test_addresses_are_pinned_once(carrying: Callable[..., Transfer]) -> None:
    one = carrying()
    policy, pending = AddressPolicy(False, (), NO_ADDRESSES), one.pending
    told: list[object] = []
    one._set = lambda option, value: told.append(value) if option in (pycurl.RESOLVE, pycurl.TIMEOUT_MS) else None
    found = ResolvedName(("127.0.0.1", "::1"))
    for each in (found, found, ResolvedName(("127.0.0.1",), literal=True), found):
        one.load(pending, each, policy)
    assert told == [["+page.test:80:127.0.0.1,[::1]"]]
    proxied = Request(url=URL, body=b"", timeout=20.0, egress_proxy="http://proxy.test:8080")
    one.load(PendingRequest(proxied, None, pending.target, 100.0), ResolvedName(("127.0.0.1",)), policy)
    assert told[1:] == [20_000]
