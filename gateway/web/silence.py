"""For how long each configured keyword has been silent. An advertisement with a misprint shows as a silent keyword."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config import Config, Keyword
from gateway.store import Connection
from gateway.store.stats import newest_texts

Pair = tuple[str, str]
"""Number, word: both as configured."""


class KeywordActivity:
    """Remembers what it saw: where a word is on many numbers, and loud on another one, a look goes back only so far."""

    def __init__(self) -> None:
        self._last: dict[Pair, float] = {}

    def look(self, conn: Connection, config: Config, since: float) -> Mapping[Pair, float]:
        """When the last event of each keyword was received; `since` where none is kept."""
        for word, numbers in _words(config).items():
            found = newest_texts(conn, word, numbers)
            for number, name in numbers.items():
                known = self._last.get((number, name))
                seen = [found.by_number.get(number, found.horizon if known is None else None), known]
                last = max((at for at in seen if at is not None), default=None)
                if last is not None:
                    self._last[number, name] = last
        pairs = [(number.number, keyword.word) for number in config.numbers for keyword in number.keywords]
        self._last = {pair: self._last[pair] for pair in pairs if pair in self._last}
        return {pair: self._last.get(pair, since) for pair in pairs}


def _words(config: Config) -> dict[tuple[str, ...], dict[str, str]]:
    """Spellings → number → word: each word is looked for once, on however many numbers it is."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for number in config.numbers:
        for keyword in number.keywords:
            found.setdefault(_spellings(keyword), {})[number.number] = keyword.word
    return found


def _spellings(keyword: Keyword) -> tuple[str, ...]:
    """As an event may have it: the keyword platform names a keyword or an alias, in letters of its own choice."""
    words = (keyword.word, *keyword.aliases)
    return tuple(dict.fromkeys(each for word in words for each in (word, word.upper(), word.lower())))
