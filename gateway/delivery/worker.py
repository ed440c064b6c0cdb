"""Delivers what is owed: claims, posts, judges, settles. One thread, one event loop, many transfers.

One batch is one transaction: it settles what came back and claims what is due, so that the next delivery of an ordering
key leaves in the very batch that settles the one before it. A claim is on disk before its request leaves.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, cast

import structlog

from gateway.config import Config, Settings
from gateway.delivery.batch import BATCH_WAIT_SECONDS, LEASE_MARGIN_SECONDS, BatchWriter, OweReplies
from gateway.delivery.maintenance import Maintenance
from gateway.delivery.request import request_for
from gateway.delivery.result import AttemptInFlight, classify
from gateway.delivery.scheduler import Scheduler
from gateway.metrics import Metrics
from gateway.safe_http.client import HttpClient
from gateway.safe_http.errors import OUT_OF_RESOURCES, DescriptorShortage
from gateway.safe_http.models import Response
from gateway.safe_http.ssrf import mask_url
from gateway.store import Store, StoreUnavailable
from gateway.store.leases import ClaimedDelivery
from gateway.store.wakeup import WakeupSocket
from schemas import Body

TICK_SECONDS = 0.5  # the longest turn of the loop: it must give a heartbeat at least once a second
STORE_CHECK_INTERVAL_SECONDS = 0.02
DRAIN_TIMEOUT_SECONDS = 7.0  # for transfers in flight when the worker is asked to stop
LAST_WRITE_TIMEOUT_SECONDS = 1.0


class Worker:
    """Delivers to the endpoints of the configuration and to URLs that came with requests.
    `own`: the addresses where the gateway itself listens; they are never called, or texts would go in circles.
    `heartbeat` is called at least once a second while all is well. `owe_replies` owes the texts that answers are, where
    those are texted back. `wake_others`: by endpoint that is not of the configuration, wakes what delivers to it;
    called from any thread, so it is quick and never raises."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        own: frozenset[tuple[str, int]] = frozenset(),
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
        heartbeat: Callable[[], None] = lambda: None,
        metrics: Metrics | None = None,
        owe_replies: OweReplies | None = None,
        wake_others: Mapping[str, Callable[[], None]] = MappingProxyType({}),
    ) -> None:
        self._settings, self._store, self._own = settings, store, own
        self._clock, self._random, self._heartbeat, self._wake_others = clock, random, heartbeat, wake_others
        self._metrics = metrics or Metrics()
        owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._log: Any = structlog.get_logger().bind(worker=owner)
        self._attempts: dict[tuple[int, int], AttemptInFlight] = {}
        """By attempt id: where a lease ran out while a transfer hangs, the next attempt is in flight beside it."""
        self._scheduler = Scheduler()
        self._batches = BatchWriter(
            store, owner, self._scheduler, self._log, self._metrics, self._attempts.keys(), owe_replies, self.notify
        )
        self._maintenance = Maintenance(store, owner, self._scheduler, self._log, clock())
        self._http, self._shortage = HttpClient(), DescriptorShortage(self._log)
        self._heartbeat_at = 0.0
        self._stop = threading.Event()
        self._notified: deque[str] = deque()
        self._wakeup = WakeupSocket(settings.current.data)
        self._http.watch(self._wakeup.socket, lambda: self._hear(self._wakeup.drain()))

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop` is set; then transfers in flight may end, within `DRAIN_TIMEOUT_SECONDS`."""
        self._stop = stop
        self._log.info("worker_started")
        listener = self._store.listen(self.notify)
        try:
            while not stop.is_set():
                self._turn()
            self._drain()
        finally:
            if listener:
                listener.close()
            self._http.close()
            self._wakeup.close()
            self._log.info("worker_stopped")

    def wake(self) -> None:
        """Ends the wait of the loop, from any thread or a signal handler."""
        self._http.wake()

    def notify(self, endpoints: Iterable[str]) -> None:
        """Takes note, from any thread, that something is owed to these endpoints; an empty name stands for all."""
        if self._hear(endpoints):
            self._http.wake()

    def _hear(self, endpoints: Iterable[str]) -> bool:
        """Wakes others at once, whatever this worker is waiting for. True: some of the endpoints are this worker's."""
        names = set(endpoints)
        for name, wake in self._wake_others.items():
            if name in names or "" in names:
                wake()
        ours = names - self._wake_others.keys()
        self._notified.extend(ours)
        return bool(ours)

    def _turn(self) -> None:
        self._take_results(self._http.run(self._seconds_to_wait()))
        monotonic, timeout = time.monotonic(), 0.0
        if monotonic >= self._heartbeat_at:
            self._heartbeat_at = monotonic + TICK_SECONDS
            self._heartbeat()
            self._wakeup.refresh(monotonic)
            self._scheduler.mark_slow(self._attempts.values(), monotonic)
        if self._batches.pending is None and monotonic >= self._batches.paused_until:
            self._begin_batch(monotonic)
            timeout = BATCH_WAIT_SECONDS  # a batch that the store has had for longer is only looked after
        if done := self._batches.finish(timeout):
            self._start(*done)

    def _seconds_to_wait(self) -> float:
        monotonic, batches = time.monotonic(), self._batches
        if batches.pending is not None:
            return STORE_CHECK_INTERVAL_SECONDS
        if monotonic < batches.paused_until:
            return min(TICK_SECONDS, batches.paused_until - monotonic)
        claiming = self._may_claim(monotonic)
        if batches.settled or batches.unattempted or (claiming and self._notified):
            return 0.0
        if not claiming:
            return TICK_SECONDS
        seconds = self._scheduler.due.seconds_until_due(self._clock())
        return max(
            0.0, min(TICK_SECONDS, self._maintenance.scan_at - monotonic, TICK_SECONDS if seconds is None else seconds)
        )

    def _may_claim(self, monotonic: float) -> bool:
        return not (self._stop.is_set() or self._shortage.lasts(monotonic))

    def _begin_batch(self, monotonic: float) -> None:
        now, config, claiming = self._clock(), self._settings.current, self._may_claim(monotonic)
        if claiming:
            while self._notified:
                if name := self._notified.popleft():
                    self._scheduler.due.mark_due(name)
                else:
                    self._maintenance.scan_now = True
            held = [attempt.claimed for attempt in self._attempts.values()]
            try:
                self._maintenance.check_clock(now, config, held, self._heartbeat)
                self._maintenance.find_due(config, monotonic)
            except StoreUnavailable as error:
                self._batches.unavailable(error)
                return
            self._maintenance.delete_old(now, config.retention, monotonic)
        self._batches.begin(config, now, claiming)

    def _start(self, config: Config, claimed: Sequence[ClaimedDelivery], leased_at: float) -> None:
        moment = datetime.fromtimestamp(self._clock(), UTC)
        for delivery in claimed:
            # The claim was made under this very configuration, so the endpoint is in it.
            endpoint, monotonic = config.endpoint(delivery.endpoint), time.monotonic()
            # The rest of a lease may be too short for an attempt: the process may have been stopped at any line.
            if endpoint is None or self._stop.is_set() or monotonic - leased_at > LEASE_MARGIN_SECONDS / 2:
                self._batches.unattempted.append((delivery, None))
                continue
            body = Body(content_type=delivery.content_type, data=delivery.body, headers=delivery.headers)
            delivery_id, attempt_id = delivery.delivery_id, delivery.attempt_id
            request = request_for(endpoint, body, config, moment, self._own, delivery_id, attempt=delivery.number)
            generation = self._scheduler.started(delivery)
            self._attempts[attempt_id] = AttemptInFlight(delivery, endpoint, request, monotonic, generation)
            self._http.start(request, attempt_id, monotonic)

    def _take_results(self, results: Sequence[tuple[object, Response]]) -> None:
        if not results:
            return
        now, monotonic = self._clock(), time.monotonic()
        for tag, response in results:
            attempt, failure = self._attempts.pop(cast(tuple[int, int], tag)), response.failure
            attempt.seconds = monotonic - attempt.started
            if failure and failure.kind == OUT_OF_RESOURCES:
                # It was no attempt: nothing was sent, and the endpoint has no part in it.
                due = now + self._shortage.POSTPONED_SECONDS
                self._batches.unattempted.append((attempt.claimed, due))
                self._scheduler.postponed(attempt, due)
                self._shortage.record(monotonic, failure.sentence)
                continue
            result = classify(attempt, response, now, self._random())
            if failure and failure.kind == "timeout" and attempt.started < self._http.woke_at:
                # A process that did not run meanwhile cannot say how long others took.
                result = result._replace(weight=None)
            self._batches.settled.append(result.settled)
            self._scheduler.finished(attempt, result, now, self._random())
            claimed, outcome = attempt.claimed, result.settled.outcome
            since_owed = max(0.0, now - claimed.created_at)
            self._metrics.attempt(claimed.endpoint, outcome, attempt.seconds, since_owed)
            self._log.info(
                "attempt",
                delivery=claimed.delivery_id,
                endpoint=mask_url(claimed.endpoint, query=False),
                attempt=claimed.number,
                outcome=outcome,
                status=response.status,
                total_ms=response.times.total,
            )

    def _drain(self) -> None:
        """Claims nothing more. Transfers that do not end in time are cut off; their next attempts come soon, with the
        same delivery ids."""
        until, batches = time.monotonic() + DRAIN_TIMEOUT_SECONDS, self._batches
        while time.monotonic() < until and (
            self._attempts or batches.pending or batches.settled or batches.unattempted
        ):
            self._turn()
        interrupted = [attempt.claimed for attempt in self._attempts.values()]
        batches.last(self._settings.current, self._clock(), interrupted, LAST_WRITE_TIMEOUT_SECONDS)
