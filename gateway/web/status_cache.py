"""How things stand, looked up in the store for whoever asks, and not more often than need be."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.config import Config
from gateway.store import Store
from gateway.store.breakers import BreakerState, current_breakers
from gateway.store.stats import Gauges, gauges
from gateway.web.silence import KeywordActivity, Pair

T = TypeVar("T")

FRESH = 5.0
"""Seconds for which an answer is good: many may ask, the store is asked once."""
RARELY = 60.0
"""The same for keywords, whose silence counts in days."""
SHARE = 20
"""An answer that took a second is good for that many: no more than a twentieth of the time is spent on looking."""


@dataclass(frozen=True, slots=True)
class StatusSnapshot:
    gauges: Gauges
    breakers: Mapping[str, BreakerState]


class StatusCache:
    """Of one process; its threads may share it. Raises `StoreUnavailable`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._silence = KeywordActivity()
        self._figures: Cached[StatusSnapshot] = Cached(FRESH)
        self._last_heard: Cached[Mapping[Pair, float]] = Cached(RARELY)
        self._started = time.time()

    def figures(self, now: float) -> StatusSnapshot:
        """now: seconds since 1970."""
        return self._figures.get(lambda: self._look(now))

    def _look(self, now: float) -> StatusSnapshot:
        with self._store.reader() as connection:
            return StatusSnapshot(gauges(connection), current_breakers(connection, now))

    def last_heard(self, config: Config, now: float) -> Mapping[Pair, float]:
        """(number, keyword) → when its last event was received; for one never heard, the time of the oldest event."""
        since = self.figures(now).gauges.oldest_event or self._started

        def look() -> Mapping[Pair, float]:
            with self._store.reader() as connection:
                return self._silence.look(connection, config, since)

        return self._last_heard.get(look, config)


class Cached(Generic[T]):
    """The last answer, while it is good. Of several who ask at once, one looks and the others wait for him."""

    def __init__(self, fresh: float) -> None:
        self._fresh = fresh
        self._turn = threading.Lock()
        self._until = 0.0
        self._of: object = None
        self._answer: T | None = None

    def get(self, look: Callable[[], T], of: object = None) -> T:
        """`of`: what it is an answer about; another one makes the last answer useless."""
        with self._turn:
            began = time.monotonic()
            if self._answer is None or began >= self._until or of is not self._of:
                self._answer, self._of = look(), of
                took = time.monotonic() - began
                self._until = began + took + max(self._fresh, SHARE * took)
            return self._answer
