"""Normalizes texts and keywords before they are compared: ``“Join”!`` is ``join``. Pure.

Case does not count, nor do quotes, punctuation, no-break and zero-width characters around a word.
"""

from __future__ import annotations

import re
import unicodedata

LIMIT = 2_000
"""Characters of a text that are looked at. A text message has 1,600 at most; a pattern must not run through more."""

# Characters that show nothing are dropped wherever they stand: Unicode's default-ignorable characters, controls.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
# Phones make these of plain quotes and hyphens. Some are accents that stand for quotes: NFKC would make a space and an
# accent of those, which then sits on the word.
_PLAIN = {
    "'": "\u0060\u00a8\u00af\u00b4\u00b8\u02b9\u02ba\u02bb\u02bc\u02bd\u02c8\u02ca\u02cb\u02d8\u02dc\u02dd"
    "\u0384\u1fbd\u1fbf\u1ffd\u1ffe\u2018\u2019\u201a\u201b\u2032\u203e",
    '"': "\u201c\u201d\u201e\u201f\u2033",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212",
}
_TO_PLAIN = str.maketrans({sign: plain for plain, signs in _PLAIN.items() for sign in signs})
_SIGNS = re.compile(f"[{''.join(_PLAIN.values())}]")


def fold(text: str) -> str:
    """The part of a text that is compared: NFKC, case-folded, single spaces, nothing but words at its ends."""
    return folded(normalized(text))


def normalized(text: str) -> str:
    """NFKC and single spaces; case and punctuation stay, for patterns."""
    if text.isascii() and text.isprintable():
        # In its normal form already, and nothing in it is invisible.
        return " ".join(text[:LIMIT].replace("`", "'").split())
    begin = text[:LIMIT]
    if _SIGNS.search(begin):  # most texts have none, and to translate takes three times as long as all the rest
        begin = begin.translate(_TO_PLAIN)
    visible = _INVISIBLE.sub("", unicodedata.normalize("NFKC", begin))
    # Cut again: one letter can have a normal form of eighteen.
    return " ".join(visible[:LIMIT].split())


def folded(normalized: str) -> str:
    """Folds a text that is `normalized` already, for words to be compared with."""
    # Twice, because folding can undo the normal form.
    return strip_punctuation(unicodedata.normalize("NFKC", normalized.casefold()))


def strip_punctuation(text: str) -> str:
    """The text without what stands around its words at both ends."""
    if text[:1].isalnum() and text[-1:].isalnum():
        return text
    start, end = 0, len(text)
    # A mark with no letter before it is what is left of a sign: the frame of a keycap, say.
    while start < end and (is_around(text[start]) or unicodedata.category(text[start])[0] == "M"):
        start += 1
    while start < end and is_around(text[end - 1]):
        end -= 1
    return text[start:end]


def is_around(letter: str) -> bool:
    """True for what may stand around a word: spaces, punctuation, accents by themselves."""
    category = unicodedata.category(letter)
    return letter.isspace() or letter in "<>" or category[0] == "P" or category == "Sk"
