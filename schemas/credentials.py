"""The credential trio that may come with a keyword callback: checked, then blanked, never kept.

Only companies with web-service credentials get them: ``user_name``, ``password``, ``api_key``, behind the
documented fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from schemas import wire
from schemas.message import BadCallback, FormatOptions

CREDENTIALS = ("user_name", "password", "api_key")
SECRETS = ("username", *CREDENTIALS)
"""The names in calls to send: in any case of their letters, by themselves or in ``auth[…]``."""


def read(body: bytes, content_type: str | None) -> dict[str, str]:
    """Reads the credential trio as posted, first values; absent names are absent. For checking, never for keeping."""
    if not wire.is_multipart(content_type) and not _may_have(body):
        return {}
    try:
        firsts = wire.read_form(body, content_type).firsts()
    except BadCallback:
        return {}
    return {name: firsts[name] for name in CREDENTIALS if name in firsts}


def append(body: bytes, values: Mapping[str, str], options: FormatOptions) -> bytes:
    """`body` with the trio behind it, as it goes out. It is appended for each request, so that no store has it."""
    trio = [(name, values[name]) for name in CREDENTIALS if values.get(name)]
    data, _ = wire.write_form(trio, options.charset, options.encode_twice)
    return b"&".join(filter(None, (body, data)))


def scrub(body: bytes, content_type: str | None) -> bytes:
    """Blanks the values of the trio in a form post; every other byte is kept."""
    return _scrub(body, content_type, _TRIO)


def scrub_call(body: bytes, content_type: str | None) -> bytes:
    """Blanks the credentials in a call to send, whose names people write by hand, in many spellings."""
    return _scrub(body, content_type, _ANY)


def _scrub(body: bytes, content_type: str | None, these: _Names) -> bytes:
    if not wire.is_multipart(content_type):
        return _scrub_pairs(body, these) if _may_have(body) else body
    boundary = wire.boundary_of(content_type or "").encode("latin-1", "replace")
    return _scrub_parts(body, re.compile(rb"(\r?\n--" + re.escape(boundary) + rb")"), these)


def scrub_object(body: bytes) -> bytes:
    """Blanks the trio in a JSON object. Quotes inside of a JSON text are escaped, so only real attributes are found."""
    # The pattern stops at every quote; in most bodies none of the names occurs.
    return _IN_JSON.sub(rb'\1""', body) if _has_word(body.lower()) or rb"\u00" in body else body


def scrub_refused(body: bytes) -> bytes:
    """Blanks the credentials in a body that could not be read: pairs, parts, or JSON in the wrong place."""
    return _scrub_pairs(_scrub_parts(scrub_object(body), _ANY_BOUNDARY, _ANY), _ANY)


def scrub_head(body: bytes, most: int) -> bytes:
    """The first `most` bytes of a long body that could not be read, without the credentials.
    Only four times as much is looked at, and the end of that is not kept: a secret may be cut in two there."""
    scrubbed = scrub_refused(body[: 4 * most])
    return scrubbed[: min(most, max(0, len(scrubbed) - most))] if len(body) > 4 * most else scrubbed[:most]


def _may_have(body: bytes) -> bool:
    """True if any of these pairs can be one of the trio: one of its names occurs, or a name with escapes."""
    return _has_word(body.lower()) or _ESCAPED_NAME.search(b"&" + body) is not None


def _has_word(body: bytes) -> bool:
    return any(map(body.__contains__, _WORDS))


def _scrub_pairs(body: bytes, these: _Names) -> bytes:
    pairs = (pair.partition(b"=") for pair in body.split(b"&"))
    return b"&".join(name + sign + (b"" if these.has(decode_name(name)) else value) for name, sign, value in pairs)


def decode_name(name: bytes) -> str:
    """The name of a pair without its escapes. Exact where it is ASCII, as all names of secrets are."""
    return unquote_to_bytes(name.replace(b"+", b" ")).replace(b"\0", b"").decode("latin-1")


def inner_name(name: str) -> str:
    """``password`` of ``auth[password]``, as PHP writes structures into forms."""
    return name.strip().rpartition("[")[2].removesuffix("]").strip()


def _scrub_parts(body: bytes, boundary: re.Pattern[bytes], these: _Names) -> bytes:
    # Each piece is looked at once: hostile bodies cost no more than others.
    return b"".join(_blank_part(piece, these) for piece in boundary.split(body))


def _blank_part(piece: bytes, these: _Names) -> bytes:
    end = _END_OF_HEAD.search(piece)
    # NUL is dropped from names, here as in pairs.
    if end is None or not these.in_head.search(piece[: end.start()].replace(b"\0", b"")):
        return piece
    return piece[: end.end()]


@dataclass(frozen=True)
class _Names:
    """The names of secrets, as they are found in pairs and in the heads of parts."""

    has: Callable[[str], bool]
    in_head: re.Pattern[bytes]


def _in_head(names: tuple[str, ...], before: bytes = b"", behind: bytes = b"") -> re.Pattern[bytes]:
    words = "|".join(names).encode()
    # No run of spaces is tried twice: bodies are strangers'.
    name = rb"(?i)\bname\s*+=\s*+\"?\s*+"
    return re.compile(name + before + rb"(?:" + words + rb")[^\S\r\n]*+" + behind + rb"(?:[\";\r\n]|\Z)")


_TRIO = _Names(lambda name: name.strip() in CREDENTIALS, _in_head(CREDENTIALS))
_ANY = _Names(
    lambda name: inner_name(name).lower() in SECRETS,
    _in_head(SECRETS, rb"(?:[^\";\r\n]{0,64}\[)?\s*+", rb"\]?[^\S\r\n]*+"),
)
_WORDS = tuple(name.encode() for name in SECRETS)
# A name can be hidden behind escapes and NUL.
_ESCAPED_NAME = re.compile(rb"&[^=&%\0]*[%\0]")
# Where the boundary is not known, one may begin at any such line.
_ANY_BOUNDARY = re.compile(rb"(\r?\n--)")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
# Any letter of a JSON name may be written as its number.
_ESCAPED_TRIO = b"|".join(
    b"".join(rb"(?:%c|\\u00%02x|\\u00%02x)" % (letter, letter, letter & ~0x20) for letter in word)
    for word in map(str.encode, CREDENTIALS)
)
_IN_JSON = re.compile(
    rb'(?i)("\s*(?:' + _ESCAPED_TRIO + rb')\s*"\s*+:\s*+)(?:"(?:[^"\\]|\\.)*+"?|[^\s,{}\[\]"]++)', re.DOTALL
)
