"""Which keyword does this text match, and why. PURE.

Case does not count, nor do quotes, punctuation, no-break and zero-width characters around a word:
``“join”!`` is ``JOIN``. The word that matches most exactly wins, whatever the order in the file:
``exact`` (the whole text), ``word`` (the first word), ``prefix`` (how the text begins), ``regex``
(found anywhere); among equals the longer word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from gateway.matching import normalize, regex_checks

if TYPE_CHECKING:  # only the type: the configuration itself asks this module about its keywords
    from gateway.config.model import Keyword

RANKS = ("exact", "word", "prefix", "regex")

# Between two letters or digits these go on with the word: don't, e-mail, snake_case, AT&T, me@home.
_INSIDE_WORDS = frozenset("'-_&@")
# Between two digits these do: 3.5, 1,000, 10:30, 1/2.
_INSIDE_NUMBERS = frozenset(".,:/")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeywordMatch:
    """A keyword that a text matches."""

    keyword: Keyword
    matched: str
    """The keyword's own word, as configured, whichever alias it was: this goes out as `keyword`."""
    form: str
    """The word, alias or pattern that matched, as configured."""
    why: str
    """``the first word is "JOIN"``"""


def match(text: str, keywords: Sequence[Keyword]) -> KeywordMatch | None:
    """The keyword that a text matches most exactly; None if it matches none."""
    return min(_matches(text, keywords), key=_order, default=None)


def candidates(text: str, keywords: Sequence[Keyword]) -> tuple[KeywordMatch, ...]:
    """Every keyword that a text matches, each once by its best word; the winner first."""
    best: dict[int, KeywordMatch] = {}
    for found in sorted(_matches(text, keywords), key=_order):
        best.setdefault(id(found.keyword), found)
    return tuple(best.values())


def named(word: str, keywords: Sequence[Keyword]) -> Keyword | None:
    """The keyword that a platform means by `word`: its word or an alias, spelled just so, else folded."""
    table = _table(keywords)
    return table.spelled.get(word) or table.named.get(normalize.fold(word))


@lru_cache(maxsize=1_024)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


class _Table:
    """The keywords of one number, so kept that a text is compared only with words that it begins with."""

    def __init__(self, keywords: Sequence[Keyword]) -> None:
        # Held for as long as the table is, so that no other keywords get their identity.
        self.keywords = keywords
        self.spelled: dict[str, Keyword] = {}
        """By every word and alias, just so; by what of them counts in `named`."""
        self.named: dict[str, Keyword] = {}
        self.words: dict[str, list[tuple[Keyword, str]]] = {}
        self.patterns: list[tuple[Keyword, str]] = []
        for keyword in sorted(keywords, key=_rank):
            for form in (keyword.word, *keyword.aliases):
                self._add(keyword, form)
        self.lengths = sorted({len(word) for word in self.words})

    def _add(self, keyword: Keyword, form: str) -> None:
        word = normalize.word_of(form)
        if form:
            self.spelled.setdefault(form, keyword)
        if word:
            self.named.setdefault(word, keyword)
        if keyword.match == "regex":
            self.patterns.append((keyword, form))
        elif word:
            self.words.setdefault(word, []).append((keyword, form))


_MOST_TABLES = 10_000
_tables: dict[int, _Table] = {}


def _table(keywords: Sequence[Keyword]) -> _Table:
    """Made once for each number of a configuration. By identity: keywords take longer to compare than texts."""
    if not isinstance(keywords, tuple):
        return _Table(keywords)
    known = _tables.get(id(keywords))
    if known is None:
        if len(_tables) >= _MOST_TABLES:
            _tables.clear()
        known = _tables[id(keywords)] = _Table(keywords)
    return known


def _matches(text: str, keywords: Sequence[Keyword]) -> Iterator[KeywordMatch]:
    table, plain = _table(keywords), normalize.normalized(text)
    for keyword, form in chain(_by_word(normalize.folded(plain), table), _by_pattern(plain, table)):
        yield KeywordMatch(keyword=keyword, matched=keyword.word, form=form, why=_why(keyword, form))


def _by_word(folded: str, table: _Table) -> Iterator[tuple[Keyword, str]]:
    for length in table.lengths:
        if length > len(folded):
            return
        for keyword, form in table.words.get(folded[:length], ()):
            if _does_match(folded, length, keyword.match):
                yield keyword, form


def _by_pattern(plain: str, table: _Table) -> Iterator[tuple[Keyword, str]]:
    # Both with and without what stands around: a pattern may ask for a question mark, or for the end.
    spellings = (plain, normalize.strip_punctuation(plain)) if table.patterns else ()
    for keyword, form in table.patterns:
        if any(map(_pattern(form).search, spellings)):
            yield keyword, form


def _does_match(folded: str, length: int, how: str) -> bool:
    """Whether a word that a text begins with is what was to be found, for the word's `length`."""
    if how == "exact":
        return length == len(folded)
    return how == "prefix" or (" " not in folded[:length] and _ends_word(folded, length))


def _ends_word(text: str, end: int) -> bool:
    """Whether a word that ends at `end` is the whole of a word of the text."""
    if end == len(text) or text[end].isspace():
        return True
    after = text[end + 1 : end + 2]
    if text[end] in _INSIDE_WORDS and after.isalnum():
        return False
    if text[end] in _INSIDE_NUMBERS and text[end - 1].isdigit() and after.isdigit():
        return False
    return normalize.is_around(text[end]) or unicodedata.category(text[end]) == "So"


_WHYS = {
    "exact": 'the whole text is "{}"',
    "word": 'the first word is "{}"',
    "prefix": 'the text begins with "{}"',
    "regex": "the pattern {} is found in the text",
}


def _why(keyword: Keyword, form: str) -> str:
    said = _WHYS[keyword.match].format(form)
    return said if form == keyword.word else f'{said}, another word for "{keyword.word}"'


def _rank(keyword: Keyword) -> int:
    return RANKS.index(keyword.match)


def _length(keyword: Keyword, form: str) -> int:
    return len(compared(keyword.match, form))


def _order(found: KeywordMatch) -> tuple[int, int, str, str]:
    """Lower is more exact. The last two only make one order of equals, whatever the order in the file."""
    return _rank(found.keyword), -_length(found.keyword, found.form), found.form, found.matched


def shadowed(loser: KeywordMatch, winner: KeywordMatch) -> str:
    """Why one match gave way to another, in plain words."""
    if loser.keyword.match != winner.keyword.match:
        return f'match = "{winner.keyword.match}" is more exact than match = "{loser.keyword.match}"'
    if _length(loser.keyword, loser.form) < _length(winner.keyword, winner.form):
        return f'"{winner.form}" is longer than "{loser.form}"'
    return f'"{winner.form}" comes before "{loser.form}" in the alphabet; they are equal otherwise'


def compared(how: str, form: str) -> str:
    """What of a configured word counts: two words with the same are one keyword. Empty if nothing does."""
    return form if how == "regex" else normalize.word_of(form)


def why_never_matches(how: str, form: str) -> str:
    """Why a word, compared in that way, can match no text at all; empty if it can."""
    if how == "regex":
        return regex_checks.why_pattern_never_matches(form, _can_occur, normalize.LIMIT)
    word = normalize.word_of(form)
    if not word:
        return "has nothing that counts: quotes, punctuation and invisible characters do not"
    if how == "word" and " " in word:
        return 'is several words, and match = "word" compares only the first word of a text: use "exact" or "prefix"'
    return ""


def _can_occur(letter: str) -> bool:
    # An accent may melt into the letter before it or not: nothing is sure about it.
    return unicodedata.category(letter)[0] == "M" or normalize.normalized(f"x{letter}x") == f"x{letter}x"


def nearest_words(text: str, keywords: Sequence[Keyword]) -> tuple[str, ...]:
    """What a text that matches no keyword may have meant, one sentence each."""
    folded = normalize.fold(text)
    plain = [keyword for keyword in keywords if keyword.match != "regex"]
    said = [sentence for keyword in plain for sentence in _near_misses(folded, keyword)]
    words = {normalize.word_of(form): form for keyword in plain for form in (keyword.word, *keyword.aliases)}
    first = folded.split(" ", 1)[0]
    close = [words[word] for word in get_close_matches(first, words, 3, 0.7) if word != first]
    said += [f'"{first}" is much like "{form}"' for form in close]
    return tuple(dict.fromkeys(said))


def _near_misses(folded: str, keyword: Keyword) -> Iterator[str]:
    for form in (keyword.word, *keyword.aliases):
        word = normalize.word_of(form)
        if word and keyword.match == "exact" and folded.startswith(word):
            yield f'"{form}" is how the text begins, but match = "exact" wants it to be the whole text'
        elif word and keyword.match == "word" and folded.startswith(word):
            yield f'the text begins with "{form}", but its first word goes on'
        elif word and f" {word} " in f" {folded} ":
            yield f'"{form}" is in the text, but does not begin it'
