"""What may stand in a text column, and how it is written there.

Columns are for finding; what came, byte for byte, is the event's body. So a column may lose what no database takes
(NUL, half a surrogate pair) and may be shortened where an index would burst: a caller can send a megabyte of ticket.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

_QUOTE = json.encoder.encode_basestring_ascii
_DECODE = json.JSONDecoder().raw_decode
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode

MAX_KEY_CHARACTERS = 200
"""Bytes. PostgreSQL's indices take 2,704 a row, in which a URL may stand beside."""


def storable(text: str) -> str:
    """The text without what a database refuses."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def index_key(text: str) -> str:
    """The text as it stands in an indexed column. Different texts stay different: a long one ends in its digest."""
    if len(text) <= MAX_KEY_CHARACTERS and text.isascii() and "\0" not in text:
        return text
    text = storable(text)
    if len(text) * 4 <= MAX_KEY_CHARACTERS or len(data := text.encode()) <= MAX_KEY_CHARACTERS:
        return text
    return f"{data[: MAX_KEY_CHARACTERS - 70].decode(errors='ignore')}…{hashlib.sha256(data).hexdigest()}"


def to_json(value: Sequence[object] | Mapping[str, object]) -> str:
    """JSON in ASCII: escapes carry what text columns cannot."""
    if not value:
        return "{}" if isinstance(value, Mapping) else "[]"
    return _ENCODE(value)


def texts_to_json(words: Sequence[str]) -> str:
    """The same for texts alone, in a fifth of the time: every callback has some."""
    return f"[{','.join(map(_QUOTE, words))}]" if words else "[]"


def pairs_to_json(pairs_from_json: Sequence[tuple[str, str]]) -> str:
    """The same for headers."""
    return (
        f"[{','.join([f'[{_QUOTE(name)},{_QUOTE(value)}]' for name, value in pairs_from_json])}]"
        if pairs_from_json
        else "[]"
    )


def pairs_from_json(text: str) -> tuple[tuple[str, str], ...]:
    """`to_json` headers back into ordered pairs."""
    return tuple(map(tuple, _DECODE(text)[0])) if text != "[]" else ()
