"""Secrets out of what people are shown: requests as they went out, answers that echo them, URLs. Pure.

Two nets. By name: credentials in forms, `Authorization`, every header of the configuration,
whatever its value. By value: wherever else a secret of the endpoint turns up, in any of the
spellings that a page would echo it in.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, quote_plus, unquote_plus

from gateway.config import Endpoint
from gateway.safe_http.models import KEPT_BODY_BYTES
from gateway.safe_http.ssrf import HIDDEN
from schemas.credentials import CREDENTIALS

SHORTEST = 4
"""Characters: to hide every `1` of a page would hide the page, and a secret that short is none."""
LONG = 8
"""Characters that user names, headers and queries must have to be looked for elsewhere: they may be usual words."""
HARMLESS = frozenset({"accept", "accept-language", "content-language", "user-agent", "x-requested-with"})
"""Headers whose values may well stand elsewhere; beside their own name they are not looked for."""
HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})

# In a form, and in a page that echoes one, however short the value is.
_CREDENTIAL = re.compile(rf"\b({'|'.join(CREDENTIALS)})=[^&\s\"'<>]+")
_NAMED = tuple(f"{name}=" for name in CREDENTIALS)
_HEX = re.compile(r"%[0-9A-F]{2}")

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class EndpointRedaction:
    """Takes one endpoint's secrets out of texts."""

    names: frozenset[str]
    """Names of headers whose values are not shown, in lower case."""
    values: re.Pattern[str] | None
    trio: bool
    """Whether the credential trio is blanked by its names."""
    telling: tuple[str, ...] = _NAMED
    """Without one of these in it, a text holds no secret. They are looked for first: most answers have none, and to
    find that out with the patterns took longer than all else that is done with an answer."""

    @classmethod
    def of(cls, endpoint: Endpoint) -> EndpointRedaction:
        spellings = {form for value in _secrets(endpoint) if len(value) >= SHORTEST for form in _spellings(value)}
        # The longest first: of two secrets one may begin with the other.
        pattern = "|".join(re.escape(form) for form in sorted(spellings, key=len, reverse=True))
        return cls(
            names=HEADERS.union(name.lower() for name, _ in endpoint.headers),
            values=re.compile(pattern) if pattern else None,
            trio=endpoint.credentials is not None,
            telling=(*_shortest(spellings), *(_NAMED if endpoint.credentials else ())),
        )

    @classmethod
    def none(cls) -> EndpointRedaction:
        """For an endpoint that is no longer configured: what its secrets were is not known any more."""
        return cls(HEADERS, None, True)

    def text(self, text: str) -> str:
        if not self._tells(text):
            return text
        hidden = self.values.sub(HIDDEN, text) if self.values else text
        return _CREDENTIAL.sub(rf"\1={HIDDEN}", hidden) if self.trio else hidden

    def body(self, read: bytes) -> bytes:
        """The first `KEPT_BODY_BYTES` bytes of an answer as they may be stored: a page may echo what was posted to
        it."""
        # Somewhat more is looked at than is kept, so that no secret is cut in two and missed.
        text = read[: 2 * KEPT_BODY_BYTES].decode("utf-8", "surrogateescape")
        if not self._tells(text):
            return read[:KEPT_BODY_BYTES]
        return self.text(text).encode("utf-8", "surrogateescape")[:KEPT_BODY_BYTES]

    def headers(self, headers: Headers) -> list[tuple[str, str]]:
        pairs = list(headers)
        named = self.names.intersection([name.lower() for name, _ in pairs])
        if not named and not self._tells("\n".join([value for _, value in pairs])):
            return pairs
        return [(name, HIDDEN if name.lower() in self.names else self.text(value)) for name, value in pairs]

    def _tells(self, text: str) -> bool:
        for telling in self.telling:
            if telling in text:
                return True
        return False


def _shortest(spellings: set[str]) -> Iterable[str]:
    """Those that are part of every other one."""
    return [one for one in spellings if not any(other != one and other in one for other in spellings)]


def _secrets(endpoint: Endpoint) -> Iterable[str]:
    """Values that turn up nowhere but as secrets."""
    if endpoint.credentials:
        yield from (endpoint.credentials.password, endpoint.credentials.api_key)
    if endpoint.password:
        yield endpoint.password
        yield base64.b64encode(f"{endpoint.username}:{endpoint.password}".encode()).decode()
    yield endpoint.secret
    yield from (value for value in _perhaps_secrets(endpoint) if len(value) >= LONG)


def _perhaps_secrets(endpoint: Endpoint) -> Iterable[str]:
    # A user name of digits may be the very number that was texted.
    if endpoint.credentials and not endpoint.credentials.user_name.isdigit():
        yield endpoint.credentials.user_name
    yield from (value for name, value in endpoint.headers if name.lower() not in HARMLESS)
    yield from _query_values(endpoint.url)


def _spellings(value: str) -> set[str]:
    # Some leave a slash as it is.
    once = {quote_plus(value, safe=""), quote(value, safe=""), quote(value)}
    twice = {quote_plus(form, safe="") for form in once}
    small = {_HEX.sub(lambda found: found[0].lower(), form) for form in once}
    escaped = {html.escape(value), json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    return {value, *once, *twice, *small, *escaped}


def _query_values(url: str) -> Iterable[str]:
    # Taken apart by hand: what somebody typed as a URL need not be one.
    query = url.partition("#")[0].partition("?")[2]
    return (unquote_plus(pair.partition("=")[2]) for pair in query.split("&"))
