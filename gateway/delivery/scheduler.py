"""Chooses the endpoints to claim for, and how many deliveries for each: by what is due, breakers and concurrency.

No more than `MAX_IN_FLIGHT` attempts are in flight at a time; sockets and memory are good for no more. Half of them are
for endpoints known to be quick: one whose last answer was slow, or that has never answered, takes from the other half
only. So however many endpoints hang, there is capacity for those that do not. A quarter of each endpoint's own limit is
kept for first attempts, so that no number of retries delays what has just come in.

A batch asks the store only about endpoints that may have something to claim:

    unknown ──notified, found──▶ due ──mark_idle──▶ unknown      the claim gave less than was asked for
       ▲                         ▲ ▲                waiting      all of its concurrency is used, until an attempt ends
       └── later ──its time──────┘ └──attempt ended── blocked    no capacity was left for any endpoint like it

An unknown endpoint has nothing due as far as the worker knows; a notification, an attempt that was settled or the next
scan of the store (`Maintenance.find_due`), also after a restart, says otherwise.

URLs that came with requests are due one by one, but those of one origin share a breaker and a concurrency limit: one
that waits for its own attempts waits for any attempt of that origin.

Pure: all of this is in memory alone.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from gateway.config import Endpoint
from gateway.config.model import is_url
from gateway.delivery.circuit_breaker import Breakers
from gateway.delivery.result import AttemptInFlight, AttemptResult
from gateway.safe_http.ssrf import origin_of
from gateway.store.leases import ClaimedDelivery, ClaimLimit

MAX_IN_FLIGHT = 512
MAX_ENDPOINTS_PER_BATCH = 64
MAX_CLAIMS_PER_BATCH = 256  # the limit of the last endpoint may come on top
SLOW_ANSWER_SECONDS = 2.0
FIRST_ATTEMPTS_DIVISOR = 4
MAX_UNBLOCKED = 8
"""Blocked endpoints that become due when one attempt ends: several, as some of them have nothing to claim by now."""


@dataclass(slots=True)
class InFlight:
    """The attempts in flight to one endpoint, or to one origin of URLs."""

    all: int = 0
    retries: int = 0  # second and later attempts among them
    quick: bool = False


class ConcurrencyLimiter:
    """Counts the attempts in flight, by endpoint and by whether it is known to be quick."""

    def __init__(self, limit: int = MAX_IN_FLIGHT) -> None:
        self._limit = limit
        self._of: dict[str, InFlight] = {}
        self.all = self._slow = 0

    def capacity(self) -> Capacity:
        """The number of attempts that a scheduling pass may give out now."""
        return Capacity(self._limit - self.all, self._limit // 2 - self._slow)

    def is_full(self, in_flight: InFlight) -> bool:
        """True if an endpoint like this one has to wait until any attempt ends."""
        return self.all >= self._limit or (self._slow >= self._limit // 2 and not in_flight.quick)

    def of(self, endpoint: str) -> InFlight:
        """The attempts in flight to an endpoint; only to be read."""
        return self._of.get(endpoint) or InFlight()

    def started(self, endpoint: str, retry: bool) -> None:
        in_flight = self._of.setdefault(endpoint, InFlight())
        in_flight.all += 1
        in_flight.retries += retry
        self.all += 1
        self._slow += not in_flight.quick

    def finished(self, endpoint: str, retry: bool, quick: bool | None) -> int:
        """Counts an attempt that ended, and returns how many of the endpoint are left.

        `quick`: whether an answer came in less than `SLOW_ANSWER_SECONDS`; None: nothing was sent, which says nothing.
        """
        in_flight = self._of[endpoint]
        if quick is not None:
            self.set_quick(endpoint, quick)
        in_flight.all -= 1
        in_flight.retries -= retry
        self.all -= 1
        self._slow -= not in_flight.quick
        if not in_flight.all and is_url(endpoint):
            del self._of[endpoint]
        return in_flight.all

    def set_quick(self, endpoint: str, quick: bool) -> None:
        in_flight = self._of[endpoint]
        if quick is not in_flight.quick:
            in_flight.quick = quick
            self._slow += -in_flight.all if quick else in_flight.all


@dataclass(slots=True)
class Capacity:
    """The number of attempts that one scheduling pass may still give out."""

    free: int
    slow: int  # of these, to endpoints that are not known to be quick


def fair_share(capacity: Capacity, in_flight: InFlight, limit: int, urls: int) -> ClaimLimit:
    """Splits an origin's concurrency limit fairly among its URLs, for one scheduling pass; takes one share.
    `in_flight`: the origin's, with the shares taken so far. `urls`: those without a share, this one included; 1 for an
    endpoint of the configuration."""
    share = -(-(limit - in_flight.all) // urls)
    free = min(share, capacity.free if in_flight.quick else min(capacity.free, capacity.slow))
    if free <= 0:
        return ClaimLimit(0, 0)
    capacity.free -= free
    capacity.slow -= 0 if in_flight.quick else free
    kept = max(1, limit // FIRST_ATTEMPTS_DIVISOR) if limit > 1 else 0
    return ClaimLimit(free, min(free, max(0, free - (limit - kept - in_flight.retries))))


class DueEndpoints:
    """Keeps the order in which endpoints became due, so that each gets its turn. Times are epoch seconds."""

    def __init__(self) -> None:
        self._due: dict[str, None] = {}
        self._later: list[tuple[float, str]] = []
        self._times: dict[str, float] = {}
        """The earliest time of each endpoint in `_later`; its other entries there are out of date."""
        self._waiting: dict[str, dict[str, None]] = {}  # endpoints by origin, in the order in which they began to wait
        self._blocked: dict[str, None] = {}

    def mark_due(self, endpoint: str) -> None:
        """Notes that something may be due now."""
        self._due.setdefault(endpoint)

    def mark_due_at(self, endpoint: str, at: float) -> None:
        """Notes when something is due. The earliest time counts; whatever else is known of the endpoint stays."""
        if at < self._times.get(endpoint, float("inf")):
            self._times[endpoint] = at
            heapq.heappush(self._later, (at, endpoint))

    def due(self, now: float, limit: int) -> list[str]:
        """The endpoints that have been due longest. They stay due until `mark_idle` or `block_on_capacity`."""
        while self._later and self._later[0][0] <= now:
            at, endpoint = heapq.heappop(self._later)
            if self._times.get(endpoint) == at:
                del self._times[endpoint]
                self._due.setdefault(endpoint)
        return list(islice(self._due, limit))

    def mark_idle(self, endpoint: str) -> None:
        """Notes that nothing more can be claimed for the endpoint now."""
        self._due.pop(endpoint, None)
        self._blocked.pop(endpoint, None)
        origin = origin_of(endpoint)
        if waiting := self._waiting.get(origin):
            waiting.pop(endpoint, None)
            if not waiting:
                del self._waiting[origin]

    def wait_for_attempt(self, endpoint: str) -> None:
        """Makes the endpoint due when an attempt of its origin ends. Whatever else is known of it stays."""
        self._waiting.setdefault(origin_of(endpoint), {}).setdefault(endpoint)

    def block_on_capacity(self, endpoint: str) -> None:
        """Makes the endpoint due when an attempt of any endpoint ends: no capacity is left, whoever uses it."""
        self.mark_idle(endpoint)
        self._blocked[endpoint] = None

    def attempt_ended(self, endpoint: str, *, last: bool = False) -> None:
        """Makes endpoints due that waited for an attempt of this one, or for any attempt.
        `last`: no other attempt of its origin is in flight, so that none of its URLs must go on waiting for one."""
        origin = origin_of(endpoint)
        if waiting := self._waiting.get(origin):
            for name in list(waiting if last else islice(waiting, MAX_UNBLOCKED)):
                del waiting[name]
                self._due.setdefault(name)
            if not waiting:
                del self._waiting[origin]
        for name in list(islice(self._blocked, MAX_UNBLOCKED)):
            del self._blocked[name]
            self._due.setdefault(name)

    def seconds_until_due(self, now: float) -> float | None:
        """The time until `due` names an endpoint: 0.0 if it does now, None if nothing is known to come."""
        if self._due:
            return 0.0
        while self._later and self._times.get(self._later[0][1]) != self._later[0][0]:
            heapq.heappop(self._later)
        return max(0.0, self._later[0][0] - now) if self._later else None

    def forget_times(self) -> None:
        """Forgets all times, as the clock was set. A scan must follow."""
        self._later.clear()
        self._times.clear()


class Scheduler:
    """Plans claims, and learns from attempts. Times are epoch seconds, `monotonic` those of the monotonic clock."""

    def __init__(self, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self.due, self.breakers, self.concurrency = DueEndpoints(), Breakers(), ConcurrencyLimiter(max_in_flight)

    def plan(self, find: Callable[[str], Endpoint | None], now: float) -> dict[str, ClaimLimit]:
        """Endpoints to claim for, and how many deliveries. They are idle until `claimed` or `not_claimed` is called.
        `find`: `Config.endpoint`."""
        due, limits, total = self.due.due(now, MAX_ENDPOINTS_PER_BATCH), dict[str, ClaimLimit](), 0
        capacity = self.concurrency.capacity()
        urls, planned = Counter(map(origin_of, due)), dict[str, InFlight]()
        for name in due:
            endpoint, origin = find(name), origin_of(name)
            allowed = self.breakers.allowed(origin, now, endpoint.concurrency) if endpoint else 0
            in_flight = self.concurrency.of(origin)
            if not allowed:
                # An endpoint that is no longer configured is found again by the scan after a new configuration.
                self.due.mark_idle(name)
                if endpoint:
                    self.due.mark_due_at(name, self.breakers.opens_at(origin))
            elif in_flight.all >= allowed:
                self.due.mark_idle(name)
                self.due.wait_for_attempt(name)
            elif self.concurrency.is_full(in_flight):
                self.due.block_on_capacity(name)
            else:
                shared = planned.setdefault(origin, replace(in_flight))
                limit = fair_share(capacity, shared, allowed, urls[origin])
                urls[origin] -= 1
                if limit.all > 0:
                    limits[name] = limit
                    shared.all += limit.all
                    shared.retries += limit.all - limit.first
                    self.due.mark_idle(name)
                    total += limit.all
            if total >= MAX_CLAIMS_PER_BATCH:
                break
        return limits

    def claimed(self, limits: Mapping[str, ClaimLimit], claimed: Sequence[ClaimedDelivery]) -> None:
        """Takes note of a claim. An endpoint that filled its limit may have more due; where only retries filled theirs,
        there may be more retries when an attempt ends."""
        every = Counter(delivery.endpoint for delivery in claimed)
        retries = Counter(delivery.endpoint for delivery in claimed if delivery.attempts_since_replay > 1)
        for name, limit in limits.items():
            if every[name] >= limit.all:
                self.due.mark_due(name)
            elif retries[name] >= limit.all - limit.first:
                origin = origin_of(name)
                if self.concurrency.of(origin).all or any(origin_of(one.endpoint) == origin for one in claimed):
                    self.due.wait_for_attempt(name)
                else:  # no attempt will end
                    self.due.mark_due(name)

    def not_claimed(self, names: Iterable[str]) -> None:
        """Makes endpoints due again, as the store was not available."""
        for name in names:
            self.due.mark_due(name)

    def started(self, claimed: ClaimedDelivery) -> int:
        """Counts an attempt that starts, and returns the generation of its endpoint's breaker."""
        origin = origin_of(claimed.endpoint)
        self.concurrency.started(origin, claimed.attempts_since_replay > 1)
        return self.breakers.generation(origin)

    def finished(self, attempt: AttemptInFlight, result: AttemptResult, now: float, random: float) -> None:
        """Counts an attempt that ended, and tells its breaker. The next delivery of its ordering key may be due."""
        settled, endpoint = result.settled, attempt.endpoint
        quick = settled.status is not None and attempt.seconds < SLOW_ANSWER_SECONDS
        origin = self._ended(attempt, quick, settled.due)
        if result.weight == 0:
            self.breakers.record_success(origin, now, attempt.generation, endpoint.concurrency)
        elif result.weight is not None:
            breaker = self.breakers.get_or_create(origin, now)
            if result.pause is not None:
                breaker.pause(now, result.pause, settled.sentence, random)
            else:
                breaker.record_failure(
                    now, attempt.generation, result.weight, endpoint.concurrency, settled.sentence, random
                )

    def postponed(self, attempt: AttemptInFlight, due: float) -> None:
        """Takes back an attempt that was not made, for want of the gateway's own resources."""
        self._ended(attempt, None, due)

    def _ended(self, attempt: AttemptInFlight, quick: bool | None, due: float | None) -> str:
        name = attempt.endpoint.name
        origin = origin_of(name)
        left = self.concurrency.finished(origin, attempt.claimed.attempts_since_replay > 1, quick)
        self.due.attempt_ended(name, last=not left)
        self.due.mark_due(name)
        if due is not None:
            self.due.mark_due_at(name, due)
        return origin

    def mark_slow(self, attempts: Iterable[AttemptInFlight], monotonic: float) -> None:
        """Counts endpoints that have not answered for long as slow from now on, not only when they answer."""
        for attempt in attempts:
            if monotonic - attempt.started > SLOW_ANSWER_SECONDS:
                self.concurrency.set_quick(origin_of(attempt.endpoint.name), False)

    def clock_changed(self, seconds: float) -> None:
        """Forgets times that are wrong now that the clock was set. Set forward, endpoints are probed early; set back,
        none must be paused for that much longer."""
        self.due.forget_times()
        self.breakers.shift(min(seconds, 0.0))
