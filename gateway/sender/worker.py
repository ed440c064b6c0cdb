"""Sends what is owed to CarrierX: claims, asks, settles. One thread with its rounds, and one for each request.

A round is one transaction: it settles what came back and claims what is due. What leaves is on disk as leaving before
it does; so whoever comes after a crash knows of it, and looks at CarrierX before anything is sent again.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

import structlog

from gateway.config import Settings
from gateway.delivery.maintenance import ClockJumpDetector
from gateway.metrics import Metrics
from gateway.sender.accounts import ClientCache
from gateway.sender.batch import SubmitBatch, SubmitBatchResult
from gateway.sender.flights import SubmitPool
from gateway.sender.outcome import Core, SubmissionResult
from gateway.sender.pausing import CarrierXBreaker
from gateway.sender.poll_status import StatusPoller
from gateway.sender.rounds import LOOK, SubmitBatchWriter
from gateway.sender.settle import PATIENCE
from gateway.store import Store, StoreUnavailable, events, ledger, outbox

TICK = 1.0
"""Seconds after which the loop turns by itself."""
TIDY = 30.0
"""Seconds between two looks for updates that wait for nothing any more."""
DRAIN = 7.0
"""Seconds that requests in flight get when the Sender is asked to stop."""
LAST_WRITE = 1.0
"""Seconds that the store gets after that."""
HANG = 15.0
"""Seconds without a turn of the loop, after which it hangs."""


class Sender:
    """The half of the worker that sends. `ring`: wakes whoever delivers to these endpoints, from any thread."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        dice: Callable[[], float] = random.random,
        ring: Callable[[Collection[str]], object] = lambda endpoints: None,
        metrics: Metrics | None = None,
    ) -> None:
        self._settings, self._store, self._clock, self._ring = settings, store, clock, ring
        self._metrics = metrics or Metrics()
        self._owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._log: Any = structlog.get_logger().bind(sender=self._owner)
        self._flights = SubmitPool(clock, dice, self._is_known)
        self._accounts, self._pausing = ClientCache(self._log), CarrierXBreaker(self._log)
        self._missing = StatusPoller(store, clock, self._log, ring)
        self._drift, self._step = ClockJumpDetector(clock(), time.monotonic()), 0.0
        self._next: float | None = 0.0
        self._look_at = self._claim_at = self._tidy_at = 0.0
        self._alive_at = time.monotonic()
        self._stop = threading.Event()
        self._rounds = SubmitBatchWriter(store, self._owner, self._log, self._live)

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; then what is in flight may end, within `DRAIN` seconds.

        What does not is left as it is: its lease runs out, and whoever claims it then looks for it at CarrierX.
        """
        self._stop = stop
        self._log.info("sender_started")
        try:
            while not stop.is_set():
                self._turn(self._patience())
            self._drain()
        finally:
            self._accounts.close()
            self._log.info("sender_stopped")

    def wake(self) -> None:
        """From any thread, or a signal handler: something is owed, or it is to stop."""
        self._flights.wake()

    def _live(self) -> None:
        self._alive_at = time.monotonic()

    def lives(self) -> bool:
        """From any thread: whether the loop turns."""
        return time.monotonic() - self._alive_at < HANG

    def _drain(self) -> None:
        end = time.monotonic() + DRAIN
        self._rounds.give_up_at = end + LAST_WRITE
        while (len(self._flights) or self._rounds.ended) and time.monotonic() < end:
            self._turn(min(LOOK, max(0.0, end - time.monotonic())))
        if self._rounds.ended:
            self._round(0, time.monotonic(), None, False)

    def _turn(self, patience: float) -> None:
        self._live()
        came, woken = self._flights.take(patience)
        steady = time.monotonic()
        for one in came:
            self._note(one, steady)
        if woken:
            self._look_at = self._claim_at = 0.0
        self._step += self._drift.jump(self._clock(), steady)
        if not self._rounds.rest(steady):
            self._work(steady)

    def _work(self, steady: float) -> None:
        core = None if self._stop.is_set() else self._accounts.core(self._settings.current.carrierx)
        try:
            room = self._room(steady) if self._is_due(steady) and self._may_leave(core) else 0
            tidies = core is not None and self._is_untidy(steady)
            if core is not None and not self._pausing.left(steady):
                self._missing.mind(core, self._settings.current, steady)
        except StoreUnavailable as error:
            self._rounds.unavailable(error)
        else:
            self._round(room, steady, core, tidies)
        if trouble := self._missing.trouble():
            self._pausing.met(trouble, steady)

    def _patience(self) -> float:
        """Seconds until there is something to do, for all that is known."""
        steady = time.monotonic()
        if rest := self._rounds.rest(steady):
            return min(TICK, rest)
        if self._rounds.ended:
            return 0.0
        pause = self._pausing.left(steady)
        if self._next is None or not (pause or self._room(steady)) or not self._settings.current.carrierx.is_set:
            return max(0.0, min(TICK, self._look_at - steady)) if self._next is None else TICK
        return max(0.0, min(TICK, max(pause, self._next - self._clock(), self._claim_at - steady)))

    def _room(self, steady: float) -> int:
        """How many may leave now."""
        if self._stop.is_set() or self._pausing.left(steady):
            return 0
        most = 1 if self._pausing.is_wary else self._settings.current.carrierx.concurrency
        return max(0, most - len(self._flights))

    def _may_leave(self, core: Core | None) -> bool:
        if core is None and not self._stop.is_set() and not self._rounds.ended:
            self._accounts.miss()
        return core is not None

    def _is_due(self, steady: float) -> bool:
        """Whether something can be claimed. What is settled now may make room for its successor."""
        if self._rounds.ended:
            return True
        if steady >= self._look_at:
            self._look_at = steady + TICK
            with self._store.reader() as conn:
                self._next = outbox.next_due(conn, ledger.ENDPOINT)
        return self._next is not None and self._next <= self._clock() and steady >= self._claim_at

    def _is_untidy(self, steady: float) -> bool:
        if steady < self._tidy_at:
            return False
        self._tidy_at = steady + TIDY
        with self._store.reader() as conn:
            return bool(events.waiting_pairs(conn, self._clock() - PATIENCE, 1))

    def _is_known(self, send_id: str, message_sid: str) -> bool:
        """Called in the threads."""
        with self._store.reader() as conn:
            entry = ledger.of_sid(conn, message_sid)
        return entry is not None and entry.send_id != send_id

    def _note(self, one: SubmissionResult, steady: float) -> None:
        self._rounds.ended.append(one)
        if one.trouble is not None:
            self._pausing.met(one.trouble, steady)
        elif one.departure.plan in ("post", "look up"):
            self._pausing.answered()

    def _round(self, room: int, steady: float, core: Core | None, tidies: bool) -> None:
        held = self._flights.to_hold(steady, self._step)
        now, known = self._clock(), self._flights.known
        states = self._pausing.news(now, steady)
        done = self._rounds.run(self._settings.current, now, room, held, known, tidies, states)
        if done is not None:
            self._done(*done, steady, core)

    def _done(self, round_: SubmitBatch, written: SubmitBatchResult, steady: float, core: Core | None) -> None:
        self._flights.were_held(round_.held, steady)
        self._pausing.noted(round_.states, steady)
        self._step = 0.0
        if core is not None:
            for departure in written.departures:
                self._flights.start(departure, core, steady, round_.now)
        self._look_at = 0.0
        if round_.room and not written.departures:
            self._claim_at = steady + LOOK
        for one in round_.ended:
            self._tell(one)
        if written.woken:
            self._ring(written.woken)

    def _tell(self, one: SubmissionResult) -> None:
        claimed, origin = one.departure.claimed, one.departure.entry.origin if one.departure.entry else ""
        if one.word in ("sent", "refused", "undecided"):
            self._metrics.send(origin, one.word)
        self._log.info(
            "send",
            send=claimed.delivery_id,
            attempt=claimed.number,
            did=one.departure.plan,
            outcome=one.word,
            status=one.status,
            total_ms=round(one.seconds * 1000, 1),
        )
        if one.warning:
            self._log.warning("send_answer_strange", send=claimed.delivery_id, reason=one.warning)
