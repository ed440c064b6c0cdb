"""Which keyword a text matches, and why; which can match none at all; and the words STOP, START and HELP. Pure.

The word that matches most exactly wins, whatever the order in the file: ``exact`` (the whole text), ``word`` (the first
word), ``prefix`` (how the text begins), ``regex`` (found anywhere); among equals the longer word.

Texts and words are normalized before they are compared: ``“Join”!`` is ``join``. Case does not count, nor do quotes,
punctuation, no-break and zero-width characters around a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Generic, Protocol, TypeVar

from gateway.matching.patterns import LinearPattern, parse

MAX_COMPARED_CHARACTERS = 2_000
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
_USUAL_FORMS = "white space is single spaces then, and letters have their usual forms"


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
    form: str  # the word, alias or pattern that matched, as configured

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
        self._patterns: list[tuple[int, LinearPattern]] = []
        self._words: dict[str, list[int]] = {}
        for position, match in enumerate(self._matches):
            if match.keyword.match == "regex":
                self._patterns.append((position, LinearPattern(match.form, re.IGNORECASE)))
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
        # With and without the punctuation around it: a pattern may look for a question mark, or for the end.
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


def fold(text: str) -> str:
    """The part of a text that is compared: NFKC, case-folded, single spaces, nothing but words at its ends."""
    return folded(normalized(text))


def normalized(text: str) -> str:
    """NFKC and single spaces; case and punctuation stay, for patterns."""
    if text.isascii() and text.isprintable():
        # In its normal form already, and nothing in it is invisible.
        return " ".join(text[:MAX_COMPARED_CHARACTERS].replace("`", "'").split())
    begin = text[:MAX_COMPARED_CHARACTERS]
    if _SIGNS.search(begin):  # most texts have none, and to translate takes three times as long as all the rest
        begin = begin.translate(_TO_PLAIN)
    visible = _INVISIBLE.sub("", unicodedata.normalize("NFKC", begin))
    # Cut again: one letter can have a normal form of eighteen.
    return " ".join(visible[:MAX_COMPARED_CHARACTERS].split())


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


def is_around(character: str) -> bool:
    """True for what may stand around a word: spaces, punctuation, accents by themselves."""
    category = unicodedata.category(character)
    return character.isspace() or character in "<>" or category[0] == "P" or category == "Sk"


def why_never_matches(match: str, form: str) -> str:
    """The reason why a word or pattern, compared in that way, can match no text at all; empty if it may.
    Of patterns, which must be good ones, only what is sure counts."""
    if match == "regex":
        parsed = parse(form)
        if parsed.getwidth()[0] > MAX_COMPARED_CHARACTERS:
            return f"needs more than the {MAX_COMPARED_CHARACTERS} characters of a text that are looked at"
        return _why_never(parsed)
    word = fold(form)
    if not word:
        return "has nothing that counts: quotes, punctuation and invisible characters do not"
    if match == "word" and " " in word:
        return 'is several words, and match = "word" compares only the first word of a text: use "exact" or "prefix"'
    return ""


def _why_never(parsed: Any) -> str:
    """The first reason among operations that must be found one after the other."""
    for index, (operation, argument) in enumerate(parsed):
        name = str(operation)
        character = chr(argument) if name == "LITERAL" else ""
        # An accent may melt into the letter before it or not: nothing is sure about it.
        is_accent = character and unicodedata.category(character)[0] == "M"
        if character and not is_accent and normalized(f"x{character}x") != f"x{character}x":
            return f"asks for U+{argument:04X}, which no text has when it is compared: {_USUAL_FORMS}"
        if str(argument) in ("AT_END", "AT_END_STRING") and parsed[index + 1 :].getwidth()[0]:
            return "asks for something behind the end of the text ($)"
        if str(argument) in ("AT_BEGINNING", "AT_BEGINNING_STRING") and parsed[:index].getwidth()[0]:
            return "asks for something before the beginning of the text (^)"
        if name == "SUBPATTERN" and (reason := _why_never(argument[-1])):
            return reason
    return ""


STOP, START, HELP = "stop", "start", "help"
# The words are those that carriers ask for; the kinds are ours.
_OPT_OUT_WORDS = {
    fold(word): (kind, word.replace(" ", ""))
    for kind, words in (
        (STOP, ("STOP", "STOPALL", "STOP ALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT")),
        (START, ("START", "UNSTOP")),
        (HELP, ("HELP", "INFO")),
    )
    for word in words
}
_MAX_OPT_OUT_CHARACTERS = 40  # a longer text is no such word, whatever stands around it


def opt_out_word(text: str | None) -> tuple[str, str] | None:
    """(kind, word) if a text is a word by which a phone opts out, comes back or asks for help: ``("stop", "END")``.
    The whole text must be the word: "Stop by at 5" and "the END" are texts like any other."""
    return _OPT_OUT_WORDS.get(folded(normalized(text))) if text and len(text) <= _MAX_OPT_OUT_CHARACTERS else None
