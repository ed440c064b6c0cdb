"""Delivers what is owed: claims, posts, judges, settles. One thread, one loop, many transfers.

A round is one transaction: it settles what came back and claims what is due, so that the next head of a lane
leaves in the same round in which the one before it arrived. The attempt's row stands before its request does.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, cast

import structlog

from gateway import retry
from gateway.bell import Bell
from gateway.config import Config, Endpoint, Settings
from gateway.delivery.call import Post, request_for
from gateway.delivery.diagnosis import diagnose
from gateway.delivery.redaction import Redaction
from gateway.delivery.transport import Answer, Request, Transport
from gateway.store import Connection, Store, StoreUnavailable, outbox
from gateway.store.retention import sweep

POLL = 0.25
"""Seconds between two looks into the outbox when nobody rings."""
MARGIN = 30.0
"""Seconds by which a lease outlives the longest attempt: the time to settle it."""
DRAIN = 7.0
"""Seconds that transfers in flight get when the worker is asked to stop."""
SWEEP = 60.0
SWEPT = 500
STORE_WAIT = 10.0


@dataclass(frozen=True, slots=True)
class _Flight:
    """One attempt on its way."""

    claimed: outbox.Claimed
    endpoint: Endpoint
    request: Request


class Worker:
    """The delivering half. `own` is where the gateway listens: never called, or texts would go in circles."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        own: frozenset[tuple[str, int]] = frozenset(),
        *,
        clock: Callable[[], float] = time.time,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._settings, self._store, self._own = settings, store, own
        self._clock, self._dice = clock, dice
        self._owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._log: Any = structlog.get_logger().bind(worker=self._owner)
        self._transport = Transport()
        self._bell = Bell(settings.current.data)
        self._rung = True
        self._transport.watch(self._bell.socket, self._on_ring)
        self._flights: dict[tuple[int, int], _Flight] = {}
        self._busy: Counter[str] = Counter()
        self._settled: list[outbox.Settled] = []
        self._redactions: dict[str, tuple[Endpoint, Redaction]] = {}
        self._look_at = 0.0
        self._sweep_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; then what is in flight may end, within `DRAIN` seconds."""
        self._log.info("worker_started")
        try:
            while not stop.is_set():
                self._round()
            self._drain()
        finally:
            self._transport.close()
            self._bell.close()
            self._log.info("worker_stopped")

    def wake(self) -> None:
        """From any thread, or a signal handler: look up now."""
        self._transport.wake()

    def _on_ring(self) -> None:
        self._bell.hush()
        self._rung = True

    def _round(self) -> None:
        self._take_in(self._transport.run(self._patience()))
        now = self._clock()
        if not (self._settled or self._rung or time.monotonic() >= self._look_at):
            return
        self._rung = False
        self._look_at = time.monotonic() + POLL
        # One and the same for the whole round: what is claimed for an endpoint is sent to it.
        config = self._settings.current
        try:
            claimed = self._exchange(config, now)
        except StoreUnavailable as error:
            # What came back is kept here until the store is there again; leases outlive short absences.
            self._log.error("store_unavailable", reason=str(error))
            self._look_at = time.monotonic() + 1.0
            self._take_in(self._transport.run(0.2))
            return
        for one in claimed:
            self._start(config, one)
        self._sweep(now)

    def _patience(self) -> float:
        if self._settled or self._rung:
            return 0.0
        return max(0.0, min(POLL, self._look_at - time.monotonic()))

    def _exchange(self, config: Config, now: float) -> list[outbox.Claimed]:
        """Settle what came back, claim what is due: one transaction, or none where there is nothing to do."""
        slots = self._slots(config, now)
        if not slots and not self._settled:
            return []
        settled = list(self._settled)
        leases = {name: config.endpoints[name].timeout + MARGIN for name in slots}

        def work(connection: Connection) -> list[outbox.Claimed]:
            for one in settled:
                outbox.settle(connection, self._owner, one, now)
            return outbox.claim(connection, self._owner, slots, now, leases)

        claimed = self._store.writer.write(work, timeout=STORE_WAIT, lanes=tuple(one.lane for one in settled))
        del self._settled[: len(settled)]
        # A lane's next head may be free now.
        self._rung = self._rung or bool(settled)
        return claimed

    def _slots(self, config: Config, now: float) -> dict[str, int]:
        """How many more each endpoint may have in flight, of those to which something is due.

        Deliveries to an endpoint that is no longer configured wait for its return.
        """
        endpoints = config.endpoints
        with self._store.reader() as connection:
            due = outbox.due_endpoints(connection, now)
        free = {name: endpoints[name].concurrency - self._busy[name] for name in due if name in endpoints}
        return {name: count for name, count in free.items() if count > 0}

    def _start(self, config: Config, claimed: outbox.Claimed) -> None:
        endpoint = config.endpoints[claimed.endpoint]
        request = request_for(endpoint, _post(claimed), config, datetime.fromtimestamp(self._clock(), UTC), self._own)
        # By attempt: where a lease ran out under a hung transfer, the next attempt flies beside it.
        tag = (claimed.id, claimed.number)
        self._flights[tag] = _Flight(claimed, endpoint, request)
        self._busy[endpoint.name] += 1
        self._transport.start(request, tag)

    def _take_in(self, results: list[tuple[object, Answer]]) -> None:
        for tag, answer in results:
            flight = self._flights.pop(cast(tuple[int, int], tag))
            self._busy[flight.endpoint.name] -= 1
            self._settled.append(self._judge(flight, answer))

    def _judge(self, flight: _Flight, answer: Answer) -> outbox.Settled:
        now = self._clock()
        verdict = retry.judge(answer, flight.endpoint, now)
        wait = retry.wait(flight.claimed.tries, self._dice(), verdict.retry_after)
        again = verdict.outcome == "again" and wait is not None
        outcome: outbox.Outcome = "again" if again else "succeeded" if verdict.outcome == "succeeded" else "dead"
        self._log.info(
            "attempt",
            delivery=flight.claimed.delivery_id,
            endpoint=flight.endpoint.name,
            attempt=flight.claimed.number,
            outcome=outcome,
            status=answer.status,
            total_ms=answer.times.total,
        )
        failed = outcome != "succeeded"
        secrets = self._redaction(flight.endpoint)
        return outbox.Settled(
            claimed=flight.claimed,
            outcome=outcome,
            due=now + wait if again and wait is not None else None,
            finished_at=now,
            sentence=verdict.sentence if failed else "",
            status=answer.status,
            answer_headers=secrets.headers(answer.headers),
            answer_body=secrets.body(answer.read),
            times=asdict(answer.times),
            diagnosis=tuple(diagnose(flight.request, answer, flight.endpoint)) if failed else (),
        )

    def _redaction(self, endpoint: Endpoint) -> Redaction:
        """Made once for each endpoint as it is configured now."""
        known = self._redactions.get(endpoint.name)
        if known is None or known[0] is not endpoint:
            known = self._redactions[endpoint.name] = (endpoint, Redaction.of(endpoint))
        return known[1]

    def _drain(self) -> None:
        """No new claims. What does not end in time is cut off; its next attempt comes soon, with the same id."""
        until = time.monotonic() + DRAIN
        while self._flights and time.monotonic() < until:
            self._take_in(self._transport.run(min(0.2, max(0.0, until - time.monotonic()))))
        settled, now = list(self._settled), self._clock()
        cut_off = [flight.claimed for flight in self._flights.values()]

        def work(connection: Connection) -> None:
            for one in settled:
                outbox.settle(connection, self._owner, one, now)
            outbox.let_go(connection, self._owner, cut_off, now + retry.WAITS[0])

        try:
            self._store.writer.write(work, timeout=2.0, lanes=tuple(one.lane for one in settled))
        except StoreUnavailable as error:
            self._log.error("store_unavailable", reason=str(error))

    def _sweep(self, now: float) -> None:
        """Retention, in small steps between the rounds."""
        if time.monotonic() < self._sweep_at:
            return
        self._sweep_at = time.monotonic() + SWEEP
        before = now - self._settings.current.retention_days * 86_400
        try:
            swept = self._store.writer.write(lambda connection: sweep(connection, before, SWEPT), timeout=STORE_WAIT)
        except StoreUnavailable:
            return
        if swept:
            self._log.info("swept", events=swept.events)
            self._sweep_at = time.monotonic() + 1.0


def _post(claimed: outbox.Claimed) -> Post:
    return Post(
        kind=claimed.kind,
        content_type=claimed.content_type,
        headers=claimed.headers,
        data=claimed.body,
        delivery_id=claimed.delivery_id,
        attempt=claimed.number,
    )
