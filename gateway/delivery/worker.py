"""Delivers what is owed: claims, posts, judges, settles. One thread, one loop, many transfers.

A round is one transaction: it settles what came back and claims what is due, so that the next head of an ordering key
leaves in the same round in which the one before it arrived. The claim is on disk before its request leaves.
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
from gateway.delivery import retry
from gateway.delivery.batch import Replies
from gateway.delivery.maintenance import Maintenance
from gateway.delivery.request import EndpointPost, request_for
from gateway.delivery.result import Attempt, Judge
from gateway.delivery.rounds import BatchWriter
from gateway.delivery.scheduler import Scheduler
from gateway.metrics import Metrics
from gateway.safe_http.client import HttpClient
from gateway.safe_http.errors import OUT_OF_RESOURCES, DescriptorShortage
from gateway.safe_http.models import Failure, Response
from gateway.safe_http.ssrf import mask_url
from gateway.store import Store, StoreUnavailable, notices
from gateway.store.leases import ClaimedDelivery
from gateway.store.wakeup import WakeupSocket

TICK = 0.5
"""Seconds after which the loop turns by itself: twice within the second in which it must show that it lives."""
HELD_UP = 0.02
"""Seconds between two looks whether a store that takes its time has written."""
DRAIN = 7.0
"""Seconds that transfers in flight get when the worker is asked to stop."""
LAST_WRITE = 1.0
"""Seconds that the store gets after that."""
_NOBODY: Mapping[str, Callable[[], None]] = MappingProxyType({})


class Worker:
    """The delivering half. `own` is where the gateway listens: never called, or texts would go in circles.

    `pulse` is called at least once a second while all is well. `replies` owes the texts that answers are, where those
    are texted back. `others`: who minds an endpoint that is none of the configuration, and is woken when something is
    owed to it; called from any thread, quick, and never raising.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        own: frozenset[tuple[str, int]] = frozenset(),
        *,
        clock: Callable[[], float] = time.time,
        dice: Callable[[], float] = random.random,
        pulse: Callable[[], None] = lambda: None,
        metrics: Metrics | None = None,
        replies: Replies | None = None,
        others: Mapping[str, Callable[[], None]] = _NOBODY,
    ) -> None:
        self._settings, self._store, self._own = settings, store, own
        self._clock, self._dice, self._pulse = clock, dice, pulse
        self._metrics = metrics or Metrics()
        owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._log: Any = structlog.get_logger().bind(worker=owner)
        self._dispatch, self._judge, self._others = Scheduler(), Judge(), others
        self._attempts: dict[tuple[int, int], Attempt] = {}
        mine = self._attempts.keys()
        self._rounds = BatchWriter(store, owner, self._dispatch, self._log, self._metrics, mine, replies, self.owed)
        self._upkeep = Maintenance(store, owner, self._dispatch, self._log, clock())
        self._transport, self._shortage = HttpClient(), DescriptorShortage(self._log)
        self._beat_at = 0.0
        self._stop = threading.Event()
        self._told: deque[str] = deque()
        self._bell = WakeupSocket(settings.current.data)
        self._transport.watch(self._bell.socket, self._on_ring)

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; then what is in flight may end, within `DRAIN` seconds."""
        self._stop = stop
        self._log.info("worker_started")
        hearing = notices.listen(self._store.apart, self.owed)
        try:
            while not stop.is_set():
                self._turn()
            self._drain()
        finally:
            if hearing:
                hearing.close()
            self._transport.close()
            self._bell.close()
            self._log.info("worker_stopped")

    def wake(self) -> None:
        """From any thread, or a signal handler: look up now."""
        self._transport.wake()

    def owed(self, endpoints: Iterable[str]) -> None:
        """From any thread: something is owed to these; an empty name: look everywhere."""
        if self._hear(endpoints):
            self._transport.wake()

    def _on_ring(self) -> None:
        self._hear(self._bell.hush())

    def _hear(self, endpoints: Iterable[str]) -> bool:
        """Tells the others at once, whatever this worker is waiting for. True: something of it is for us."""
        names = set(endpoints)
        for name, wake in self._others.items():
            if name in names or "" in names:
                wake()
        self._told.extend(names - self._others.keys())
        return not names <= self._others.keys()

    def _turn(self) -> None:
        self._take_in(self._transport.run(self._patience()))
        steady = time.monotonic()
        if steady >= self._beat_at:
            self._beat(steady)
        if self._rounds.pending is None and not self._rounds.rest(steady):
            self._begin(steady)
        # One that was begun just now is waited for, one that the store sits on is only looked after.
        done = self._rounds.finish() if self._rounds.is_new(steady) else self._rounds.finish(0.0)
        if done is not None:
            self._leave(*done)

    def _patience(self) -> float:
        steady = time.monotonic()
        claiming = self._claims(steady)
        if self._rounds.pending is not None:
            return HELD_UP
        if rest := self._rounds.rest(steady):
            return min(TICK, rest)
        if self._rounds.waiting or (claiming and self._told):
            return 0.0
        if not claiming:
            return TICK
        wait = self._dispatch.agenda.next(self._clock())
        return max(0.0, min(TICK, self._upkeep.scan_at - steady, TICK if wait is None else wait))

    def _claims(self, steady: float) -> bool:
        return not (self._stop.is_set() or self._shortage.lasts(steady))

    def _beat(self, steady: float) -> None:
        self._beat_at = steady + TICK
        self._pulse()
        self._bell.keep(steady)
        self._dispatch.hang(self._attempts.values(), steady)

    def _begin(self, steady: float) -> None:
        now, config, claiming = self._clock(), self._settings.current, self._claims(steady)
        try:
            if claiming:
                self._listen()
                self._upkeep.mind_clock(now, config, [one.claimed for one in self._attempts.values()], self._pulse)
                self._upkeep.scan(config, steady)
                self._upkeep.sweep(now, config.retention_days, steady)
        except StoreUnavailable as error:
            self._rounds.unavailable(error)
        else:
            self._rounds.begin(config, now, claiming)

    def _listen(self) -> None:
        while self._told:
            name = self._told.popleft()
            if name:
                self._dispatch.agenda.look(name)
            else:
                self._upkeep.everywhere = True

    def _leave(self, config: Config, claimed: Sequence[ClaimedDelivery]) -> None:
        if self._stop.is_set():
            self._rounds.unbegun += claimed
            return
        moment, steady = datetime.fromtimestamp(self._clock(), UTC), time.monotonic()
        for one in claimed:
            endpoint = config.endpoint(one.endpoint)
            if endpoint is None:  # it was claimed under this very configuration, so it is there
                self._rounds.unbegun.append(one)
                continue
            request = request_for(endpoint, _post(one), config, moment, self._own)
            # By attempt: where a lease ran out under a hung transfer, the next attempt flies beside it.
            self._attempts[one.attempt_id] = Attempt(one, endpoint, request, steady, self._dispatch.begins(one))
            self._transport.start(request, one.attempt_id)

    def _take_in(self, results: Sequence[tuple[object, Response]]) -> None:
        if not results:
            return
        now, steady = self._clock(), time.monotonic()
        for tag, answer in results:
            attempt = self._attempts.pop(cast(tuple[int, int], tag))
            attempt.seconds = steady - attempt.begun
            if answer.failure and answer.failure.kind == OUT_OF_RESOURCES:
                self._put_off(attempt, answer.failure, now, steady)
            else:
                self._end(attempt, answer, now)

    def _put_off(self, attempt: Attempt, failure: Failure, now: float, steady: float) -> None:
        """It was no attempt: nothing was sent, and the endpoint has no part in it."""
        due = now + self._shortage.POSTPONED_SECONDS
        self._rounds.put_off.append((attempt.claimed, due))
        self._dispatch.put_off(attempt, due)
        self._shortage.record(steady, failure.sentence)

    def _end(self, attempt: Attempt, answer: Response, now: float) -> None:
        claimed, name = attempt.claimed, attempt.endpoint.name
        judged = self._judge.judge(attempt, answer, now, self._dice())
        if answer.failure and answer.failure.kind == "timeout" and attempt.begun < self._transport.woke_at:
            # Who did not run cannot say how long the others took.
            judged = judged._replace(weight=None)
        outcome = judged.settled.outcome
        self._rounds.settled.append(judged.settled)
        self._dispatch.ended(attempt, judged, now, self._dice())
        self._metrics.attempt(name, outcome, attempt.seconds, max(0.0, now - claimed.created_at))
        self._log.info(
            "attempt",
            delivery=claimed.delivery_id,
            endpoint=mask_url(name, query=False),
            attempt=claimed.number,
            outcome=outcome,
            status=answer.status,
            total_ms=answer.times.total,
        )

    def _drain(self) -> None:
        """No new claims. What does not end in time is cut off; its next attempt comes soon, with the same id."""
        until = time.monotonic() + DRAIN
        while self._is_busy() and time.monotonic() < until:
            self._turn()
        now = self._clock()
        cut_off = [one.claimed for one in self._attempts.values()]
        self._rounds.last(self._settings.current, now, cut_off, now + retry.WAITS[0], LAST_WRITE)

    def _is_busy(self) -> bool:
        return bool(self._attempts or self._rounds.pending or self._rounds.waiting)


def _post(claimed: ClaimedDelivery) -> EndpointPost:
    return EndpointPost(
        wire_format=claimed.wire_format,
        content_type=claimed.content_type,
        headers=claimed.headers,
        data=claimed.body,
        delivery_id=claimed.delivery_id,
        attempt=claimed.number,
    )
