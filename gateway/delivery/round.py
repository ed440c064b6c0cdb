"""What one transaction of the worker carries: what came back is settled, what is due is claimed, both or neither."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property

from gateway.config import Config
from gateway.store import Connection, breakers, clock, forgotten, outbox
from gateway.store.breakers import State
from gateway.store.outbox import Claimed, Room, Settled

MOST = 256
"""Attempts settled in one transaction."""
MARGIN = 30.0
"""Seconds by which a lease outlives the longest attempt: the time to settle it."""


@dataclass(kw_only=True)
class Round:
    """`now`: epoch seconds. `config`: one and the same for the whole round: what is claimed for an endpoint is sent to
    that very endpoint."""

    owner: str
    config: Config
    now: float
    settled: Sequence[Settled] = ()
    rooms: Mapping[str, Room] = field(default_factory=dict)
    unbegun: Sequence[Claimed] = ()
    put_off: Sequence[tuple[Claimed, float]] = ()
    """Those that could not leave, and when they are due."""
    cut_off: Sequence[Claimed] = ()
    cut_off_due: float = 0.0
    doubtful: Collection[str] = ()
    """Endpoints of claims of which nobody knows whether they were committed."""
    known: Collection[int] = ()
    """Deliveries that are known to be ours, where some are in doubt."""
    states: Sequence[State] = ()
    note_time: bool = False
    last: bool = False
    """The worker ends: what it said of endpoints is no longer so."""

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        some = self.settled or self.rooms or self.unbegun or self.put_off or self.doubtful or self.cut_off
        return bool(some or self.states or self.last)

    @cached_property
    def lanes(self) -> tuple[str, ...]:
        return tuple([one.claimed.lane for one in self.settled])

    def write(self, conn: Connection) -> list[Claimed]:
        """May be run more than once, and changes nothing here."""
        if self.settled:
            outbox.settle_all(conn, self.owner, self.settled, self.now)
        if self.unbegun:
            outbox.give_back(conn, self.owner, self.unbegun, self.now)
        for one, due in self.put_off:
            outbox.give_back(conn, self.owner, [one], due)
        if self.doubtful:
            forgotten.give_back(conn, self.owner, self.doubtful, self.known, self.now)
        if self.cut_off:
            outbox.let_go(conn, self.owner, self.cut_off, self.cut_off_due)
        self._tell(conn)
        return outbox.claim(conn, self.owner, self.rooms, self.now, self._leases()) if self.rooms else []

    def _tell(self, conn: Connection) -> None:
        if self.states:
            breakers.note(conn, self.owner, self.states, self.now)
        if self.note_time:
            clock.note(conn, self.now)
        if self.last:
            breakers.forget(conn, self.owner, self.now)

    def _leases(self) -> dict[str, float]:
        endpoints = self.config.endpoints
        return {name: endpoints[name].timeout + MARGIN for name in self.rooms}


@dataclass(slots=True)
class Pending:
    """A round that the store has in hand."""

    round: Round
    future: Future[list[Claimed]]
    began: float
    """Seconds of the clock that nobody sets."""
