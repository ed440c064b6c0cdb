"""The state of the store for pages and monitors, cached; and for how long each configured keyword has been silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.config import Config
from gateway.store import Connection, Store
from gateway.store.health import BreakerState, Gauges, current_breakers, gauges, newest_texts

T = TypeVar("T")
Pair = tuple[str, str]  # number and keyword, both as configured

FRESH_SECONDS = 5.0  # how long an answer is good: the store is read once for many requests
KEYWORDS_FRESH_SECONDS = 60.0  # how long the times of keywords are good: their silence counts in days
REST_FACTOR = 20
"""An answer is good for at least this many times as long as it took: at most a twentieth of the time goes into it."""


class KeywordActivity:
    """Remembers when each keyword was last texted. An advertisement with a misprint shows as a silent keyword.
    A single look does not suffice: for a word of many numbers that one of them gets often, it goes back only so far."""

    def __init__(self) -> None:
        self._last: dict[Pair, float] = {}

    def look(self, conn: Connection, config: Config, since: float) -> Mapping[Pair, float]:
        """Returns when the last event of each keyword was received; `since` where none is kept."""
        # Each word is looked for once, on however many numbers it is: spellings → number → word. Events have a word as
        # the keyword platform spells it, which names a keyword or an alias, in upper or lower case.
        searches: dict[tuple[str, ...], dict[str, str]] = {}
        for number in config.numbers:
            for keyword in number.keywords:
                words = (keyword.word, *keyword.aliases)
                spellings = dict.fromkeys(each for word in words for each in (word, word.upper(), word.lower()))
                searches.setdefault(tuple(spellings), {})[number.number] = keyword.word
        for spelled, numbers in searches.items():
            found = newest_texts(conn, spelled, numbers)
            for pair in numbers.items():
                known = self._last.get(pair)
                seen = (found.by_number.get(pair[0], found.horizon if known is None else None), known)
                last = max((at for at in seen if at is not None), default=None)
                if last is not None:
                    self._last[pair] = last
        pairs = [(number.number, keyword.word) for number in config.numbers for keyword in number.keywords]
        self._last = {pair: self._last[pair] for pair in pairs if pair in self._last}
        return {pair: self._last.get(pair, since) for pair in pairs}


@dataclass(frozen=True, slots=True)
class StatusSnapshot:
    gauges: Gauges
    breakers: Mapping[str, BreakerState]


class StatusCache:
    """The state of the store as one process knows it; its threads share it. Raises `StoreUnavailable`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keyword_activity = KeywordActivity()
        self._snapshot: Cached[StatusSnapshot] = Cached(FRESH_SECONDS)
        self._last_heard: Cached[Mapping[Pair, float]] = Cached(KEYWORDS_FRESH_SECONDS)
        self._started = time.time()

    def snapshot(self, now: float) -> StatusSnapshot:
        """`now`: seconds since the epoch."""

        def look() -> StatusSnapshot:
            with self._store.reader() as connection:
                return StatusSnapshot(gauges(connection), current_breakers(connection, now))

        return self._snapshot.get(look)

    def last_heard(self, config: Config, now: float) -> Mapping[Pair, float]:
        """(number, keyword) → when its last event was received; for one never texted, the time of the oldest event."""
        since = self.snapshot(now).gauges.oldest_event or self._started

        def look() -> Mapping[Pair, float]:
            with self._store.reader() as connection:
                return self._keyword_activity.look(connection, config, since)

        return self._last_heard.get(look, config)


class Cached(Generic[T]):
    """The last answer, while it is good. Of several threads that need it at once, one looks and the others wait."""

    def __init__(self, fresh_seconds: float) -> None:
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._until = 0.0
        self._subject: object = None
        self._answer: T | None = None

    def get(self, look: Callable[[], T], subject: object = None) -> T:
        """`subject`: what the answer is about; with another one the last answer is useless."""
        with self._lock:
            started = time.monotonic()
            if self._answer is None or started >= self._until or subject is not self._subject:
                self._answer, self._subject = look(), subject
                took = time.monotonic() - started
                self._until = started + took + max(self._fresh_seconds, REST_FACTOR * took)
            return self._answer
