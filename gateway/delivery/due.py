"""Endpoints that may have something to claim, and since when: a batch asks the store about no others. Pure.

    unknown ──notified, found──▶ due ──mark_idle──▶ unknown      the claim gave less than was asked for
       ▲                         ▲ ▲                waiting      all of its concurrency is used, until an attempt ends
       └── later ──its time──────┘ └──attempt ended── blocked    no capacity was left for any endpoint like it

An unknown endpoint has nothing due as far as the worker knows; a notification, an attempt that was settled or the next
scan of the store says otherwise.

URLs of one origin share a concurrency limit: one that waits for its own attempts waits for any attempt of that origin.
"""

from __future__ import annotations

import heapq
from itertools import islice

from gateway.safe_http.ssrf import origin_of

MAX_UNBLOCKED = 8
"""Blocked endpoints that become due when one attempt ends: several, as some of them have nothing to claim by now."""


class DueEndpoints:
    """Keeps the order in which endpoints became due, so that each gets its turn. Times are epoch seconds."""

    def __init__(self) -> None:
        self._due: dict[str, None] = {}
        self._later: list[tuple[float, str]] = []
        self._times: dict[str, float] = {}
        """The earliest time of each endpoint in `_later`; its other entries there are out of date."""
        self._waiting: dict[str, dict[str, None]] = {}
        """Endpoints by origin, in the order in which they began to wait."""
        self._blocked: dict[str, None] = {}

    def mark_due(self, endpoint: str) -> None:
        """Notes that something may be due now."""
        self._due.setdefault(endpoint)

    def mark_due_at(self, endpoint: str, at: float) -> None:
        """Notes when something is due. The earliest time counts; whatever else is known of the endpoint stays."""
        if at < self._times.get(endpoint, float("inf")):
            self._times[endpoint] = at
            heapq.heappush(self._later, (at, endpoint))

    def due(self, now: float, limit: int) -> list[str]:
        """The endpoints that have been due longest. They stay due until `mark_idle` or `block_on_capacity`."""
        while self._later and self._later[0][0] <= now:
            at, endpoint = heapq.heappop(self._later)
            if self._times.get(endpoint) == at:
                del self._times[endpoint]
                self._due.setdefault(endpoint)
        return list(islice(self._due, limit))

    def mark_idle(self, endpoint: str) -> None:
        """Notes that nothing more can be claimed for the endpoint now."""
        self._due.pop(endpoint, None)
        self._blocked.pop(endpoint, None)
        origin = origin_of(endpoint)
        if waiting := self._waiting.get(origin):
            waiting.pop(endpoint, None)
            if not waiting:
                del self._waiting[origin]

    def wait_for_attempt(self, endpoint: str) -> None:
        """Makes the endpoint due when an attempt of its origin ends. Whatever else is known of it stays."""
        self._waiting.setdefault(origin_of(endpoint), {}).setdefault(endpoint)

    def block_on_capacity(self, endpoint: str) -> None:
        """Makes the endpoint due when an attempt of any endpoint ends: no capacity is left, whoever uses it."""
        self.mark_idle(endpoint)
        self._blocked[endpoint] = None

    def attempt_ended(self, endpoint: str, *, last: bool = False) -> None:
        """Makes endpoints due that waited for an attempt of this one, or for any attempt.

        `last`: no other attempt of its origin is in flight, so that none of its URLs must go on waiting for one.
        """
        origin = origin_of(endpoint)
        if waiting := self._waiting.get(origin):
            for name in list(waiting if last else islice(waiting, MAX_UNBLOCKED)):
                del waiting[name]
                self._due.setdefault(name)
            if not waiting:
                del self._waiting[origin]
        for name in list(islice(self._blocked, MAX_UNBLOCKED)):
            del self._blocked[name]
            self._due.setdefault(name)

    def seconds_until_due(self, now: float) -> float | None:
        """The time until `due` names an endpoint: 0.0 if it does now, None if nothing is known to come."""
        if self._due:
            return 0.0
        while self._later and self._times.get(self._later[0][1]) != self._later[0][0]:
            heapq.heappop(self._later)
        return max(0.0, self._later[0][0] - now) if self._later else None

    def forget_times(self) -> None:
        """Forgets all times, as the clock was set. A scan must follow."""
        self._later.clear()
        self._times.clear()
