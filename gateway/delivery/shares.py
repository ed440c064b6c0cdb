"""URLs of one origin have their places together: in one plan each gets its share. Pure but for what it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from gateway.delivery.rooms import Crowd, Plan
from gateway.safe_http.origins import is_free_form, origin
from gateway.store.outbox import Room


class Shares:
    """Of one plan. `due`: all that are looked at in it."""

    def __init__(self, due: Iterable[str]) -> None:
        self._left = Counter([origin(name) for name in due if is_free_form(name)])
        self._crowds: dict[str, Crowd] = {}

    def take(self, plan: Plan, name: str, crowd: Crowd, allowed: int) -> Room:
        """Room for an endpoint whose crowd may have `allowed` in flight; none where others of its origin have it."""
        if not is_free_form(name):
            return plan.take(crowd, allowed)
        where = origin(name)
        mine = self._crowds.setdefault(where, replace(crowd))
        share = -(-(allowed - mine.all) // self._left[where])
        self._left[where] -= 1
        room = plan.take(mine, min(allowed, mine.all + share), allowed)
        mine.all += room.all
        mine.tried += room.all - room.first
        return room
