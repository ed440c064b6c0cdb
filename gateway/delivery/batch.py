"""One transaction of the worker: it settles the attempts that ended and claims what is due, both or neither.

At most one batch at a time is with the store; meanwhile `BatchWriter` collects for the next one. The worker usually
waits for it, for some milliseconds: the writer thread has the interpreter to itself then. Where the store takes longer,
because somebody has locked it or it is away, the worker goes on with its transfers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.config import Config
from gateway.delivery.result import RETRY_SECONDS
from gateway.delivery.scheduler import Scheduler
from gateway.metrics import Metrics
from gateway.store import Connection, Store, StoreUnavailable, clock, health, leases
from gateway.store.health import BreakerState
from gateway.store.leases import ClaimedDelivery, ClaimLimit, SettledDelivery

MAX_SETTLED_PER_BATCH = 256
LEASE_MARGIN_SECONDS = 30.0  # a lease outlives the longest attempt by this: the time to settle it
BATCH_WAIT_SECONDS = 0.25
WRITE_TIMEOUT_SECONDS = 10.0  # after this, a batch that the store has not begun is taken back
PAUSE_AFTER_FAILURE_SECONDS = 1.0

OweReplies = Callable[[Connection, Sequence[SettledDelivery], Config, float], Collection[str]]
"""Owes the texts that endpoints answered (`SettledDelivery.reply`), in the transaction that settles their attempts.
Returns the endpoints that something is owed to, to be notified after the commit."""


class BatchResult(NamedTuple):
    claimed: list[ClaimedDelivery]
    owed: Collection[str] = ()  # endpoints that this batch owes something to


@dataclass(kw_only=True)
class Batch:
    """The contents of one transaction, with one `config`: deliveries go to the very endpoints that they were claimed
    for. `now`: epoch seconds."""

    owner: str
    config: Config
    now: float
    settled: Sequence[SettledDelivery] = ()
    limits: Mapping[str, ClaimLimit] = field(default_factory=dict)  # how many deliveries to claim, by endpoint
    unattempted: Sequence[tuple[ClaimedDelivery, float | None]] = ()
    """Deliveries that were claimed and never sent, and when they are due, if not at once."""
    interrupted: Sequence[ClaimedDelivery] = ()
    """Deliveries whose transfers were cut off. They may have arrived, and are due soon, as after a first attempt."""
    uncertain: Collection[str] = ()  # endpoints of claims of which nobody knows whether they were committed
    known: Collection[int] = ()  # ids of the deliveries that this worker knows to have, where some are uncertain
    breaker_states: Sequence[BreakerState] = ()
    owe_replies: OweReplies | None = None
    record_clock: bool = False
    last: bool = False  # the worker ends: its breakers are forgotten

    def __bool__(self) -> bool:
        """True if there is anything to write."""
        some = self.settled or self.limits or self.unattempted or self.uncertain or self.interrupted
        return bool(some or self.breaker_states or self.last)

    @property
    def ordering_keys(self) -> list[str]:
        return [settled.claimed.ordering_key for settled in self.settled]

    def write(self, conn: Connection) -> BatchResult:
        """May be called more than once, so it changes nothing of the batch."""
        owed: Collection[str] = ()
        if self.settled:
            applied = leases.settle_all(conn, self.owner, self.settled, self.now)
            # An attempt that ended too late decides nothing: the worker that has the delivery now gets an answer too.
            replies = [one for one, ours in zip(self.settled, applied, strict=True) if ours and one.reply]
            if replies and self.owe_replies is not None:
                owed = self.owe_replies(conn, replies, self.config, self.now)
        for delivery, due in self.unattempted:
            leases.release_unattempted(conn, self.owner, [delivery], self.now if due is None else due)
        if self.uncertain:
            leases.reclaim_uncertain(conn, self.owner, self.uncertain, self.known, self.now)
        if self.interrupted:
            leases.release_interrupted(conn, self.owner, self.interrupted, self.now + RETRY_SECONDS[0])
        if self.breaker_states:
            health.record_breakers(conn, self.owner, self.breaker_states, self.now)
        if self.record_clock:
            clock.record_clock(conn, self.now)
        if self.last:
            health.forget_worker(conn, self.owner, self.now)
        if not self.limits:
            return BatchResult([], owed)
        found = [(name, self.config.endpoint(name)) for name in self.limits]
        seconds = {name: endpoint.timeout + LEASE_MARGIN_SECONDS for name, endpoint in found if endpoint}
        return BatchResult(leases.claim(conn, self.owner, self.limits, self.now, seconds), owed)


@dataclass(slots=True)
class SubmittedBatch:
    """A batch that the store has in hand since `started`, in monotonic seconds."""

    batch: Batch
    future: Future[BatchResult]
    started: float


class BatchWriter:
    """Collects what is to be written, and writes it batch by batch.
    `in_flight`: the (delivery, attempt) ids of the worker's transfers. `notify` is called with the endpoints that a
    batch owed something to. `paused_until` and the like are monotonic seconds."""

    def __init__(
        self,
        store: Store,
        owner: str,
        scheduler: Scheduler,
        log: Any,
        metrics: Metrics,
        in_flight: Collection[tuple[int, int]],
        owe_replies: OweReplies | None,
        notify: Callable[[Collection[str]], object],
    ) -> None:
        self._store, self._owner, self._scheduler = store, owner, scheduler
        self._log, self._metrics = log, metrics
        self._in_flight, self._owe_replies, self._notify = in_flight, owe_replies, notify
        self._uncertain: set[str] = set()
        self.settled: list[SettledDelivery] = []  # attempts that ended, and are not known to be written
        self.unattempted: list[tuple[ClaimedDelivery, float | None]] = []
        """Deliveries that are not to be sent after all, and when they are due, if not at once."""
        self.pending: SubmittedBatch | None = None
        self.paused_until = 0.0
        self._clock_at = self._breakers_at = 0.0
        self._has_breakers = self._is_away = False

    def begin(self, config: Config, now: float, claiming: bool) -> None:
        """Hands a batch to the store, if there is anything to write."""
        monotonic = time.monotonic()
        batch = Batch(
            owner=self._owner,
            config=config,
            now=now,
            settled=tuple(self.settled[:MAX_SETTLED_PER_BATCH]),
            limits=self._scheduler.plan(config.endpoint, now) if claiming else {},
            unattempted=tuple(self.unattempted),
            uncertain=tuple(self._uncertain),
            known=self._known_ids() if self._uncertain else (),
            breaker_states=self._breaker_states(monotonic),
            owe_replies=self._owe_replies,
            record_clock=self._is_away or monotonic >= self._clock_at,
        )
        # A store that was away is asked whether it writes again, even if there is nothing to write.
        if not batch and not self._is_away:
            return
        try:
            future = self._store.writer.submit(batch.write, ordering_keys=batch.ordering_keys)
        except StoreUnavailable as error:
            self._failed(batch, error)
        else:
            self.pending = SubmittedBatch(batch, future, monotonic)

    def finish(self, timeout: float) -> tuple[Config, list[ClaimedDelivery], float] | None:
        """The configuration, the deliveries that were claimed with it, and the monotonic time at which their leases
        began; None if there are none yet."""
        pending = self.pending
        if pending is None:
            return None
        try:
            claimed, owed = pending.future.result(timeout)
        except TooLate:
            if time.monotonic() - pending.started >= WRITE_TIMEOUT_SECONDS and pending.future.cancel():
                reason = f"waited {WRITE_TIMEOUT_SECONDS:g} s for the writer"
                self._failed(pending.batch, StoreUnavailable(reason))
            return None
        except StoreUnavailable as error:
            self._failed(pending.batch, error)
            return None
        self.pending, batch, monotonic = None, pending.batch, time.monotonic()
        if owed:
            self._notify(owed)
        del self.settled[: len(batch.settled)]
        del self.unattempted[: len(batch.unattempted)]
        self._uncertain.clear()
        self._has_breakers = self._has_breakers or bool(batch.breaker_states)
        if batch.record_clock:
            self._clock_at = monotonic + clock.RECORD_SECONDS
        if self._is_away:
            self._is_away = False
            self._log.info("store_back")
        self._scheduler.claimed(batch.limits, claimed)
        return batch.config, claimed, pending.started

    def _failed(self, batch: Batch, error: StoreUnavailable) -> None:
        """Keeps everything until the store is back; leases outlive short absences."""
        self.pending, self._breakers_at = None, 0.0
        self._scheduler.not_claimed(batch.limits)
        self._uncertain.update(batch.limits)
        self.unavailable(error)

    def unavailable(self, error: StoreUnavailable) -> None:
        """Pauses before the next batch: the store failed, here or elsewhere."""
        self._log.error("store_unavailable", reason=str(error))
        self._is_away, self.paused_until = True, time.monotonic() + PAUSE_AFTER_FAILURE_SECONDS

    def _known_ids(self) -> Collection[int]:
        settled = {settled.claimed.id for settled in self.settled}
        return settled | {id_ for id_, _ in self._in_flight} | {delivery.id for delivery, _ in self.unattempted}

    def _breaker_states(self, monotonic: float) -> Sequence[BreakerState]:
        """The breakers that changed their state; now and then all that are not closed."""
        changed = self._scheduler.breakers.changes()
        for endpoint, one in changed:
            self._metrics.breaker(endpoint, one.state)
            self._log.warning("breaker", endpoint=endpoint, state=one.state, failures=one.failures, reason=one.reason)
        if monotonic >= self._breakers_at:
            self._breakers_at = monotonic + health.BREAKER_REFRESH_SECONDS
            changed = list(dict(changed + self._scheduler.breakers.not_closed()).items())
        return [
            BreakerState(endpoint, one.state, one.since, one.until, one.reason, one.failures)
            for endpoint, one in changed
        ]

    def last(self, config: Config, now: float, interrupted: Sequence[ClaimedDelivery], timeout: float) -> None:
        """Writes the last batch. Whatever is not written within `timeout` seconds comes back when its lease ends."""
        batch = Batch(
            owner=self._owner,
            config=config,
            now=now,
            settled=tuple(self.settled[:MAX_SETTLED_PER_BATCH]),
            unattempted=tuple(self.unattempted),
            interrupted=interrupted,
            owe_replies=self._owe_replies,
            last=self._has_breakers,
        )
        if not batch:
            return
        try:
            written = self._store.writer.submit(batch.write, ordering_keys=batch.ordering_keys).result(timeout)
            self._notify(written.owed)
        except (StoreUnavailable, TooLate) as error:
            self._log.error("store_unavailable", reason=str(error) or "no answer", unsettled=len(batch.settled))
