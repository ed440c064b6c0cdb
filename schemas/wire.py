"""Bytes ⇄ ordered pairs, bytes ⇄ JSON object. Bad bytes raise `BadCallback`, and nothing else.

A form post as it stands on the wire::

    title=Summer+sign-up&code=12345&shortcode=12345&message=Join+%F0%9F%8E%89&phone=15162065515
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

import multipart

from schemas import charsets
from schemas.message import BadCallback

MAX_PAIRS = 1000
MAX_DEPTH = 32
MAX_DIGITS = 19

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Form:
    """A form post as it was read: the pairs in their order, doubled names included."""

    pairs: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    def firsts(self) -> dict[str, str]:
        """Name → first value. `doubled` has the names that came more than once."""
        return dict(reversed(self.pairs))

    def doubled(self) -> tuple[str, ...]:
        if len(dict(self.pairs)) == len(self.pairs):
            return ()
        seen: set[str] = set()
        return tuple(dict.fromkeys(name for name, _ in self.pairs if name in seen or seen.add(name)))  # type: ignore[func-returns-value]


def read_form(body: bytes, content_type: str | None) -> Form:
    """Reads the pairs of a form post, url-encoded or multipart.

    The charset is the declared one; else UTF-8; else, where the bytes are no UTF-8, windows-1252, with a note. NUL is
    dropped. Raises `BadCallback` for more than `MAX_PAIRS` pairs and for broken multipart.
    """
    raw = _multipart(body, content_type or "") if is_multipart(content_type) else _urlencoded(body)
    charset, notes = charsets.choose(charsets.declared(content_type), raw)
    decode = charsets.decoder(charset)
    return Form(tuple([(decode(name), decode(value)) for name, value in raw]), notes)


def is_multipart(content_type: str | None) -> bool:
    return (content_type or "").split(";")[0].strip().lower() == "multipart/form-data"


def boundary_of(content_type: str) -> str:
    """The separator of the parts of a multipart body; empty where none is declared."""
    return str(multipart.parse_options_header(content_type)[1].get("boundary", ""))


def _urlencoded(body: bytes) -> list[tuple[bytes, bytes]]:
    if body.count(b"&") >= MAX_PAIRS:
        raise BadCallback({"body": (f"More than {MAX_PAIRS} form pairs.",)})
    parts = body.rstrip(b"\r\n").replace(b"+", b" ").split(b"&")
    return [_pair(part) for part in parts if part]


def _pair(part: bytes) -> tuple[bytes, bytes]:
    name, _, value = part.partition(b"=")
    return (unquote_to_bytes(name), unquote_to_bytes(value)) if b"%" in part else (name, value)


def _multipart(body: bytes, content_type: str) -> list[tuple[bytes, bytes]]:
    pairs, name, value = list[tuple[bytes, bytes]](), b"", bytearray()
    try:
        # latin-1 takes the bytes of a name through the parser unchanged; they are decoded with the values.
        with multipart.PushMultipartParser(
            boundary_of(content_type), content_length=len(body), max_segment_count=MAX_PAIRS, header_charset="latin-1"
        ) as parser:
            for event in (*parser.parse(body), *parser.parse(b"")):
                if isinstance(event, multipart.MultipartSegment):
                    name, value = event.name.encode("latin-1"), bytearray()
                elif event:
                    value += event
                else:
                    pairs.append((name, bytes(value)))
    except (multipart.MultipartError, ValueError):
        raise BadCallback({"body": ("Broken multipart/form-data.",)}) from None
    return pairs


def write_form(
    pairs: Iterable[tuple[str, str]], charset: str = "utf-8", twice: frozenset[str] = frozenset()
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a form post, and the names whose text the charset does not hold exactly.

    All but letters, digits and ``-._`` as ``%XX``, space as ``+``, nothing at the end. Fields named in
    `twice` are encoded once more.
    """
    parts: list[str] = []
    changed: list[str] = []
    for name, value in pairs:
        # Most values are numbers or single words: the same in every charset, and with nothing to quote.
        if value and not (value.isascii() and value.isalnum()):
            raw, exact = charsets.encode(value, charset)
            if not exact:
                changed.append(name)
            value = _quote(_quote(raw).encode()) if name in twice else _quote(raw)
        parts.append(f"{_quoted_name(name)}={value}")
    return "&".join(parts).encode(), tuple(changed)


_BARE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._"
_QUOTED = [chr(octet) if octet in _BARE else f"%{octet:02X}" for octet in range(256)]
_QUOTED[ord(" ")] = "+"


def _quote(raw: bytes) -> str:
    # The standard functions leave ``~`` bare, which old decoders were not promised.
    return "".join([_QUOTED[octet] for octet in raw])


@lru_cache(maxsize=256)
def _quoted_name(name: str) -> str:
    return _quote(name.encode())


_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', re.DOTALL)


def read_object(body: bytes) -> dict[str, Any]:
    """Reads the JSON object in `body`: numbers with a fraction as `Decimal`, names as they came.

    Raises `BadCallback` for a body that is not strict JSON in UTF-8, a doubled name, a number without end, NUL, half a
    surrogate pair, too deep a nesting, or anything but an object.
    """
    if body.startswith(codecs.BOM_UTF8):
        _not_json("Begins with a byte order mark.")
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_deep(body):
        _not_json(f"Nested deeper than {MAX_DEPTH}.")
    try:
        read = _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        _not_json("Not UTF-8.")
    except json.JSONDecodeError as error:
        _not_json(f"Not JSON: {error.msg} (line {error.lineno}, column {error.colno}).")
    if not isinstance(read, dict):
        _not_json("Not a JSON object.")
    if _DOUBTFUL.search(body):
        _check_texts(read)
    return read


def _not_json(reason: str) -> NoReturn:
    raise BadCallback({"body": (reason,)})


def _is_deep(body: bytes) -> bool:
    """True if brackets outside of texts are nested deeper than `MAX_DEPTH`: checked before anything is parsed."""
    depth = 0
    for token in _BRACKETS.finditer(body):
        first = token.group()[:1]
        depth += (first in b"[{") - (first in b"]}")
        if depth > MAX_DEPTH:
            return True
    return False


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        _not_json("A name comes twice.")
    return read


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        _not_json(f"A number of more than {MAX_DIGITS} digits.")
    return int(digits)


def _fraction(digits: str) -> Decimal:
    # An exponent of a thousand digits is no amount: it makes its reader write out a billion zeros.
    try:
        read = Decimal(digits)
    except InvalidOperation:
        read = Decimal("NaN")
    if len(digits) > 64 or not read.is_finite() or abs(read.adjusted()) > 99:
        _not_json("A number out of range.")
    return read


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_fraction,
    parse_constant=lambda name: _not_json(f"{name} is not JSON."),
)
# Only these escapes can hold what `_check_texts` looks for: UTF-8 has no halves, and JSON no bare NUL.
_DOUBTFUL = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_HALF_PAIR = re.compile("[\ud800-\udfff]")


def _check_texts(value: Any) -> None:
    if isinstance(value, str):
        if "\0" in value:
            _not_json("A NUL character.")
        if _HALF_PAIR.search(value):
            _not_json("Half a surrogate pair.")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_texts(name)
            _check_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_texts(inner)


def write_object(values: Mapping[str, Any]) -> bytes:
    """Writes one JSON object in UTF-8, attributes in the order given. A `Decimal` is written digit by digit."""
    return ("{" + ", ".join([_named(name) + _json(value) for name, value in values.items()]) + "}").encode()


_ENCODER = json.JSONEncoder(ensure_ascii=False)


@lru_cache(maxsize=256)
def _named(name: str) -> str:
    return f"{json.dumps(name)}: "


def _json(value: Any) -> str:
    if value is None:
        return "null"
    # An encoder is fast with a text, and slow to start with anything else.
    return str(value) if type(value) is int or isinstance(value, Decimal) else _ENCODER.encode(value)
