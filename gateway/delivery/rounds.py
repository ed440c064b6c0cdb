"""The worker's rounds with the store, one after another: what is to be written is gathered here meanwhile.

Usually a round is waited for, for some milliseconds: the thread that writes has the interpreter for itself then. Where
the store takes longer, because somebody has it locked or it is away, the loop goes on without.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import TimeoutError as TooLate
from typing import Any

from gateway.config import Config
from gateway.delivery.batch import LEASE_MARGIN_SECONDS, MOST, Batch, BatchResult, Replies, SubmittedBatch
from gateway.delivery.scheduler import Scheduler, shown
from gateway.metrics import Metrics
from gateway.store import Store, StoreUnavailable, clock
from gateway.store.breakers import REFRESH, BreakerState
from gateway.store.leases import ClaimedDelivery, SettledDelivery

WAIT = 0.25
"""Seconds that the loop stands still for a round."""
STORE_WAIT = 10.0
"""Seconds after which a round that the store has not begun is taken back."""
REST = 1.0
"""Seconds without a round after one that came to nothing."""


class BatchWriter:
    """At most one at a time. `in_flight` are (delivery, attempt); `ring` is called with endpoints that something is
    owed to since a round."""

    def __init__(
        self,
        store: Store,
        owner: str,
        dispatch: Scheduler,
        log: Any,
        metrics: Metrics,
        in_flight: Collection[tuple[int, int]],
        replies: Replies | None,
        ring: Callable[[Collection[str]], object],
    ) -> None:
        self._store, self._owner, self._dispatch = store, owner, dispatch
        self._log, self._metrics = log, metrics
        self._in_flight, self._replies, self._ring = in_flight, replies, ring
        self._doubtful: set[str] = set()
        self.settled: list[SettledDelivery] = []
        """Attempts that ended, and are not known to be written down."""
        self.unbegun: list[ClaimedDelivery] = []
        """Claimed, and not to be sent."""
        self.put_off: list[tuple[ClaimedDelivery, float]] = []
        """The same, for now; and when they are due."""
        self.pending: SubmittedBatch | None = None
        self._rest_until = self._note_at = self._refresh_at = 0.0
        self._noted = self._away = False

    @property
    def waiting(self) -> bool:
        """Whether there is something to write."""
        return bool(self.settled or self.unbegun or self.put_off)

    def rest(self, steady: float) -> float:
        """Seconds until there may be a round."""
        return max(0.0, self._rest_until - steady)

    def is_new(self, steady: float) -> bool:
        """Whether the round has only been handed in since then."""
        return self.pending is not None and self.pending.began >= steady

    def begin(self, config: Config, now: float, claiming: bool) -> None:
        """Hands what there is to write to the store, if there is anything."""
        steady = time.monotonic()
        round_ = Batch(
            owner=self._owner,
            config=config,
            now=now,
            settled=tuple(self.settled[:MOST]),
            rooms=self._dispatch.plan(config.endpoint, now) if claiming else {},
            unbegun=tuple(self.unbegun),
            put_off=tuple(self.put_off),
            doubtful=tuple(self._doubtful),
            known=self._known() if self._doubtful else (),
            states=self._states(steady),
            replies=self._replies,
            note_time=self._away or steady >= self._note_at,
        )
        # One that was away is asked whether it writes again, though there be nothing to write.
        if round_ or self._away:
            self._begin(round_, steady)

    def _begin(self, round_: Batch, steady: float) -> None:
        try:
            future = self._store.writer.submit(round_.write, ordering_keys=round_.ordering_keys)
        except StoreUnavailable as error:
            self._failed(round_, error)
        else:
            self.pending = SubmittedBatch(round_, future, steady)

    def finish(self, patience: float = WAIT) -> tuple[Config, list[ClaimedDelivery]] | None:
        """What may leave now, and the configuration that it was claimed under. None: nothing, or not yet."""
        pending = self.pending
        if pending is None:
            return None
        try:
            written = pending.future.result(patience)
        except TooLate:
            if time.monotonic() - pending.began >= STORE_WAIT and pending.future.cancel():
                self._failed(pending.round, StoreUnavailable(f"waited {STORE_WAIT:g} s for the writer"))
            return None
        except StoreUnavailable as error:
            self._failed(pending.round, error)
            return None
        return self._done(pending, written)

    def _done(self, pending: SubmittedBatch, written: BatchResult) -> tuple[Config, list[ClaimedDelivery]] | None:
        self.pending, round_, steady = None, pending.round, time.monotonic()
        claimed, owing = written
        if owing:
            self._ring(owing)
        del self.settled[: len(round_.settled)]
        del self.unbegun[: len(round_.unbegun)]
        del self.put_off[: len(round_.put_off)]
        self._back()
        self._noted = self._noted or bool(round_.states)
        if round_.note_time:
            self._note_at = steady + clock.NOTE_EVERY
        self._doubtful.clear()
        self._dispatch.claimed(round_.rooms, claimed)
        if steady - pending.began > LEASE_MARGIN_SECONDS / 2:
            # The leases began when the round did: what is left of them may not be enough for an attempt.
            self.unbegun += claimed
            return None
        return round_.config, claimed

    def _failed(self, round_: Batch, error: StoreUnavailable) -> None:
        """What came back is kept here until the store is there again; leases outlive short absences."""
        self.pending, self._refresh_at = None, 0.0
        self._dispatch.not_claimed(round_.rooms)
        self._doubtful.update(round_.rooms)
        self.unavailable(error)

    def unavailable(self, error: StoreUnavailable) -> None:
        """Not there just now: a rest before the next round."""
        self._log.error("store_unavailable", reason=str(error))
        self._away, self._rest_until = True, time.monotonic() + REST

    def _back(self) -> None:
        if self._away:
            self._away = False
            self._log.info("store_back")

    def _known(self) -> Collection[int]:
        """What we know to be ours."""
        settled = {one.claimed.id for one in self.settled}
        unbegun = {one.id for one in self.unbegun} | {one.id for one, _ in self.put_off}
        return {one for one, _ in self._in_flight} | settled | unbegun

    def _states(self, steady: float) -> Sequence[BreakerState]:
        changes = self._dispatch.breakers.changes()
        for endpoint, breaker in changes:
            self._metrics.breaker(endpoint, breaker.state)
            self._log.warning(
                "breaker", endpoint=endpoint, state=breaker.state, failures=breaker.failures, reason=breaker.reason
            )
        if steady >= self._refresh_at:
            self._refresh_at = steady + REFRESH
            changes = list(dict(changes + self._dispatch.breakers.not_closed()).items())
        return [shown(endpoint, breaker) for endpoint, breaker in changes]

    def last(self, config: Config, now: float, cut_off: Sequence[ClaimedDelivery], due: float, patience: float) -> None:
        """Nothing follows. What is not written by then comes back when its lease ends."""
        round_ = Batch(
            owner=self._owner,
            config=config,
            now=now,
            settled=tuple(self.settled[:MOST]),
            unbegun=tuple(self.unbegun),
            put_off=tuple(self.put_off),
            cut_off=cut_off,
            cut_off_due=due,
            replies=self._replies,
            last=self._noted,
        )
        if not round_:
            return
        try:
            written = self._store.writer.submit(round_.write, ordering_keys=round_.ordering_keys).result(patience)
            self._ring(written.owing)
        except (StoreUnavailable, TooLate) as error:
            self._log.error("store_unavailable", reason=str(error) or "no answer", unsettled=len(round_.settled))
