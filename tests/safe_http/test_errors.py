"""The sentences about transfers that libcurl gave up, and when this machine is to blame."""

from __future__ import annotations

import errno
import os
import resource
import socket

import pytest
from structlog import get_logger
from structlog.testing import capture_logs

from gateway.safe_http.errors import (
    CurlError,
    DescriptorShortage,
    current_shortage,
    describe,
    reserve_reached,
    shortage_of,
)
from gateway.safe_http.models import Timings

CONNECTED = Timings(name=1.0, connect=2.0)
BEGUN = Timings(name=1.0, connect=2.0, first_byte=3.0)


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (CurlError(code=56, text="CONNECT tunnel failed"), "proxy", "the egress proxy did not connect us: {}"),
        (CurlError(code=97, text="SOCKS5 said no"), "proxy", "the egress proxy did not connect us: {}"),
        (CurlError(code=5, text="no proxy"), "name", "the name was not found: {}"),
        (CurlError(code=6, text="no host"), "name", "the name was not found: {}"),
        (CurlError(code=77, text="x"), "certificate", "the CA file of verify_tls cannot be read"),
        (CurlError(code=100, text="x"), "too_large", "the answer's headers are too long"),
        (CurlError(code=1, text="HTTP/0.9"), "protocol", "what came back is no proper HTTP: {}"),
        (CurlError(code=8, text="weird"), "protocol", "what came back is no proper HTTP: {}"),
        (CurlError(code=61, text="x"), "protocol", "the answer's Transfer-Encoding was not asked for"),
        (CurlError(code=3, text="strange"), "protocol", "the transfer failed: {} (3)"),
        (CurlError(code=7, text="refused", errno=errno.EHOSTUNREACH), "connect", "no way to that host"),
        (CurlError(code=7, text="something new", errno=9999), "connect", "no connection: {}"),
        *[
            (CurlError(code=code, text="odd"), "certificate", "the certificate was not accepted: {}")
            for code in (51, 60, 90, 91)
        ],
        *[
            (CurlError(code=code, text="odd"), "tls", "the TLS handshake failed: {}")
            for code in (35, 58, 59, 66, 80, 83)
        ],
    ],
)
def test_the_kind_and_the_sentence_of_an_error(error: CurlError, kind: str, sentence: str) -> None:
    found = describe(error)
    assert (found.kind, found.sentence) == (kind, sentence.format(error.text))


@pytest.mark.parametrize(
    ("times", "connected", "sentence"),
    [
        (Timings(), False, "no connection within 2 s: the server is down, or a firewall drops what we send"),
        (CONNECTED, False, "the server took the connection but did not finish the TLS handshake within 2 s"),
        (CONNECTED, True, "no answer within 7.5 s, though the server took the connection"),
        (BEGUN, True, "the answer had begun but did not end within 7.5 s"),
    ],
)
def test_how_far_it_came_in_its_time(times: Timings, connected: bool, sentence: str) -> None:
    error = CurlError(code=28, text="", times=times, connected=connected, timeout=7.5, connect_timeout=2)
    assert (describe(error).kind, describe(error).sentence) == ("timeout", sentence)


def test_the_shorter_of_two_timeouts_is_named() -> None:
    assert "within 3 s" in describe(CurlError(code=28, text="", timeout=3, connect_timeout=20)).sentence


@pytest.mark.parametrize(
    ("text", "verified", "sentence"),
    [
        ("", 10, "certificate expired"),
        ("certificate has expired", 0, "certificate expired"),
        ("", 9, "the certificate is not valid yet: one of the two clocks is wrong"),
        ("certificate is not yet valid", 0, "the certificate is not valid yet: one of the two clocks is wrong"),
        ("no alternative certificate subject name matches", 0, "the certificate is for another host name"),
        ("Host name mismatch", 0, "the certificate is for another host name"),
        ("Hostname mismatch", 0, "the certificate is for another host name"),
        *[
            (
                text,
                verified,
                "the certificate is signed by an authority that we do not know: give its file in verify_tls",
            )
            for text, verified in (
                *(("", verified) for verified in (2, 18, 19, 20, 21)),
                ("self-signed certificate", 0),
                ("unable to get local issuer certificate", 0),
            )
        ],
    ],
)
def test_what_is_wrong_with_a_certificate(text: str, verified: int, sentence: str) -> None:
    found = describe(CurlError(code=60, text=text, verified=verified, secure=True))
    assert (found.kind, found.sentence) == ("certificate", sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tlsv1 alert protocol version", "the server speaks only TLS versions older than tls_min allows"),
        ("wrong version number", "the server does not speak TLS on this port: is it http:// instead of https://?"),
        ("dh key too small", "the server's TLS is too weak or too old to agree on: dh key too small"),
        ("certificate required", "the server wants a certificate from us, or refused it: certificate required"),
        (
            "sslv3 alert handshake failure",
            "the server refused the TLS handshake: it wants a certificate from us, or speaks only what is too weak",
        ),
    ],
)
def test_why_a_handshake_failed(text: str, sentence: str) -> None:
    for error in (
        CurlError(code=35, text=text, secure=True),
        CurlError(code=56, text=text, secure=True),  # libcurl's word for a handshake that broke off
    ):
        assert (describe(error).kind, describe(error).sentence) == ("tls", sentence)


@pytest.mark.parametrize(
    ("code", "text", "status", "kind", "sentence"),
    [
        (52, "Empty reply", None, "reset", "the server closed the connection without an answer"),
        (55, "Send failure", None, "reset", "the server broke the connection off before it answered"),
        (56, "Recv failure: reset by peer", None, "reset", "the server broke the connection off before it answered"),
        (18, "closed with bytes left", 200, "reset", "the connection broke off in the middle of the answer"),
        (56, "unexpected EOF", 200, "reset", "the connection broke off in the middle of the answer"),
        (56, "Invalid chunk", 200, "protocol", "what came back is no proper HTTP: Invalid chunk"),
        (55, "Invalid chunk", None, "reset", "the server broke the connection off before it answered"),
    ],
)
def test_a_connection_that_broke_off(code: int, text: str, status: int | None, kind: str, sentence: str) -> None:
    for secure in (False, True):
        found = describe(CurlError(code=code, text=text, status=status, secure=secure, connected=True))
        assert (found.kind, found.sentence) == (kind, sentence)


def test_only_what_this_machine_lacks_is_a_shortage() -> None:
    full = OSError(errno.EMFILE, "")
    assert shortage_of(full) == f"this machine is short of something: {os.strerror(errno.EMFILE)}"
    assert shortage_of(OSError(10055, "")) and shortage_of(OSError(errno.ENOMEM, ""))
    assert shortage_of(OSError(errno.ECONNREFUSED, "")) == "" and shortage_of(OSError("no number")) == ""
    assert shortage_of(socket.gaierror(errno.ENOMEM, "")) == "", "its numbers are the resolver's own"
    assert current_shortage() == ""


def test_the_last_descriptors_are_a_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", {resource.RLIMIT_NOFILE: (100, 200)}.__getitem__)
    assert reserve_reached(83) == ""
    assert reserve_reached(84) == shortage_of(OSError(errno.EMFILE, ""))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert reserve_reached(10_000) == ""


def test_nothing_is_claimed_for_a_second_and_the_log_hears_of_it_once_a_minute() -> None:
    shortage = DescriptorShortage(get_logger())
    assert not shortage.lasts(0.0)
    with capture_logs() as logs:
        for moment in (10.0, 10.5, 11.0, 70.0, 71.0, 130.0):
            shortage.record(moment, "no files left")
            assert shortage.lasts(moment + 0.99) and not shortage.lasts(moment + 1.0)
    assert [(line["event"], line["reason"], line["put_off"], line["log_level"]) for line in logs] == [
        ("resources_short", "no files left", 1, "error"),
        ("resources_short", "no files left", 3, "error"),
        ("resources_short", "no files left", 2, "error"),
    ]
