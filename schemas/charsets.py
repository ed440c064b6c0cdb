"""The charset of a form post, and the writing of texts in a charset that lacks some of their characters."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

# Only charsets that a form post can be in: others of Python's codecs are slow, or no charsets.
_CHARSETS = re.compile(
    r"utf-?8|us-?ascii|iso-?8859-?\d+|latin-?\d+|windows-?125\d|cp125\d|cp437|cp850|mac-?roman|koi8-?[ru]"
    r"|shift-?jis|euc-?(jp|kr)|gbk|gb2312|gb18030|big5|tis-?620"
)
_CHARSET_PARAMETER = re.compile(r";\s*charset\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s;]+))", re.IGNORECASE)

# The five bytes that windows-1252 leaves undefined are read as browsers do: as control characters.
_HOLES = {0xDC00 + byte: byte for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D)}


@lru_cache(maxsize=64)
def declared(content_type: str | None) -> str:
    """The charset that a ``Content-Type`` declares, lower case; empty where it declares none."""
    found = _CHARSET_PARAMETER.search(content_type or "")
    return next(filter(None, found.groups()), "").strip().lower() if found else ""


def choose(declared: str, raw: Sequence[tuple[bytes, bytes]]) -> tuple[str, tuple[str, ...]]:
    """Chooses one charset for the whole body, with a note for each decision."""
    notes: list[str] = []
    everything = b"\n".join([part for pair in raw for part in pair])
    if declared and not _CHARSETS.fullmatch(declared.replace("_", "-")):
        notes.append("The declared charset is not known.")
    elif declared and _reads(everything, declared):
        return declared, ()
    elif declared:
        notes.append(f"The bytes are not {declared}, which was declared.")
    if _reads(everything, "utf-8"):
        return "utf-8", tuple(notes)
    return "windows-1252", (*notes, "The bytes are no UTF-8: read as windows-1252.")


def _reads(raw: bytes, charset: str) -> bool:
    try:
        raw.decode(charset)
    except (UnicodeError, LookupError):
        # In the web's windows-1252 every byte has a meaning.
        return _is_1252(charset)
    return True


@lru_cache(maxsize=64)
def _is_1252(charset: str) -> bool:
    try:
        return codecs.lookup(charset).name == "cp1252"
    except LookupError:
        return False


def decoder(charset: str) -> Callable[[bytes], str]:
    """The function that decodes bytes in `charset`, as `choose` returns it."""
    if _is_1252(charset):
        return lambda raw: raw.decode(charset, "surrogateescape").translate(_HOLES).replace("\0", "")
    return lambda raw: raw.decode(charset).replace("\0", "")


# Plain forms that Unicode's own decomposition does not know.
_PLAIN = str.maketrans(
    {
        "‘": "'", "’": "'", "‚": "'", "‛": "'", "′": "'", "“": '"', "”": '"', "„": '"', "″": '"', "‹": "<",
        "›": ">", "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "−": "-", "•": "*", "⁄": "/",
        "€": "EUR", "ı": "i", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ħ": "h", "Ħ": "H", "ø": "o", "Ø": "O",
        "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ß": "ss", "ẞ": "SS", "þ": "th", "Þ": "Th", "ð": "d",
        "Ð": "D", "ŋ": "n", "Ŋ": "N", "ŧ": "t", "Ŧ": "T", "\u2028": "\n", "\u2029": "\n",
    }
)  # fmt: skip


def encode(text: str, charset: str) -> tuple[bytes, bool]:
    """`text` in `charset`, and True if that is exact. A character that it lacks becomes its plain form, else ``?``."""
    try:
        return text.encode(charset), True
    except UnicodeEncodeError:
        composed = unicodedata.normalize("NFC", text)
        return b"".join(_nearest(character, charset) for character in composed), False


def _nearest(character: str, charset: str) -> bytes:
    for candidate in (character, character.translate(_PLAIN), _undecorated(character)):
        try:
            return candidate.encode(charset)
        except UnicodeEncodeError:
            continue
    return b"?"


def _undecorated(character: str) -> str:
    """The character without accents and joiners: ``ő`` → ``o``, a lone accent or joiner → nothing."""
    spread = unicodedata.normalize("NFKD", character)
    return "".join(part for part in spread if unicodedata.category(part) not in ("Mn", "Me", "Cf")).translate(_PLAIN)
