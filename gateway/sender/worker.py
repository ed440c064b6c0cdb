"""Submits what is owed to CarrierX: claims, asks, settles. One thread with its batches, and one for each submission.

One batch is one transaction: it settles what came back and claims what is due. A text that leaves is on disk as leaving
before it does; so the Sender that starts after a crash knows of it, and searches at CarrierX before it sends again.
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

from gateway.carrierx import CoreAPI
from gateway.config import CarrierX, Settings
from gateway.delivery.maintenance import ClockJumpDetector
from gateway.metrics import SENDS, Metrics
from gateway.sender.batch import STORE_CHECK_INTERVAL_SECONDS, SubmitBatchWriter
from gateway.sender.outcome import CarrierXBreaker, SubmissionResult
from gateway.sender.poll_status import StatusPoller
from gateway.sender.settle import STALE_UPDATE_SECONDS
from gateway.sender.submit import SubmitPool
from gateway.store import Store, StoreUnavailable, events, ledger, outbox

TICK_SECONDS = 1.0  # the longest turn of the loop
RELEASE_INTERVAL_SECONDS = 30.0  # between two searches for updates that wait for nothing any more
DRAIN_TIMEOUT_SECONDS = 7.0  # for requests in flight when the Sender is asked to stop
LAST_WRITE_TIMEOUT_SECONDS = 1.0
HANG_SECONDS = 15.0  # without a turn of the loop for so long, it hangs


class Sender:
    """The part of the worker that submits. `notify`: wakes whoever delivers to these endpoints, from any thread."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
        notify: Callable[[Collection[str]], object] = lambda endpoints: None,
        metrics: Metrics | None = None,
    ) -> None:
        self._settings, self._store, self._clock, self._notify = settings, store, clock, notify
        self._metrics = metrics or Metrics()
        owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._log: Any = structlog.get_logger().bind(sender=owner)
        self._pool = SubmitPool(clock, random, self._is_known)
        self._clients, self._breaker = ClientCache(self._log), CarrierXBreaker(self._log)
        self._poller = StatusPoller(store, clock, self._log, notify)
        self._clock_jumps, self._jump = ClockJumpDetector(clock(), time.monotonic()), 0.0
        self._next_due: float | None = 0.0  # epoch seconds; None: nothing is owed
        self._look_at = self._claim_at = self._release_at = 0.0
        self._alive_at = time.monotonic()
        self._stop = threading.Event()
        self._batches = SubmitBatchWriter(store, owner, self._log, self._mark_alive)

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop` is set; then requests in flight may end, within `DRAIN_TIMEOUT_SECONDS`.
        One that does not is left as it is: its lease runs out, and the next to claim it searches for it at CarrierX."""
        self._stop = stop
        self._log.info("sender_started")
        try:
            while not stop.is_set():
                self._turn(self._seconds_to_wait())
            end = time.monotonic() + DRAIN_TIMEOUT_SECONDS
            self._batches.give_up_at = end + LAST_WRITE_TIMEOUT_SECONDS
            while (len(self._pool) or self._batches.ended) and time.monotonic() < end:
                self._turn(min(STORE_CHECK_INTERVAL_SECONDS, max(0.0, end - time.monotonic())))
            if self._batches.ended:
                self._write_batch(0, False, None, time.monotonic())
        finally:
            self._clients.close()
            self._log.info("sender_stopped")

    def wake(self) -> None:
        """Ends the wait of the loop, from any thread or a signal handler: something is owed, or it is to stop."""
        self._pool.wake()

    def is_alive(self) -> bool:
        """True if the loop turns. May be called from any thread."""
        return time.monotonic() - self._alive_at < HANG_SECONDS

    def _mark_alive(self) -> None:
        self._alive_at = time.monotonic()

    def _turn(self, timeout: float) -> None:
        self._mark_alive()
        results, woken = self._pool.take(timeout)
        monotonic = time.monotonic()
        self._batches.ended += results
        for result in results:
            if result.fault is not None:
                self._breaker.record_fault(result.fault, monotonic)
            elif result.submission.action in ("post", "look up"):
                self._breaker.record_answer()
        if woken:
            self._look_at = self._claim_at = 0.0
        self._jump += self._clock_jumps.jump(self._clock(), monotonic)
        if monotonic < self._batches.paused_until:
            return
        api = None if self._stop.is_set() else self._clients.client(self._settings.current.carrierx)
        try:
            limit = self._limit(monotonic) if self._is_due(monotonic) and self._can_submit(api) else 0
            release_stale = api is not None and self._has_stale_updates(monotonic)
            if api is not None and not self._breaker.seconds_left(monotonic):
                self._poller.poll_if_due(api, self._settings.current, monotonic)
        except StoreUnavailable as error:
            self._batches.unavailable(error)
        else:
            self._write_batch(limit, release_stale, api, monotonic)
        if fault := self._poller.take_fault():
            self._breaker.record_fault(fault, monotonic)

    def _seconds_to_wait(self) -> float:
        monotonic = time.monotonic()
        if monotonic < self._batches.paused_until:
            return min(TICK_SECONDS, self._batches.paused_until - monotonic)
        if self._batches.ended:
            return 0.0
        if self._next_due is None:
            return max(0.0, min(TICK_SECONDS, self._look_at - monotonic))
        pause = self._breaker.seconds_left(monotonic)
        if not (pause or self._limit(monotonic)) or not self._settings.current.carrierx.is_set:
            return TICK_SECONDS
        return max(0.0, min(TICK_SECONDS, max(pause, self._next_due - self._clock(), self._claim_at - monotonic)))

    def _limit(self, monotonic: float) -> int:
        """The number of submissions that may leave now."""
        if self._stop.is_set() or self._breaker.seconds_left(monotonic):
            return 0
        most = 1 if self._breaker.is_probing else self._settings.current.carrierx.concurrency
        return max(0, most - len(self._pool))

    def _can_submit(self, api: CoreAPI | None) -> bool:
        if api is None and not self._stop.is_set() and not self._batches.ended:
            self._clients.warn_no_account()
        return api is not None

    def _is_due(self, monotonic: float) -> bool:
        """True if something can be claimed. A text that is settled now may make its successor due."""
        if self._batches.ended:
            return True
        if monotonic >= self._look_at:
            self._look_at = monotonic + TICK_SECONDS
            with self._store.reader() as conn:
                self._next_due = outbox.next_due(conn, ledger.ENDPOINT)
        return self._next_due is not None and self._next_due <= self._clock() and monotonic >= self._claim_at

    def _has_stale_updates(self, monotonic: float) -> bool:
        if monotonic < self._release_at:
            return False
        self._release_at = monotonic + RELEASE_INTERVAL_SECONDS
        with self._store.reader() as conn:
            return bool(events.waiting_pairs(conn, self._clock() - STALE_UPDATE_SECONDS, 1))

    def _is_known(self, send_id: str, message_sid: str) -> bool:
        """Called in the threads of submissions."""
        with self._store.reader() as conn:
            entry = ledger.of_sid(conn, message_sid)
        return entry is not None and entry.send_id != send_id

    def _write_batch(self, limit: int, release_stale: bool, api: CoreAPI | None, monotonic: float) -> None:
        extend = self._pool.to_extend(monotonic, self._jump)
        now, known = self._clock(), self._pool.delivery_ids
        states = self._breaker.changed_state(now, monotonic)
        written = self._batches.write(self._settings.current, now, limit, extend, known, release_stale, states)
        if written is None:
            return
        batch, result = written
        self._pool.extended(batch.extend, monotonic)
        self._breaker.recorded(batch.breaker_states, monotonic)
        self._jump = 0.0
        if api is not None:
            for submission in result.submissions:
                self._pool.start(submission, api, monotonic, batch.now)
        self._look_at = 0.0
        if batch.limit and not result.submissions:
            self._claim_at = monotonic + STORE_CHECK_INTERVAL_SECONDS
        for ended in batch.ended:
            self._report(ended)
        if result.owed:
            self._notify(result.owed)

    def _report(self, result: SubmissionResult) -> None:
        claimed, entry = result.submission.claimed, result.submission.entry
        if result.change in ("sent", "refused", "undecided"):
            self._metrics.count(SENDS, entry.origin if entry else "", result.change)
        self._log.info(
            "send",
            send=claimed.delivery_id,
            attempt=claimed.number,
            did=result.submission.action,
            outcome=result.change,
            status=result.status,
            total_ms=round(result.seconds * 1000, 1),
        )
        if result.warning:
            self._log.warning("send_answer_strange", send=claimed.delivery_id, reason=result.warning)


class ClientCache:
    """Makes a client once for each configuration of the account, so that its connections are kept between requests."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._carrierx: CarrierX | None = None
        self._api: CoreAPI | None = None
        self._has_warned = False

    def client(self, carrierx: CarrierX) -> CoreAPI | None:
        """The client of this account; None if there is none. Requests in flight keep the one that they began with."""
        if carrierx != self._carrierx:
            self.close()
            self._carrierx, self._has_warned = carrierx, False
            if carrierx.is_set:
                try:
                    self._api = CoreAPI(
                        carrierx.base_url,
                        token=carrierx.token,
                        login=carrierx.login,
                        password=carrierx.password,
                        timeout=carrierx.timeout,
                        retries=0,  # before anything is asked again, it is on disk that it was asked
                    )
                except ValueError as error:  # such as a token that no header can hold
                    self._log.error("carrierx_not_usable", reason=str(error))
        return self._api

    def warn_no_account(self) -> None:
        """Says once that something is to be sent, and that there is no account."""
        if not self._has_warned:
            self._has_warned = True
            self._log.warning("carrierx_not_configured", reason="There is no account in [carrierx]: sends wait for it.")

    def close(self) -> None:
        api, self._api = self._api, None
        if api is not None:
            api.close()
