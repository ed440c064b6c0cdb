"""Which keyword does this text match, and why. PURE.

Case does not count, nor do quotes, punctuation, no-break and zero-width characters around a word:
``“join”!`` is ``JOIN``. The word that matches most exactly wins, whatever the order in the file:
``exact`` (the whole text), ``word`` (the first word), ``prefix`` (how the text begins), ``regex``
(found anywhere); among equals the longer word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway import patterns

if TYPE_CHECKING:  # only the type: the configuration itself asks this module about its keywords
    from gateway.config.model import Keyword

LIMIT = 2_000
"""Characters of a text that are looked at. A text message has 1,600 at most; a pattern must not run through more."""
RANKS = ("exact", "word", "prefix", "regex")

# What has no width, or nothing to show: dropped wherever it stands (Unicode's default-ignorable characters, controls).
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
# What phones make of plain quotes and hyphens, and accents that stand for quotes: NFKC would make a space and an
# accent of those, which then sits on the word.
_PLAIN = {
    "'": "\u0060\u00a8\u00af\u00b4\u00b8\u02b9\u02ba\u02bb\u02bc\u02bd\u02c8\u02ca\u02cb\u02d8\u02dc\u02dd"
    "\u0384\u1fbd\u1fbf\u1ffd\u1ffe\u2018\u2019\u201a\u201b\u2032\u203e",
    '"': "\u201c\u201d\u201e\u201f\u2033",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212",
}
_PLAINLY = str.maketrans({letter: plain for plain, letters in _PLAIN.items() for letter in letters})
# Between two letters or digits these go on with the word: don't, e-mail, snake_case, AT&T, me@home.
_INSIDE_WORDS = frozenset("'-_&@")
# Between two digits these do: 3.5, 1,000, 10:30, 1/2.
_INSIDE_NUMBERS = frozenset(".,:/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A keyword that a text matches."""

    keyword: Keyword
    matched: str
    """The keyword's own word, as configured, whichever alias it was: this goes out as `keyword`."""
    form: str
    """The word, alias or pattern that matched, as configured."""
    why: str
    """``the first word is "JOIN"``"""


@dataclass(frozen=True, slots=True)
class _Text:
    """One text in the two forms that it is compared in."""

    plain: str
    """Case and punctuation kept: for patterns."""
    folded: str


def match(text: str, keywords: Sequence[Keyword]) -> Match | None:
    """The keyword that a text matches most exactly; None if it matches none."""
    return min(_matches(text, keywords), key=_order, default=None)


def candidates(text: str, keywords: Sequence[Keyword]) -> tuple[Match, ...]:
    """Every keyword that a text matches, each once by its best word; the winner first."""
    best: dict[int, Match] = {}
    for found in sorted(_matches(text, keywords), key=_order):
        best.setdefault(id(found.keyword), found)
    return tuple(best.values())


def named(word: str, keywords: Sequence[Keyword]) -> Keyword | None:
    """The keyword that a platform means by `word`: its word or an alias, spelled just so, else folded."""
    for spelling in (str, fold):
        wanted = spelling(word)
        for keyword in sorted(keywords, key=_rank):
            if wanted and wanted in map(spelling, (keyword.word, *keyword.aliases)):
                return keyword
    return None


def fold(text: str) -> str:
    """What of a text is compared: NFKC, case-folded, single spaces, nothing but words at its ends."""
    return _folded(_plain(text))


def _plain(text: str) -> str:
    visible = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text[:LIMIT].translate(_PLAINLY)))
    # Cut again: one letter can have a normal form of eighteen.
    return " ".join(visible[:LIMIT].split())


def _folded(plain: str) -> str:
    # Twice, because folding can undo the normal form.
    return _stripped(unicodedata.normalize("NFKC", plain.casefold()))


def _stripped(text: str) -> str:
    start, end = 0, len(text)
    # A mark with no letter before it is what is left of a sign: the frame of a keycap, say.
    while start < end and (_is_around(text[start]) or unicodedata.category(text[start])[0] == "M"):
        start += 1
    while start < end and _is_around(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_around(letter: str) -> bool:
    return letter.isspace() or letter in "<>" or unicodedata.category(letter) == "Sk" or _is_punctuation(letter)


def _is_punctuation(letter: str) -> bool:
    return unicodedata.category(letter)[0] == "P"


@lru_cache(maxsize=8_192)
def _form(word: str) -> str:
    return fold(word)


@lru_cache(maxsize=1_024)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _matches(text: str, keywords: Iterable[Keyword]) -> Iterator[Match]:
    plain = _plain(text)
    read = _Text(plain, _folded(plain))
    for keyword in keywords:
        for form in (keyword.word, *keyword.aliases):
            if _does_match(read, keyword.match, form):
                yield Match(keyword=keyword, matched=keyword.word, form=form, why=_why(keyword, form))


def _does_match(text: _Text, how: str, form: str) -> bool:
    if how == "regex":
        # Both with and without what stands around: a pattern may ask for a question mark, or for the end.
        pattern = _pattern(form)
        return bool(pattern.search(text.plain) or pattern.search(_stripped(text.plain)))
    word = _form(form)
    if not word or not text.folded.startswith(word):
        return False
    if how == "exact":
        return text.folded == word
    return how == "prefix" or (" " not in word and _ends_word(text.folded, len(word)))


def _ends_word(text: str, end: int) -> bool:
    """Whether a word that ends at `end` is the whole of a word of the text."""
    if end == len(text) or text[end].isspace():
        return True
    after = text[end + 1 : end + 2]
    if text[end] in _INSIDE_WORDS and after.isalnum():
        return False
    if text[end] in _INSIDE_NUMBERS and text[end - 1].isdigit() and after.isdigit():
        return False
    return _is_around(text[end]) or unicodedata.category(text[end]) == "So"


def _why(keyword: Keyword, form: str) -> str:
    said = {
        "exact": f'the whole text is "{form}"',
        "word": f'the first word is "{form}"',
        "prefix": f'the text begins with "{form}"',
        "regex": f"the pattern {form} is found in the text",
    }[keyword.match]
    return said if form == keyword.word else f'{said}, another word for "{keyword.word}"'


def _rank(keyword: Keyword) -> int:
    return RANKS.index(keyword.match)


def _length(keyword: Keyword, form: str) -> int:
    return len(compared(keyword.match, form))


def _order(found: Match) -> tuple[int, int, str, str]:
    """Lower is more exact. The last two only make one order of equals, whatever the order in the file."""
    return _rank(found.keyword), -_length(found.keyword, found.form), found.form, found.matched


def lost(loser: Match, winner: Match) -> str:
    """Why one match gave way to another, in plain words."""
    if loser.keyword.match != winner.keyword.match:
        return f'match = "{winner.keyword.match}" is more exact than match = "{loser.keyword.match}"'
    if _length(loser.keyword, loser.form) < _length(winner.keyword, winner.form):
        return f'"{winner.form}" is longer than "{loser.form}"'
    return f'"{winner.form}" comes before "{loser.form}" in the alphabet; they are equal otherwise'


def compared(how: str, form: str) -> str:
    """What of a configured word counts: two words with the same are one keyword. Empty if nothing does."""
    return form if how == "regex" else _form(form)


def never(how: str, form: str) -> str:
    """Why a word, compared in that way, can match no text at all; empty if it can."""
    if how == "regex":
        return patterns.never(form, _can_occur, LIMIT)
    word = _form(form)
    if not word:
        return "has nothing that counts: quotes, punctuation and invisible characters do not"
    if how == "word" and " " in word:
        return 'is several words, and match = "word" compares only the first word of a text: use "exact" or "prefix"'
    return ""


def _can_occur(letter: str) -> bool:
    # An accent may melt into the letter before it or not: nothing is sure about it.
    return unicodedata.category(letter)[0] == "M" or _plain(f"x{letter}x") == f"x{letter}x"


def near(text: str, keywords: Sequence[Keyword]) -> tuple[str, ...]:
    """What a text that matches no keyword may have meant, one sentence each."""
    folded = fold(text)
    plain = [keyword for keyword in keywords if keyword.match != "regex"]
    said = [sentence for keyword in plain for sentence in _near_misses(folded, keyword)]
    words = {_form(form): form for keyword in plain for form in (keyword.word, *keyword.aliases)}
    first = folded.split(" ", 1)[0]
    close = [words[word] for word in get_close_matches(first, words, 3, 0.7) if word != first]
    said += [f'"{first}" is much like "{form}"' for form in close]
    return tuple(dict.fromkeys(said))


def _near_misses(folded: str, keyword: Keyword) -> Iterator[str]:
    for form in (keyword.word, *keyword.aliases):
        word = _form(form)
        if word and keyword.match == "exact" and folded.startswith(word):
            yield f'"{form}" is how the text begins, but match = "exact" wants it to be the whole text'
        elif word and keyword.match == "word" and folded.startswith(word):
            yield f'the text begins with "{form}", but its first word goes on'
        elif word and f" {word} " in f" {folded} ":
            yield f'"{form}" is in the text, but does not begin it'
