"""The ways in which an application's server behaves badly, each until it is told to behave again."""

from __future__ import annotations

import gzip
import ssl
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import trustme

from tests.faults.endpoint import Behaviour, Endpoint, well
from tests.servers import Caller, answer, ok

PAGES = Path(__file__).parents[1] / "pages"
DAY = timedelta(days=1)
BOMB = gzip.compress(bytes(50_000_000))
OLD = "DEFAULT:@SECLEVEL=0"
"""What OpenSSL 3 must be told before it speaks TLS 1.0."""


def drips(caller: Caller) -> bool:
    """A byte a second: never silent for long, and never done."""
    caller.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while caller.send(b"x"):
        if caller.server.stopped.wait(1.0):
            break
    return False


def resets(caller: Caller) -> bool:
    caller.reset()
    return False


def never_ends_its_headers(caller: Caller) -> bool:
    caller.send(b"HTTP/1.1 200 OK\r\n")
    while caller.send(b"X-More: %s\r\n" % (b"a" * 1000) * 100):
        pass
    return False


def never_ends_its_body(caller: Caller) -> bool:
    caller.send(b"HTTP/1.1 500 Said\r\n\r\n")
    while caller.send(b"a" * 65536):
        pass
    return False


def never_answers(caller: Caller) -> bool:
    caller.wait_for_end()
    return False


def answers_late(caller: Caller) -> bool:
    caller.server.stopped.wait(10.0)
    caller.send(ok())
    return False


def says(reply: bytes, caller: Caller) -> bool:
    return caller.send(reply)


def page(name: str) -> Behaviour:
    """A 200 that is an error page."""
    return partial(says, ok((PAGES / name).read_bytes(), "Content-Type: text/html"))


@dataclass(frozen=True, slots=True)
class Certificates:
    """Of an authority of the tests' own, which the endpoints trust."""

    authority: trustme.CA

    def good(self) -> ssl.SSLContext:
        return self._context(-DAY, DAY)

    def expired(self) -> ssl.SSLContext:
        return self._context(-2 * DAY, -DAY)

    def old(self) -> ssl.SSLContext:
        made = self._context(-DAY, DAY)
        made.set_ciphers(OLD)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that is the point of it
            made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1
        return made

    def _context(self, begin: timedelta, end: timedelta) -> ssl.SSLContext:
        made, now = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), datetime.now(UTC)
        self.authority.issue_cert("127.0.0.1", not_before=now + begin, not_after=now + end).configure_cert(made)
        return made


BEHAVIOURS: dict[str, Behaviour] = {
    "drips a byte a second": drips,
    "resets": resets,
    "never ends its headers": never_ends_its_headers,
    "never ends its body": never_ends_its_body,
    "never answers": never_answers,
    "answers after 10 s": answers_late,
    "answers with a gzip bomb": partial(says, answer(500, BOMB, "Content-Encoding: gzip")),
    "redirects to a login page": partial(says, answer(302, b"", "Location: /login")),
    "answers an error page of PHP behind a 200": page("php/fatal-html.html"),
    "answers an error page of ColdFusion behind a 200": page("coldfusion/robust.html"),
    "answers an error page of ASP.NET behind a 200": page("asp-net/yellow.html"),
    "answers 429 with Retry-After": partial(says, answer(429, b"", "Retry-After: 2")),
    "answers 503 with Retry-After": partial(says, answer(503, b"", "Retry-After: 2")),
}
TLS: dict[str, Callable[[Certificates], ssl.SSLContext]] = {
    "has an expired certificate": Certificates.expired,
    "speaks TLS 1.0 only": Certificates.old,
}
CLOSES = "closes kept-alive connections at use"
ALL = (*BEHAVIOURS, *TLS, CLOSES)


def misbehave(endpoint: Endpoint, how: str, certificates: Certificates) -> None:
    """From now on."""
    if how in TLS:
        endpoint.speak(TLS[how](certificates))
    elif how == CLOSES:
        endpoint.closes_at_use = True
    else:
        endpoint.behave = BEHAVIOURS[how]


def behave(endpoint: Endpoint, how: str, certificates: Certificates) -> None:
    """Again, as if nothing had been."""
    if how in TLS:
        endpoint.speak(certificates.good())
    endpoint.behave, endpoint.closes_at_use = well, False
