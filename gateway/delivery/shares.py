"""URLs of one origin have their places together: in one plan each gets its share. Pure but for what it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from gateway.delivery.rooms import Capacity, InFlight
from gateway.safe_http.ssrf import is_url, origin_of
from gateway.store.leases import ClaimLimit


class Shares:
    """Of one plan. `due`: all that are looked at in it."""

    def __init__(self, due: Iterable[str]) -> None:
        self._left = Counter([origin_of(name) for name in due if is_url(name)])
        self._crowds: dict[str, InFlight] = {}

    def take(self, plan: Capacity, name: str, crowd: InFlight, allowed: int) -> ClaimLimit:
        """Room for an endpoint whose crowd may have `allowed` in flight; none where others of its origin have it."""
        if not is_url(name):
            return plan.take(crowd, allowed)
        where = origin_of(name)
        mine = self._crowds.setdefault(where, replace(crowd))
        share = -(-(allowed - mine.all) // self._left[where])
        self._left[where] -= 1
        room = plan.take(mine, min(allowed, mine.all + share), allowed)
        mine.all += room.all
        mine.tried += room.all - room.first
        return room
