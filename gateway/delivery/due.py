"""When to look for deliveries, endpoint by endpoint: a round asks the store for nothing that is not there. Pure.

    unknown ──rung, scanned──▶ now ──looked──▶ unknown      the claim gave less than there was room for
       ▲                       ▲ ▲             waiting      it gave all: more when one of its own comes back
       └── later ──its time────┘ └─room again─ crowded      there was no room for anybody

An endpoint that is unknown has nothing due as far as we know: the bell, what we settled ourselves, or the next scan
says otherwise.

URLs of one origin have their room together: one of them that waits for its own waits for any of these.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from itertools import islice

from gateway.safe_http.ssrf import origin_of

WOKEN = 8
"""Of those that wait for the room of others, so many look again when one attempt ends: some have no use for it."""


class DueEndpoints:
    """Times are epoch seconds. In the order in which endpoints became due: each gets its turn."""

    def __init__(self) -> None:
        self._now: dict[str, None] = {}
        self._later: list[tuple[float, str]] = []
        self._times: dict[str, float] = {}
        """The earliest time of each endpoint in `_later`; other entries of it are out of date."""
        self._waiting: dict[str, dict[str, None]] = {}
        """By origin, in the order in which they began to wait."""
        self._crowded: dict[str, None] = {}

    def look(self, endpoint: str) -> None:
        """Something may be due now."""
        self._now.setdefault(endpoint)

    def look_at(self, endpoint: str, at: float) -> None:
        """Something is due then."""
        if at < self._times.get(endpoint, float("inf")):
            self._times[endpoint] = at
            heapq.heappush(self._later, (at, endpoint))

    def scanned(self, found: Mapping[str, float]) -> None:
        """What the store has: the earliest time of every endpoint. What else is known stays."""
        for endpoint, at in found.items():
            self.look_at(endpoint, at)

    def due(self, now: float, most: int) -> list[str]:
        """Whom to look at, the longest due first. They stay due until `looked`, `wait_for_own` or `wait_for_any`."""
        while self._later and self._later[0][0] <= now:
            at, endpoint = heapq.heappop(self._later)
            if self._times.get(endpoint) == at:
                del self._times[endpoint]
                self.look(endpoint)
        return list(islice(self._now, most))

    def looked(self, endpoint: str) -> None:
        """There is no more for now."""
        self._now.pop(endpoint, None)
        self._crowded.pop(endpoint, None)
        if waiting := self._waiting.get(origin_of(endpoint)):
            waiting.pop(endpoint, None)
            if not waiting:
                del self._waiting[origin_of(endpoint)]

    def wait_for_own(self, endpoint: str) -> None:
        """It has all the room that it may have: no sooner than when one of its own attempts ends."""
        self.looked(endpoint)
        self.more_when_own_ends(endpoint)

    def more_when_own_ends(self, endpoint: str) -> None:
        """Of one kind it has all that it may have. Whatever else is known of it stays."""
        self._waiting.setdefault(origin_of(endpoint), {}).setdefault(endpoint)

    def wait_for_any(self, endpoint: str) -> None:
        """There is no room for it, whoever has it: no sooner than when somebody's attempt ends."""
        self.looked(endpoint)
        self._crowded[endpoint] = None

    def ended(self, endpoint: str, *, last: bool = False) -> None:
        """An attempt of this endpoint came back: there is room again, for it or for one that waits for anybody's.

        `last`: no other attempt of its origin is in flight, so nobody must go on waiting for one.
        """
        if waiting := self._waiting.get(origin_of(endpoint)):
            for first in list(waiting if last else islice(waiting, WOKEN)):
                del waiting[first]
                self.look(first)
            if not waiting:
                del self._waiting[origin_of(endpoint)]
        for first in list(islice(self._crowded, WOKEN)):
            del self._crowded[first]
            self.look(first)

    def next(self, now: float) -> float | None:
        """Seconds until there is something to look at; None: not before somebody tells."""
        if self._now:
            return 0.0
        while self._later and self._times.get(self._later[0][1]) != self._later[0][0]:
            heapq.heappop(self._later)
        return max(0.0, self._later[0][0] - now) if self._later else None

    def forget(self) -> None:
        """All times are off: the clock was set. A scan must follow."""
        self._later.clear()
        self._times.clear()
