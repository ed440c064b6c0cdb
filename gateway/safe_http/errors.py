"""Failed transfers in plain words: libcurl's error codes, and this machine out of descriptors or memory.

The codes are libcurl's own (libcurl-errors(3)) and never change.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
from dataclasses import dataclass
from typing import Any

from gateway.safe_http.models import Failure, Timings

if sys.platform != "win32":
    import resource

NAME_CODES, CONNECT_CODE, TIMEOUT_CODE = (5, 6), 7, 28
_NOT_HTTP = (1, 8)
_PARTIAL = 18
_TLS = (35, 58, 59, 66, 80, 83)
_GOT_NOTHING, _SEND, _RECEIVE = 52, 55, 56
_CERTIFICATE = (60, 51, 90, 91)
_CA_FILE = 77
_ENCODING = 61
_PROXY = 97
_TOO_LARGE = 100

_EXPIRED, _NOT_YET = 10, 9
_UNKNOWN_CA = (2, 18, 19, 20, 21)  # X509_V_ERR_… of OpenSSL: no issuer, self-signed, cannot be verified

OUT_OF_RESOURCES = "resources"
"""The kind of a `Failure` of this machine: the request was never sent, and no endpoint is to blame."""
RESERVED_DESCRIPTORS = 16
"""Descriptors that connections to endpoints leave free: name servers, CA files and the store need some too."""
_SHORT = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, getattr(errno, "WSAEMFILE", 0), 10055} - {0}
)
"""10055 is WSAENOBUFS, which `errno` does not name everywhere."""

_BROKEN = re.compile(r"reset|broken pipe|recv failure|send failure|aborted|closed|unexpected eof", re.IGNORECASE)
_OLD_TLS = re.compile(r"protocol version|unsupported protocol|no protocols available|version too low", re.IGNORECASE)
_PLAIN = re.compile(r"wrong version number|packet length too long|http request|record overflow", re.IGNORECASE)
_WEAK = re.compile(r"key too small|md too weak|legacy|no shared cipher|no ciphers", re.IGNORECASE)
_CLIENT = re.compile(r"certificate required|bad certificate|client cert", re.IGNORECASE)
_ERRNO = {
    errno.ECONNREFUSED: "connection refused: nobody listens there, or a firewall says no",
    errno.EHOSTUNREACH: "no way to that host",
    errno.ENETUNREACH: "no way to that network",
    errno.ETIMEDOUT: "no connection: the server is down, or a firewall drops what we send",
    errno.EADDRNOTAVAIL: "this machine has no address or port left to connect from",
    errno.EMFILE: "this process has too many files open",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CurlError:
    """A transfer that libcurl gave up, and what is known of it."""

    code: int
    text: str
    errno: int = 0  # the operating system's, of the last connection tried
    verified: int = 0  # OpenSSL's verdict on the certificate; 0 is fine, or not checked
    secure: bool = False
    status: int | None = None
    times: Timings = Timings()
    connected: bool = False  # a connection stood, handshake and all, so that the request could be sent
    timeout: float = 0.0
    connect_timeout: float = 0.0


def describe(error: CurlError) -> Failure:
    """The failure that a libcurl error means: a sentence for the operator, and the kind that programs go by."""
    code, text = error.code, error.text
    if "CONNECT tunnel" in text or code == _PROXY:
        return Failure(kind="proxy", sentence=f"the egress proxy did not connect us: {text}")
    if code == TIMEOUT_CODE:
        return Failure(kind="timeout", sentence=_timeout(error))
    if code in _CERTIFICATE:
        return Failure(kind="certificate", sentence=_certificate(error))
    if code == CONNECT_CODE:
        return Failure(kind="connect", sentence=_ERRNO.get(error.errno) or f"no connection: {text}")
    if code in _TLS:
        return Failure(kind="tls", sentence=_tls(text))
    if code in (_GOT_NOTHING, _SEND, _RECEIVE, _PARTIAL):
        return _broken_off(error)
    return _other(code, text)


def _other(code: int, text: str) -> Failure:
    if code in NAME_CODES:
        return Failure(kind="name", sentence=f"the name was not found: {text}")
    if code == _CA_FILE:
        return Failure(kind="certificate", sentence="the CA file of verify_tls cannot be read")
    if code == _TOO_LARGE:
        return Failure(kind="too_large", sentence="the answer's headers are too long")
    if code in _NOT_HTTP:
        return Failure(kind="protocol", sentence=f"what came back is no proper HTTP: {text}")
    if code == _ENCODING:
        return Failure(kind="protocol", sentence="the answer's Transfer-Encoding was not asked for")
    return Failure(kind="protocol", sentence=f"the transfer failed: {text} ({code})")


def _broken_off(error: CurlError) -> Failure:
    if error.secure and not error.connected:
        return Failure(kind="tls", sentence=_tls(error.text))
    if error.code == _RECEIVE and not _BROKEN.search(error.text):
        return Failure(kind="protocol", sentence=f"what came back is no proper HTTP: {error.text}")
    if error.status:
        return Failure(kind="reset", sentence="the connection broke off in the middle of the answer")
    if error.code == _GOT_NOTHING:
        return Failure(kind="reset", sentence="the server closed the connection without an answer")
    return Failure(kind="reset", sentence="the server broke the connection off before it answered")


def _timeout(error: CurlError) -> str:
    whole, connect = f"{error.timeout:g} s", f"{min(error.timeout, error.connect_timeout):g} s"
    if not error.connected and error.times.connect:
        return f"the server took the connection but did not finish the TLS handshake within {connect}"
    if not error.connected:
        return f"no connection within {connect}: the server is down, or a firewall drops what we send"
    if error.times.first_byte:
        return f"the answer had begun but did not end within {whole}"
    return f"no answer within {whole}, though the server took the connection"


def _certificate(error: CurlError) -> str:
    text, verified = error.text, error.verified
    if verified == _EXPIRED or "has expired" in text:
        return "certificate expired"
    if verified == _NOT_YET or "not yet valid" in text:
        return "the certificate is not valid yet: one of the two clocks is wrong"
    if "subject name" in text or "host name" in text.lower() or "hostname" in text.lower():
        return "the certificate is for another host name"
    if verified in _UNKNOWN_CA or "self-signed" in text or "issuer" in text:
        return "the certificate is signed by an authority that we do not know: give its file in verify_tls"
    return f"the certificate was not accepted: {text}"


def _tls(text: str) -> str:
    if _OLD_TLS.search(text):
        return "the server speaks only TLS versions older than tls_min allows"
    if _PLAIN.search(text):
        return "the server does not speak TLS on this port: is it http:// instead of https://?"
    if _WEAK.search(text):
        return f"the server's TLS is too weak or too old to agree on: {text}"
    if _CLIENT.search(text):
        return f"the server wants a certificate from us, or refused it: {text}"
    if "handshake failure" in text:
        return "the server refused the TLS handshake: it wants a certificate from us, or speaks only what is too weak"
    return f"the TLS handshake failed: {text}"


def shortage_of(error: OSError) -> str:
    """A sentence if `error` says that this machine ran out of something; else empty.
    An error of the name lookup has numbers of its own: see `current_shortage`."""
    short = error.errno in _SHORT and not isinstance(error, socket.gaierror)
    return f"this machine is short of something: {os.strerror(error.errno or 0)}" if short else ""


def current_shortage() -> str:
    """A sentence if no socket can be opened just now; else empty. For failures that do not tell why."""
    try:
        socket.socket().close()
    except OSError as error:
        return shortage_of(error)
    return ""


def reserve_reached(descriptor: int) -> str:
    """A sentence if `descriptor`, the lowest that was free, belongs to the reserve; else empty."""
    if sys.platform == "win32":  # sockets are not counted there
        return ""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_reached = limit != resource.RLIM_INFINITY and descriptor >= limit - RESERVED_DESCRIPTORS
    return shortage_of(OSError(errno.EMFILE, "")) if is_reached else ""


class DescriptorShortage:
    """The pause after a request that could not leave: nothing more is claimed. Logged now and then, not for each."""

    REST_SECONDS = 1.0  # without claims
    POSTPONED_SECONDS = 5.0  # until a delivery that could not leave is due again
    LOG_SECONDS = 60.0  # between two lines in the log

    def __init__(self, log: Any) -> None:
        self._log, self._count = log, 0
        self._rests_until = self._logs_at = 0.0

    def lasts(self, monotonic: float) -> bool:
        """True while nothing shall be claimed."""
        return monotonic < self._rests_until

    def record(self, monotonic: float, sentence: str) -> None:
        """Starts the pause over: a request could not leave, for the reason in `sentence`."""
        self._rests_until = monotonic + self.REST_SECONDS
        self._count += 1
        if monotonic >= self._logs_at:
            self._log.error("resources_short", reason=sentence, put_off=self._count)
            self._logs_at, self._count = monotonic + self.LOG_SECONDS, 0
