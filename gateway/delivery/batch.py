"""What one transaction of the worker carries: what came back is settled, what is due is claimed, both or neither."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from gateway.config import Config
from gateway.store import Connection, breakers, clock, leases
from gateway.store.breakers import BreakerState
from gateway.store.leases import ClaimedDelivery, ClaimLimit, SettledDelivery

MOST = 256
"""Attempts settled in one transaction."""
LEASE_MARGIN_SECONDS = 30.0
"""Seconds by which a lease outlives the longest attempt: the time to settle it."""


Replies = Callable[[Connection, Sequence[SettledDelivery], Sequence[bool], Config, float], Collection[str]]
"""Owes the texts that answers are (`SettledDelivery.reply`), in the transaction that settles them: these, which of them
were applied, the configuration, now. Gives back to whom something is owed, to be woken when it is committed."""


class BatchResult(NamedTuple):
    """What a round came to."""

    claimed: list[ClaimedDelivery]
    owing: Collection[str] = ()
    """Endpoints that something is owed to since."""


@dataclass(kw_only=True)
class Batch:
    """`now`: epoch seconds. `config`: one and the same for the whole round: what is claimed for an endpoint is sent to
    that very endpoint."""

    owner: str
    config: Config
    now: float
    settled: Sequence[SettledDelivery] = ()
    rooms: Mapping[str, ClaimLimit] = field(default_factory=dict)
    unbegun: Sequence[ClaimedDelivery] = ()
    put_off: Sequence[tuple[ClaimedDelivery, float]] = ()
    """Those that could not leave, and when they are due."""
    cut_off: Sequence[ClaimedDelivery] = ()
    cut_off_due: float = 0.0
    doubtful: Collection[str] = ()
    """Endpoints of claims of which nobody knows whether they were committed."""
    known: Collection[int] = ()
    """Deliveries that are known to be ours, where some are in doubt."""
    states: Sequence[BreakerState] = ()
    replies: Replies | None = None
    note_time: bool = False
    last: bool = False
    """The worker ends: what it said of endpoints is no longer so."""

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        some = self.settled or self.rooms or self.unbegun or self.put_off or self.doubtful or self.cut_off
        return bool(some or self.states or self.last)

    @cached_property
    def ordering_keys(self) -> tuple[str, ...]:
        return tuple([one.claimed.ordering_key for one in self.settled])

    def write(self, conn: Connection) -> BatchResult:
        """May be run more than once, and changes nothing here."""
        owing = self._settle(conn) if self.settled else ()
        if self.unbegun:
            leases.release_unattempted(conn, self.owner, self.unbegun, self.now)
        for one, due in self.put_off:
            leases.release_unattempted(conn, self.owner, [one], due)
        if self.doubtful:
            leases.reclaim_uncertain(conn, self.owner, self.doubtful, self.known, self.now)
        if self.cut_off:
            leases.release_interrupted(conn, self.owner, self.cut_off, self.cut_off_due)
        self._tell(conn)
        claimed = leases.claim(conn, self.owner, self.rooms, self.now, self._leases()) if self.rooms else []
        return BatchResult(claimed, owing)

    def _settle(self, conn: Connection) -> Collection[str]:
        applied = leases.settle_all(conn, self.owner, self.settled, self.now)
        # One that came too late decides nothing: whoever has the delivery now gets an answer of his own.
        said = [one for one, ours in zip(self.settled, applied, strict=True) if ours and one.reply]
        if not said or self.replies is None:
            return ()
        return self.replies(conn, said, [True] * len(said), self.config, self.now)

    def _tell(self, conn: Connection) -> None:
        if self.states:
            breakers.record_breakers(conn, self.owner, self.states, self.now)
        if self.note_time:
            clock.record_clock(conn, self.now)
        if self.last:
            breakers.forget_worker(conn, self.owner, self.now)

    def _leases(self) -> dict[str, float]:
        found = {name: self.config.endpoint(name) for name in self.rooms}
        return {name: one.timeout + LEASE_MARGIN_SECONDS for name, one in found.items() if one}


@dataclass(slots=True)
class SubmittedBatch:
    """A round that the store has in hand."""

    round: Batch
    future: Future[BatchResult]
    began: float
    """Seconds of the clock that nobody sets."""
