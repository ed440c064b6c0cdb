"""What libcurl's numbers and sentences mean, in ours. Pure.

The numbers are libcurl's own (libcurl-errors(3)) and never change; they stand here so that one place knows pycurl.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

from gateway.safe_http.models import Failure, Timings

_NOT_HTTP = (1, 8)
_NAME = (5, 6)
_CONNECT = 7
_PARTIAL = 18
_TIMEOUT = 28
_TLS = (35, 58, 59, 66, 80, 83)
_GOT_NOTHING, _SEND, _RECEIVE = 52, 55, 56
_CERTIFICATE = (60, 51, 90, 91)
_CA_FILE = 77
_ENCODING = 61
_PROXY = 97
_TOO_LARGE = 100

_EXPIRED, _NOT_YET = 10, 9
_UNKNOWN_CA = (2, 18, 19, 20, 21)
"""X509_V_ERR_… of OpenSSL: no issuer, self-signed, not to be verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurlError:
    """A transfer that libcurl gave up, and what is known of it."""

    code: int
    text: str
    errno: int = 0
    """The operating system's, of the last connection tried."""
    verified: int = 0
    """OpenSSL's verdict on the certificate; 0 is fine, or not asked."""
    secure: bool = False
    status: int | None = None
    times: Timings = Timings()
    connected: bool = False
    """A connection stood, handshake and all, so that the request could be sent."""
    timeout: float = 0.0
    connect_timeout: float = 0.0


def describe(trouble: CurlError) -> Failure:
    """One sentence for the operator, and the kind that programs go by."""
    code = trouble.code
    if "CONNECT tunnel" in trouble.text or code == _PROXY:
        return Failure(kind="proxy", sentence=f"the egress proxy did not connect us: {trouble.text}")
    if code == _TIMEOUT:
        return Failure(kind="timeout", sentence=_timeout(trouble))
    if code in _CERTIFICATE:
        return Failure(kind="certificate", sentence=_certificate(trouble))
    if code == _CONNECT:
        return Failure(kind="connect", sentence=_connect(trouble))
    if code in _TLS:
        return Failure(kind="tls", sentence=_tls(trouble.text))
    return _other(trouble)


def _other(trouble: CurlError) -> Failure:
    code, text = trouble.code, trouble.text
    if code in (_GOT_NOTHING, _SEND, _RECEIVE, _PARTIAL):
        return _broken_off(trouble)
    if code in _NAME:
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


_BROKEN = re.compile(r"reset|broken pipe|recv failure|send failure|aborted|closed|unexpected eof", re.IGNORECASE)


def _broken_off(trouble: CurlError) -> Failure:
    if trouble.secure and not trouble.connected:
        return Failure(kind="tls", sentence=_tls(trouble.text))
    if trouble.code == _RECEIVE and not _BROKEN.search(trouble.text):
        return Failure(kind="protocol", sentence=f"what came back is no proper HTTP: {trouble.text}")
    if trouble.status:
        return Failure(kind="reset", sentence="the connection broke off in the middle of the answer")
    if trouble.code == _GOT_NOTHING:
        return Failure(kind="reset", sentence="the server closed the connection without an answer")
    return Failure(kind="reset", sentence="the server broke the connection off before it answered")


def _timeout(trouble: CurlError) -> str:
    if not trouble.connected:
        return _connect_timeout(trouble)
    limit = f"{trouble.timeout:g} s"
    if trouble.times.first_byte:
        return f"the answer had begun but did not end within {limit}"
    return f"no answer within {limit}, though the server took the connection"


def _connect_timeout(trouble: CurlError) -> str:
    limit = f"{min(trouble.timeout, trouble.connect_timeout):g} s"
    if trouble.times.connect:
        return f"the server took the connection but did not finish the TLS handshake within {limit}"
    return f"no connection within {limit}: the server is down, or a firewall drops what we send"


_ERRNO = {
    errno.ECONNREFUSED: "connection refused: nobody listens there, or a firewall says no",
    errno.EHOSTUNREACH: "no way to that host",
    errno.ENETUNREACH: "no way to that network",
    errno.ETIMEDOUT: "no connection: the server is down, or a firewall drops what we send",
    errno.EADDRNOTAVAIL: "this machine has no address or port left to connect from",
    errno.EMFILE: "this process has too many files open",
}


def _connect(trouble: CurlError) -> str:
    known = _ERRNO.get(trouble.errno)
    return known or f"no connection: {trouble.text}"


def _certificate(trouble: CurlError) -> str:
    text, verified = trouble.text, trouble.verified
    if verified == _EXPIRED or "has expired" in text:
        return "certificate expired"
    if verified == _NOT_YET or "not yet valid" in text:
        return "the certificate is not valid yet: one of the two clocks is wrong"
    if "subject name" in text or "host name" in text.lower() or "hostname" in text.lower():
        return "the certificate is for another host name"
    if verified in _UNKNOWN_CA or "self-signed" in text or "issuer" in text:
        return "the certificate is signed by an authority that we do not know: give its file in verify_tls"
    return f"the certificate was not accepted: {text}"


_OLD_TLS = re.compile(r"protocol version|unsupported protocol|no protocols available|version too low", re.IGNORECASE)
_PLAIN = re.compile(r"wrong version number|packet length too long|http request|record overflow", re.IGNORECASE)
_WEAK = re.compile(r"key too small|md too weak|legacy|no shared cipher|no ciphers", re.IGNORECASE)
_CLIENT = re.compile(r"certificate required|bad certificate|client cert", re.IGNORECASE)


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
