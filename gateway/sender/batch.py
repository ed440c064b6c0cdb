"""One transaction of the Sender: it settles the submissions that ended and claims what is due, both or neither."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from gateway.config import Config
from gateway.delivery.batch import LEASE_MARGIN_SECONDS, PAUSE_AFTER_FAILURE_SECONDS, WRITE_TIMEOUT_SECONDS
from gateway.outbound import status_posts
from gateway.routing import route
from gateway.sender import settle, submit
from gateway.sender.outcome import Submission, SubmissionResult
from gateway.store import Connection, Store, StoreUnavailable, health, leases, ledger
from gateway.store.health import BreakerState
from gateway.store.leases import ClaimLimit, SettledDelivery
from schemas import Message

FIRST_ATTEMPTS_DIVISOR = 4  # a quarter of a claim is kept for texts that are sent for the first time
MAX_SETTLED_PER_BATCH = 64
STORE_CHECK_INTERVAL_SECONDS = 0.25


class SubmitBatchResult(NamedTuple):
    submissions: list[Submission]
    owed: frozenset[str]  # endpoints that something is owed to now


@dataclass(kw_only=True)
class SubmitBatch:
    """The contents of one transaction. `now`: epoch seconds. `limit`: how many texts to claim."""

    owner: str
    config: Config
    now: float
    ended: Sequence[SubmissionResult] = ()
    limit: int = 0
    extend: Sequence[Submission] = ()  # submissions whose leases are extended: they take long, or the clock was set
    is_uncertain: bool = False  # nobody knows whether the claims of the batch before were committed
    known: Collection[int] = ()  # ids of the deliveries that this Sender knows to have, where some are uncertain
    release_stale: bool = False  # releases updates that wait for nothing any more
    breaker_states: Sequence[BreakerState] = ()

    def __bool__(self) -> bool:
        """True if there is anything to write."""
        some = self.ended or self.limit or self.extend or self.is_uncertain
        return bool(some or self.release_stale or self.breaker_states)

    @property
    def ordering_keys(self) -> list[str]:
        return [key for result in self.ended for key in _ordering_keys(result, self.config)]

    def write(self, conn: Connection) -> SubmitBatchResult:
        """May be called more than once, so it changes nothing of the batch."""
        lease_seconds = self.config.carrierx.timeout + LEASE_MARGIN_SECONDS
        for one in self.extend:
            extended = leases.extend(conn, self.owner, one.claimed, self.now + lease_seconds)
            if extended and one.action == "post":
                until = self.now + submit.START_SECONDS + self.config.carrierx.timeout
                ledger.mark_uncertain(conn, one.claimed.delivery_id, self.now, until)
        owed = self._settle(conn)
        if self.is_uncertain:
            leases.reclaim_uncertain(conn, self.owner, [ledger.ENDPOINT], self.known, self.now)
        if self.release_stale:
            owed |= settle.release_stale(conn, self.config, self.now)
        if self.breaker_states:
            health.record_breakers(conn, self.owner, self.breaker_states, self.now)
        if not self.limit:
            return SubmitBatchResult([], owed)
        limits = {ledger.ENDPOINT: ClaimLimit(self.limit, self.limit // FIRST_ATTEMPTS_DIVISOR)}
        claimed = leases.claim(conn, self.owner, limits, self.now, {ledger.ENDPOINT: lease_seconds})
        return SubmitBatchResult([submit.choose_action(conn, one, self.config, self.now) for one in claimed], owed)

    def _settle(self, conn: Connection) -> frozenset[str]:
        # What CarrierX said meanwhile, in a callback, is knowledge; what we could not find out is none.
        ended = [self._corrected(conn, result) for result in self.ended]
        counted = {at: settled for at, result in enumerate(ended) if (settled := _settled(result))}
        applied = dict(zip(counted, leases.settle_all(conn, self.owner, [*counted.values()], self.now), strict=True))
        owed: frozenset[str] = frozenset()
        for at, result in enumerate(ended):
            if at not in counted:
                claimed, due = result.submission.claimed, result.due or self.now
                applied[at] = leases.release_unattempted(conn, self.owner, [claimed], due) == 1
            # That a text was sent is never forgotten, even if somebody else has it by now.
            if applied[at] or result.change in ("sent", "recorded"):
                owed |= self._change_ledger(conn, result)
        return owed

    def _corrected(self, conn: Connection, result: SubmissionResult) -> SubmissionResult:
        entry = ledger.of_send(conn, result.submission.claimed.delivery_id)
        if entry is None:
            return replace(result, change="unchanged")
        result = replace(result, submission=replace(result.submission, entry=entry))
        if entry.message_sid and result.change not in ("sent", "recorded"):
            return replace(result, outcome="succeeded", change="unchanged", due=None, sentence="")
        return result

    def _change_ledger(self, conn: Connection, result: SubmissionResult) -> frozenset[str]:
        entry, change, config, now = result.submission.entry, result.change, self.config, self.now
        if entry is None or change == "unchanged":
            return frozenset()
        if change == "sent":
            return settle.sent(conn, entry, result.answer, config, now)
        if change in _SETTLE:
            return _SETTLE[change](conn, entry, result.sentence, config, now)
        if change == "uncertain":
            ledger.mark_uncertain(conn, entry.send_id, now, result.at)
        elif result.answer and (message := settle.read(result.answer, entry)) is not None:
            ledger.mark_sent(conn, entry.send_id, message.message_sid, now, now + config.carrierx.missing_after)
        return frozenset()


_SETTLE = {"refused": settle.refused, "undecided": settle.undecided, "owed": settle.put_back}


def _settled(result: SubmissionResult) -> SettledDelivery | None:
    outcome = result.outcome
    if outcome == "uncounted":
        return None
    return SettledDelivery(
        claimed=result.submission.claimed,
        outcome=outcome,
        finished_at=result.at,
        due=result.due,
        sentence=result.sentence,
        status=result.status,
        answer_body=result.answer,
        times={"total": round(result.seconds * 1000, 1)},
    )


def _ordering_keys(result: SubmissionResult, config: Config) -> Iterator[str]:
    """The ordering keys of the conversation, and of status posts that may be owed for what is settled."""
    yield result.submission.claimed.ordering_key
    entry = result.submission.entry
    if entry is not None and result.change in ("sent", "refused"):
        message = settle.read(result.answer, entry) if result.answer else None
        blank = Message(direction="outbound", from_=entry.number, to=entry.phone, status="", message_sid=entry.send_id)
        for endpoint in status_posts.status_endpoints(entry, config):
            yield route.ordering_key(endpoint, message or blank)


class SubmitBatchWriter:
    """Collects what is to be written, and writes it batch by batch. `alive` is called while the store is waited for."""

    def __init__(self, store: Store, owner: str, log: Any, alive: Callable[[], None]) -> None:
        self._store, self._owner, self._log, self._alive = store, owner, log, alive
        self._is_away = self._is_uncertain = self._has_failed = False
        self.paused_until = 0.0
        self.ended: list[SubmissionResult] = []  # submissions that ended, and are not known to be written
        self.give_up_at = float("inf")  # when to stop waiting for the store; monotonic seconds, as `paused_until`

    def write(
        self,
        config: Config,
        now: float,
        limit: int,
        extend: Sequence[Submission],
        known: set[int],
        release_stale: bool,
        breaker_states: Sequence[BreakerState],
    ) -> tuple[SubmitBatch, SubmitBatchResult] | None:
        """Writes one batch. None: there was nothing to write, or it failed."""
        batch = SubmitBatch(
            owner=self._owner,
            config=config,
            now=now,
            # After a fault of our own one by one, to find the submission that it is about.
            ended=tuple(self.ended[: 1 if self._has_failed else MAX_SETTLED_PER_BATCH]),
            limit=limit,
            extend=extend,
            is_uncertain=self._is_uncertain,
            known=known | {one.submission.claimed.id for one in self.ended} if self._is_uncertain else (),
            release_stale=release_stale,
            breaker_states=breaker_states,
        )
        if not batch:
            return None
        try:
            result = self._write(batch)
        except StoreUnavailable as error:
            self._is_uncertain = True
            self.unavailable(error)
            return None
        except Exception as error:
            # One of them cannot be settled as it should. It is found, and what is known of it is kept all the same.
            if not batch.ended or all(one.change == "recorded" for one in batch.ended):
                raise
            self._log.error("send_not_settled", error=type(error).__name__, sends=len(batch.ended))
            if len(batch.ended) == 1:
                self.ended[0] = replace(self.ended[0], change="recorded")
            self._has_failed = True
            return None
        del self.ended[: len(batch.ended)]
        self._is_uncertain = self._has_failed = False
        if self._is_away:
            self._is_away = False
            self._log.info("store_back")
        return batch, result

    def _write(self, batch: SubmitBatch) -> SubmitBatchResult:
        future = self._store.writer.submit(batch.write, ordering_keys=batch.ordering_keys)
        started = time.monotonic()
        while True:
            self._alive()
            try:
                return future.result(STORE_CHECK_INTERVAL_SECONDS)
            except TooLate:
                monotonic = time.monotonic()
                gives_up = monotonic > self.give_up_at
                if gives_up or (monotonic - started > WRITE_TIMEOUT_SECONDS and future.cancel()):
                    future.cancel()
                    raise StoreUnavailable("the writer did not get to it in time") from None

    def unavailable(self, error: StoreUnavailable) -> None:
        """Pauses before the next batch, and keeps what came back: the store failed, here or elsewhere."""
        self._log.error("store_unavailable", reason=str(error))
        self._is_away, self.paused_until = True, time.monotonic() + PAUSE_AFTER_FAILURE_SECONDS
