"""How many more attempts an endpoint may have in flight: by its own measure, and so that nobody takes everybody's.

All together there are `MOST_IN_FLIGHT`, which is what sockets and memory are good for. Half of these are for endpoints
that have shown to be quick: one that was slow last, or never answered yet, takes from the other half only. So however
many endpoints hang, there is room for those that do not.

URLs that came with requests are counted by origin, and forgotten when nothing is in flight there.

Of an endpoint's own places a quarter is kept for first attempts, so that a mountain of repetitions never stands in the
way of what has just come in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.safe_http.ssrf import is_url
from gateway.store.leases import ClaimLimit

MOST_IN_FLIGHT = 512
SLOW = 2.0
"""Seconds. An answer that takes longer is a slow one."""
FIRST = 4
"""One place of so many is kept for first attempts."""


@dataclass(slots=True)
class InFlight:
    """What is in flight to one endpoint."""

    all: int = 0
    tried: int = 0
    """Second attempts and later ones among them."""
    quick: bool = False


class ConcurrencyLimiter:
    """Who has how many in flight. `slow` of all are to endpoints that are not known to be quick."""

    def __init__(self, most: int = MOST_IN_FLIGHT) -> None:
        self._most = most
        self._crowds: dict[str, InFlight] = {}
        self.all = self._slow = 0

    def plan(self) -> Capacity:
        """A look at what there is room for now."""
        return Capacity(self._most - self.all, self._most // 2 - self._slow)

    def is_full(self, crowd: InFlight) -> bool:
        """Nobody like this one gets room before an attempt ends."""
        return self.all >= self._most or (self._slow >= self._most // 2 and not crowd.quick)

    def of(self, endpoint: str) -> InFlight:
        """As it is now; to be read."""
        return self._crowds.get(endpoint) or InFlight()

    def begins(self, endpoint: str, tried: bool) -> None:
        crowd = self._crowds.get(endpoint)
        if crowd is None:
            crowd = self._crowds[endpoint] = InFlight()
        crowd.all += 1
        crowd.tried += tried
        self.all += 1
        self._slow += not crowd.quick

    def ends(self, endpoint: str, tried: bool, seconds: float, answered: bool) -> None:
        """After `seconds`; `answered`: not by a timeout or the like."""
        self._judge(self._crowds[endpoint], answered and seconds < SLOW)
        self.leaves(endpoint, tried)

    def leaves(self, endpoint: str, tried: bool) -> None:
        """Without having been anywhere."""
        crowd = self._crowds[endpoint]
        crowd.all -= 1
        crowd.tried -= tried
        self.all -= 1
        self._slow -= not crowd.quick
        if not crowd.all and is_url(endpoint):
            del self._crowds[endpoint]

    def hang(self, endpoints: Iterable[str]) -> None:
        """These have had an attempt in flight for longer than `SLOW`."""
        for endpoint in endpoints:
            self._judge(self._crowds[endpoint], False)

    def _judge(self, crowd: InFlight, quick: bool) -> None:
        if crowd.quick is not quick:
            crowd.quick = quick
            self._slow += -crowd.all if quick else crowd.all


@dataclass(slots=True)
class Capacity:
    """What one round may still give out."""

    free: int
    slow: int
    """To endpoints that are not known to be quick."""

    def take(self, crowd: InFlight, allowed: int, of: int | None = None) -> ClaimLimit:
        """Room for an endpoint that may have `allowed` in flight, those included that it has. `of`: a share of so many
        is all that it may have."""
        free = min(allowed - crowd.all, self.free if crowd.quick else min(self.free, self.slow))
        if free <= 0:
            return ClaimLimit(0, 0)
        self.free -= free
        self.slow -= 0 if crowd.quick else free
        whole = allowed if of is None else of
        kept = max(1, whole // FIRST) if whole > 1 else 0
        return ClaimLimit(free, min(free, max(0, free - (whole - kept - crowd.tried))))
