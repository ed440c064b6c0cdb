"""Finds the configured secrets by their values in bodies that strangers send, whatever field they come in.

A platform that was set up wrongly may post a key or a password in any field, and bodies are kept for weeks. A secret is
found where it is the whole value of a field, known or not: of a pair, a part, a string of JSON at any depth, an element
or an attribute, in any spelling in which those are usually written. The text of a message stays whatever it is, since a
text must never be lost; so do values of digits alone, which may be phone numbers.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import secrets
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote, urlsplit

from gateway.config.model import Config, Credentials
from schemas.credentials import CREDENTIALS
from schemas.wire import is_multipart

BLANKED = "A configured secret came in a field of it, and was blanked."
MIN_CHARACTERS = 8  # shorter values may be usual words
_JSON, _XML, _PARTS, _PAIRS = map(re.compile, (rb'(")', rb"([<>\"'])", rb"(\r?\n--|\r?\n\r?\n)", rb"([&=])"))
"""Between them stand the values of a format."""
# Behind the name of a text; or of credentials, which are compared first, and then blanked by their names.
_STAYS = re.compile(
    rb'(?:\A|[&"=])(?:message|' + "|".join(CREDENTIALS).encode() + rb')"?(?:\s*+:\s*+"|=|[;\r\n].*)\Z', re.DOTALL
)
_NAME_TOKENS = 5  # before a value, with those between them: `"`, name, `"`, `:`, `"`
_SECRET_HEADER = re.compile("auth|token|key|secret|pass|cookie", re.IGNORECASE)
_PERCENT_ENCODED = re.compile(r"%[0-9A-F]{2}")


class KnownSecrets:
    """The secrets of one configuration, as keyed digests. Python's own hashes, which every process keys anew, are
    compared first: a callback's values are all looked up in two or three microseconds."""

    def __init__(self, config: Config) -> None:
        self._key = secrets.token_bytes(32)
        found = {value for value in _secrets(config) if len(value) >= MIN_CHARACTERS and not value.isdigit()}
        spelt = {form.encode("utf-8", "surrogatepass") for value in found for form in spellings(value)}
        self._digests = frozenset(map(self._digest, spelt))
        self._hashes = frozenset(map(hash, spelt))

    def blank(self, body: bytes, content_type: str | None = None) -> bytes:
        """Blanks the values that are secrets. Returns the very object where there is none."""
        format = _JSON if body.startswith(b"{") else _XML if body.startswith(b"<") else _PAIRS
        if format is not _XML and is_multipart(content_type):
            format = _PARTS
        if format in (_JSON, _PAIRS):
            values = body.split(b'"') if format is _JSON else body.replace(b"=", b"&").split(b"&")
            if self._hashes.isdisjoint(map(hash, values)):
                return body
        tokens = format.split(body)
        found = [
            at
            for at, token in enumerate(tokens)
            if hash(token) in self._hashes
            and self._digest(token) in self._digests
            and not _STAYS.search(b"".join(tokens[max(0, at - _NAME_TOKENS) : at]))
        ]
        for at in found:
            tokens[at] = b""
        return b"".join(tokens) if found else body

    def _digest(self, value: bytes) -> bytes:
        return hashlib.blake2b(value, key=self._key, digest_size=16).digest()


_last: list[tuple[Config, KnownSecrets]] = []


def known_secrets(config: Config) -> KnownSecrets:
    """Returns the secrets of a configuration. They are made once: every callback asks for them."""
    if not _last or _last[0][0] is not config:
        _last[:] = [(config, KnownSecrets(config))]
    return _last[0][1]


def _secrets(config: Config) -> Iterator[str]:
    yield from (value for key in config.all_keys for value in key.value)
    yield from config.session_secret
    yield from (config.carrierx.token, config.carrierx.password)
    for operator in config.all_operators().values():
        yield from (operator.password, operator.totp)
    for url in (config.database, config.egress_proxy):
        yield unquote(urlsplit(url).password or "")
    yield from _trio(config.legacy)
    for endpoint in config.endpoints.values():
        yield from (*endpoint.secret, endpoint.password, *_trio(endpoint.credentials))
        yield from (value for name, value in endpoint.headers if _SECRET_HEADER.search(name))


def _trio(known: Credentials | None) -> tuple[str, ...]:
    """Without the user name, which may be anybody's."""
    return (known.password, known.api_key) if known else ()


def spellings(value: str) -> set[str]:
    """A value as it stands in forms, JSON and HTML, by the usual ways to write these."""
    once = {quote_plus(value, safe=""), quote(value, safe=""), quote(value)}  # some leave a slash as it is
    twice = {quote_plus(form, safe="") for form in once}
    lower_case = {_PERCENT_ENCODED.sub(lambda found: found[0].lower(), form) for form in once}
    escaped = {html.escape(value), json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    return {value, *once, *twice, *lower_case, *escaped, value.replace("/", "\\/")}
