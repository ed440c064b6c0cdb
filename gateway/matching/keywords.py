"""Which keyword a text matches, and why. Pure.

The word that matches most exactly wins, whatever the order in the file: ``exact`` (the whole text), ``word`` (the first
word), ``prefix`` (how the text begins), ``regex`` (found anywhere); among equals the longer word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Generic, Protocol, TypeVar

from gateway.matching import regex_checks
from gateway.matching.normalize import fold, folded, is_around, normalized, strip_punctuation

# Between two letters or digits these go on with the word: don't, e-mail, snake_case, AT&T, me@home.
_INSIDE_WORDS = frozenset("'-_&@")
# Between two digits these do: 3.5, 1,000, 10:30, 1/2.
_INSIDE_NUMBERS = frozenset(".,:/")
_REASONS = {
    "exact": 'the whole text is "{}"',
    "word": 'the first word is "{}"',
    "prefix": 'the text begins with "{}"',
    "regex": "the pattern {} is found in the text",
}
RANKS = tuple(_REASONS)


class MatchableKeyword(Protocol):
    """The settings of a keyword that matching reads. The configuration, which has more of them, checks them here."""

    @property
    def word(self) -> str: ...
    @property
    def match(self) -> str: ...  # one of `RANKS`
    @property
    def aliases(self) -> tuple[str, ...]: ...


K = TypeVar("K", bound=MatchableKeyword)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeywordMatch(Generic[K]):
    """A keyword that a text matches."""

    keyword: K
    form: str
    """The word, alias or pattern that matched, as configured."""

    @property
    def why(self) -> str:
        """``the first word is "JOIN"``"""
        reason = _REASONS[self.keyword.match].format(self.form)
        return reason if self.form == self.keyword.word else f'{reason}, another word for "{self.keyword.word}"'

    @property
    def exactness(self) -> tuple[int, int, str, str]:
        """Sorts matches, the most exact first. The last two only make one order of equals, whatever the file's."""
        keyword = self.keyword
        return RANKS.index(keyword.match), -len(compared(keyword.match, self.form)), self.form, keyword.word


class KeywordIndex(Generic[K]):
    """The keywords of one number, so kept that a text is compared only with words that it begins with."""

    def __init__(self, keywords: Iterable[K]) -> None:
        ranked = sorted(keywords, key=lambda keyword: RANKS.index(keyword.match))
        forms = [(form, keyword) for keyword in ranked for form in (keyword.word, *keyword.aliases)]
        # The first of equals is the last that is put in, and stays.
        self._by_spelling = {form: keyword for form, keyword in reversed(forms) if form}
        self._by_word = {word: keyword for form, keyword in reversed(forms) if (word := fold(form))}
        matches = [KeywordMatch(keyword=keyword, form=form) for form, keyword in forms]
        self._matches = sorted(matches, key=lambda match: match.exactness)
        """Every match that there can be, the most exact first; all else names them by their position."""
        self._patterns: list[tuple[int, re.Pattern[str]]] = []
        self._words: dict[str, list[int]] = {}
        for position, match in enumerate(self._matches):
            if match.keyword.match == "regex":
                self._patterns.append((position, re.compile(match.form, re.IGNORECASE)))
            elif word := fold(match.form):
                self._words.setdefault(word, []).append(position)
        self._lengths = sorted({len(word) for word in self._words})

    def match(self, text: str) -> KeywordMatch[K] | None:
        """The match of the keyword that a text matches most exactly; None if it matches none."""
        position = min(self._find(text), default=None)
        return None if position is None else self._matches[position]

    def candidates(self, text: str) -> tuple[KeywordMatch[K], ...]:
        """The match of every keyword that a text matches, each once by its best word; the winner first."""
        best: dict[int, KeywordMatch[K]] = {}  # by identity: two keywords may be equal
        for position in sorted(self._find(text)):
            best.setdefault(id(self._matches[position].keyword), self._matches[position])
        return tuple(best.values())

    def named(self, word: str) -> K | None:
        """The keyword that a platform means by `word`: its word or an alias, spelled just so, else normalized."""
        return self._by_spelling.get(word) or self._by_word.get(fold(word))

    def _find(self, text: str) -> Iterator[int]:
        plain = normalized(text)
        words = folded(plain)
        for length in self._lengths:
            if length > len(words):
                break
            for position in self._words.get(words[:length], ()):
                if _does_match(words, length, self._matches[position].keyword.match):
                    yield position
        # Both with and without what stands around: a pattern may ask for a question mark, or for the end.
        spellings = (plain, strip_punctuation(plain)) if self._patterns else ()
        for position, pattern in self._patterns:
            if any(map(pattern.search, spellings)):
                yield position


def _does_match(text: str, length: int, match: str) -> bool:
    """True if the word that is the first `length` characters of the text is found in the way that `match` asks for."""
    if match != "word":
        return match == "prefix" or length == len(text)
    if " " in text[:length] or length == len(text):
        return " " not in text[:length]
    end, after = text[length], text[length + 1 : length + 2]
    if end in _INSIDE_NUMBERS and text[length - 1].isdigit() and after.isdigit():
        return False
    return not (end in _INSIDE_WORDS and after.isalnum()) and (is_around(end) or unicodedata.category(end) == "So")


def shadowed(loser: KeywordMatch[K], winner: KeywordMatch[K]) -> str:
    """The reason why one match gave way to another."""
    if loser.keyword.match != winner.keyword.match:
        return f'match = "{winner.keyword.match}" is more exact than match = "{loser.keyword.match}"'
    if loser.exactness[1] != winner.exactness[1]:
        return f'"{winner.form}" is longer than "{loser.form}"'
    return f'"{winner.form}" comes before "{loser.form}" in the alphabet; they are equal otherwise'


def compared(match: str, form: str) -> str:
    """The part of a configured word that counts: two words that share it are one keyword. Empty if nothing counts."""
    return form if match == "regex" else fold(form)


def why_never_matches(match: str, form: str) -> str:
    """The reason why a word, compared in that way, can match no text at all; empty if it can."""
    if match == "regex":
        return regex_checks.why_pattern_never_matches(form)
    word = fold(form)
    if not word:
        return "has nothing that counts: quotes, punctuation and invisible characters do not"
    if match == "word" and " " in word:
        return 'is several words, and match = "word" compares only the first word of a text: use "exact" or "prefix"'
    return ""


def nearest_words(text: str, keywords: Iterable[K]) -> tuple[str, ...]:
    """Guesses at the keyword that a text meant which matches none, one sentence each."""
    plain = fold(text)
    guesses, words = [], {}
    for keyword in keywords:
        for form in (keyword.word, *keyword.aliases) if keyword.match != "regex" else ():
            word = fold(form)
            words[word] = form
            if word and keyword.match == "exact" and plain.startswith(word):
                guesses.append(f'"{form}" is how the text begins, but match = "exact" wants it to be the whole text')
            elif word and keyword.match == "word" and plain.startswith(word):
                guesses.append(f'the text begins with "{form}", but its first word goes on')
            elif word and f" {word} " in f" {plain} ":
                guesses.append(f'"{form}" is in the text, but does not begin it')
    first = plain.split(" ", 1)[0]
    close = [words[word] for word in get_close_matches(first, words, 3, 0.7) if word != first]
    return tuple(dict.fromkeys([*guesses, *[f'"{first}" is much like "{form}"' for form in close]]))
