"""Hides secrets in what people are shown: requests as they went out, answers that echo them, URLs. Pure.

They are found in two ways. By name: credentials in forms, `Authorization`, every header of the configuration, whatever
its value. By value: wherever else a secret of the endpoint turns up, in any spelling in which a page would echo it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_plus

from gateway.config import Endpoint
from gateway.config.known_secrets import spellings
from gateway.safe_http.models import KEPT_BODY_BYTES
from gateway.safe_http.ssrf import HIDDEN
from schemas.credentials import CREDENTIALS

MIN_CHARACTERS = 4  # to hide every `1` of a page would hide the page, and a secret that short is none
MIN_CHARACTERS_UNSURE = 8
"""User names, headers and query values may be usual words: shorter ones are hidden by their names alone."""
HARMLESS_HEADERS = frozenset({"accept", "accept-language", "content-language", "user-agent", "x-requested-with"})
"""Their values may well stand elsewhere, so they are hidden by their names alone."""
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})

# In a form, and in a page that echoes one, however short the value is.
_CREDENTIAL = re.compile(rf"\b({'|'.join(CREDENTIALS)})=[^&\s\"'<>]+")
_CREDENTIAL_NAMES = tuple(f"{name}=" for name in CREDENTIALS)


@dataclass(frozen=True, slots=True)
class EndpointRedaction:
    """Hides the secrets of one endpoint in texts."""

    names: frozenset[str]  # names of headers whose values are hidden, in lower case
    values: re.Pattern[str] | None
    credentials: bool  # whether credentials are hidden by the names of their form fields
    markers: tuple[str, ...] = _CREDENTIAL_NAMES
    """A text without any of these holds no secret. They are looked for first: most answers have none, and to find that
    out with the patterns took longer than all else that is done with an answer."""

    @classmethod
    def of(cls, endpoint: Endpoint) -> EndpointRedaction:
        spelt = {form for value in _secrets(endpoint) if len(value) >= MIN_CHARACTERS for form in spellings(value)}
        # The longest first: of two secrets one may begin with the other.
        pattern = "|".join(re.escape(form) for form in sorted(spelt, key=len, reverse=True))
        # The markers are the spellings that contain no other one.
        shortest = [one for one in spelt if not any(other != one and other in one for other in spelt)]
        return cls(
            names=SECRET_HEADERS.union(name.lower() for name, _ in endpoint.headers),
            values=re.compile(pattern) if pattern else None,
            credentials=endpoint.credentials is not None,
            markers=(*shortest, *(_CREDENTIAL_NAMES if endpoint.credentials else ())),
        )

    @classmethod
    def none(cls) -> EndpointRedaction:
        """For an endpoint that is no longer configured: what its secrets were is not known any more."""
        return cls(SECRET_HEADERS, None, True)

    def text(self, text: str) -> str:
        if not self._has_marker(text):
            return text
        hidden = self.values.sub(HIDDEN, text) if self.values else text
        return _CREDENTIAL.sub(rf"\1={HIDDEN}", hidden) if self.credentials else hidden

    def body(self, read: bytes) -> bytes:
        """The first `KEPT_BODY_BYTES` bytes of an answer, as they may be stored: a page may echo what was posted."""
        # More is searched than is kept, so that no secret is cut in two and missed.
        text = read[: 2 * KEPT_BODY_BYTES].decode("utf-8", "surrogateescape")
        if not self._has_marker(text):
            return read[:KEPT_BODY_BYTES]
        return self.text(text).encode("utf-8", "surrogateescape")[:KEPT_BODY_BYTES]

    def headers(self, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        pairs = list(headers)
        named = self.names.intersection([name.lower() for name, _ in pairs])
        if not named and not self._has_marker("\n".join([value for _, value in pairs])):
            return pairs
        return [(name, HIDDEN if name.lower() in self.names else self.text(value)) for name, value in pairs]

    def _has_marker(self, text: str) -> bool:
        for marker in self.markers:  # any() takes longer where there are few
            if marker in text:
                return True
        return False


def _secrets(endpoint: Endpoint) -> Iterable[str]:
    unsure = [value for name, value in endpoint.headers if name.lower() not in HARMLESS_HEADERS]
    if endpoint.credentials:
        yield from (endpoint.credentials.password, endpoint.credentials.api_key)
        if not endpoint.credentials.user_name.isdigit():  # digits may be the very number that was texted
            unsure.append(endpoint.credentials.user_name)
    if endpoint.password:
        yield endpoint.password
        yield base64.b64encode(f"{endpoint.username}:{endpoint.password}".encode()).decode()
    yield from endpoint.secret
    # Not by urlsplit: a URL that somebody typed need not be one.
    query = endpoint.url.partition("#")[0].partition("?")[2]
    unsure += [unquote_plus(pair.partition("=")[2]) for pair in query.split("&")]
    yield from (value for value in unsure if len(value) >= MIN_CHARACTERS_UNSURE)
