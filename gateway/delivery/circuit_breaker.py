"""Pauses an endpoint that keeps failing, probes it now and then, and takes it up again step by step. Pure.

    closed ──keeps failing, or asks to wait──▶ open ──its time──▶ half_open ──fails──▶ open, for longer
       ▲                                        ▲                     │ succeeds
       └─────── concurrency reached ──── ramp ◀─┼─────────────────────┘
                                          └─fails twice    attempts in flight: 1, 2, 4 …

While a breaker is open nothing is claimed for its endpoint: deliveries wait, and no attempt of theirs is counted. Half
open, one real delivery is attempted; that attempt counts as any other, and if it fails, the delivery's next one is due
by the schedule: no delivery is attempted more often than without a breaker, and another one is the next probe.

An endpoint that is *down* (no connection, no name, no TLS, a reset, a timeout, 5xx, 408, 425, 429) opens its breaker by
the fifth failure in a row. Where it *refuses* (4xx, redirects, an error page behind a 200), the one message may be the
cause: five refusals weigh as much as one failure of the other kind, so it takes 25 in a row. With a high concurrency it
takes more: a quarter of the attempts that may be in flight. One success ends the row.

`Retry-After` of a 429 or 503 opens the breaker at once, for the time that it asks for.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config.model import is_url
from gateway.safe_http.models import Response

FAILURES_TO_OPEN = 5
LIGHT, HEAVY = 1, 5  # weights of a refusal, and of a failure of the whole endpoint
CONCURRENCY_DIVISOR = 4  # a row of failures must be at least as long as a quarter of the concurrency
OPEN_SECONDS = (5.0, 10.0, 20.0, 40.0, 60.0)  # how long a breaker is open the first time, the second … each ±20 %
JITTER = 0.2
MAX_REQUESTED_PAUSE_SECONDS = 3600.0  # no endpoint stops its deliveries for longer by asking
MAX_URL_BREAKERS = 256  # breakers kept for origins of URLs that came with requests: those that failed last

DOWN_FAILURES = frozenset({"name", "refused_address", "connect", "tls", "certificate", "timeout", "reset", "proxy"})
"""Kinds of `Failure` that are about the endpoint, whatever the message."""
_DOWN_STATUSES = frozenset({408, 425, 429})
_PAUSE_STATUSES = frozenset({429, 503})

CLOSED, OPEN, HALF_OPEN, RAMP = "closed", "open", "half_open", "ramp"


def failure_weight(response: Response) -> int:
    """How much an attempt without success counts against its endpoint: not at all (0), `LIGHT` or `HEAVY`."""
    if response.failure is not None:
        return HEAVY if response.failure.kind in DOWN_FAILURES else LIGHT
    status = response.status or 0
    if status == 410:
        return 0  # the endpoint works: its answer settles the delivery
    return HEAVY if status >= 500 or status in _DOWN_STATUSES else LIGHT


def requested_pause(response: Response, retry_after: float | None) -> float | None:
    """Seconds for which the endpoint asks to get no deliveries at all; None if it does not ask."""
    if response.status not in _PAUSE_STATUSES or not retry_after or response.failure is not None:
        return None
    return min(retry_after, MAX_REQUESTED_PAUSE_SECONDS)


@dataclass(slots=True)
class Breaker:
    """The circuit breaker of one endpoint. Times are epoch seconds."""

    since: float
    state: str = CLOSED
    until: float = 0.0  # while it is open: when the endpoint is probed
    reason: str = ""  # why it opened last: a sentence for people
    failures: int = 0  # the number of failures in a row
    generation: int = 0
    """How often it has opened. An attempt that began in an earlier generation says nothing of this one."""
    _weight: int = 0
    _times_opened: int = 0  # counted since it was closed last: the pause grows with it
    _limit: int = 0
    _successes: int = 0
    reported: str = CLOSED  # the state when `Breakers.changes` looked last

    def allowed(self, now: float, concurrency: int) -> int:
        """The number of attempts that may be in flight."""
        if self.state == CLOSED:
            return concurrency
        if self.state == OPEN and now >= self.until:
            self.state, self.since = HALF_OPEN, now
        if self.state == OPEN:
            return 0
        return min(1 if self.state == HALF_OPEN else self._limit, concurrency)

    def record_success(self, now: float, generation: int, concurrency: int) -> None:
        """Counts an attempt, begun in `generation`, that found nothing wrong with the endpoint."""
        if generation != self.generation or self.state == OPEN:
            return
        self.failures = self._weight = 0
        if self.state == HALF_OPEN:
            self.state, self.since = RAMP, now
            self._limit, self._successes = 1, 0
        if self.state == RAMP:
            # After as many successes as may be in flight, twice as many may.
            self._successes += 1
            if self._successes >= self._limit:
                self._limit, self._successes = self._limit * 2, 0
            if self._limit >= concurrency:
                self._times_opened = 0
                self.state, self.since = CLOSED, now

    def record_failure(
        self, now: float, generation: int, weight: int, concurrency: int, reason: str, random: float
    ) -> None:
        """Counts an attempt, begun in `generation`, that failed. `random`: 0 up to 1."""
        if generation != self.generation or self.state == OPEN:
            return
        self.failures += 1
        self._weight += weight
        if self.state == CLOSED:
            limit = HEAVY * max(FAILURES_TO_OPEN, concurrency // CONCURRENCY_DIVISOR)
        else:
            # One failure does not end a ramp: an endpoint that fails now and then would never finish one.
            limit = LIGHT if self.state == HALF_OPEN else 2 * HEAVY
        if self._weight >= limit:
            seconds = OPEN_SECONDS[min(self._times_opened, len(OPEN_SECONDS) - 1)]
            self._open(now, now + seconds * (1 - JITTER + 2 * JITTER * random), reason)
            self._times_opened += 1

    def pause(self, now: float, seconds: float, reason: str, random: float) -> None:
        """Opens for as long as the endpoint asks. Of several requests the latest end counts; times are not added up."""
        until = now + seconds * (1 + JITTER * random)
        if self.state != OPEN:
            self.failures += 1
            self._open(now, until, reason)
        elif now + seconds > self.until:
            self.until = until

    def _open(self, now: float, until: float, reason: str) -> None:
        self.state, self.since = OPEN, now
        self.until, self.reason, self._weight = until, reason, 0
        self.generation += 1


class Breakers:
    """The breakers of all endpoints; an endpoint that never failed has none.
    None that belongs to the configuration is dropped, or its generations would start anew. URLs that came with requests
    may be any number, so of theirs only the last ones are kept."""

    def __init__(self) -> None:
        self._of: dict[str, Breaker] = {}
        self._of_urls: dict[str, None] = {}  # origins of URLs, in the order of their last failures
        self._first_generation = 0
        """For an endpoint without a breaker: later than all generations of those that were dropped."""
        self._touched: set[str] = set()

    def generation(self, endpoint: str) -> int:
        """The generation in which an attempt that starts now begins."""
        breaker = self._of.get(endpoint)
        return breaker.generation if breaker else self._first_generation

    def allowed(self, endpoint: str, now: float, concurrency: int) -> int:
        breaker = self._of.get(endpoint)
        if breaker is None or breaker.state == CLOSED:
            return concurrency
        self._touched.add(endpoint)
        return breaker.allowed(now, concurrency)

    def opens_at(self, endpoint: str) -> float:
        """When an endpoint with an open breaker is probed."""
        return self._of[endpoint].until

    def record_success(self, endpoint: str, now: float, generation: int, concurrency: int) -> None:
        if breaker := self._of.get(endpoint):
            breaker.record_success(now, generation, concurrency)
            self._touched.add(endpoint)

    def get_or_create(self, endpoint: str, now: float) -> Breaker:
        """The endpoint's breaker, to record a failure in."""
        breaker = self._of.get(endpoint)
        if breaker is None:
            breaker = self._of[endpoint] = Breaker(since=now, generation=self._first_generation)
        self._touched.add(endpoint)
        if is_url(endpoint):
            self._of_urls.pop(endpoint, None)
            self._of_urls[endpoint] = None
            if len(self._of_urls) > MAX_URL_BREAKERS:
                dropped = next(iter(self._of_urls))
                del self._of_urls[dropped]
                self._first_generation = max(self._first_generation, self._of.pop(dropped).generation + 1)
                self._touched.discard(dropped)
        return breaker

    def shift(self, seconds: float) -> None:
        """Moves all times: the clock was set by so much."""
        for breaker in self._of.values():
            breaker.since += seconds
            breaker.until += seconds

    def not_closed(self) -> list[tuple[str, Breaker]]:
        return [(endpoint, breaker) for endpoint, breaker in self._of.items() if breaker.state != CLOSED]

    def changes(self) -> list[tuple[str, Breaker]]:
        """The breakers that are in another state than at the last call."""
        touched = [(endpoint, self._of[endpoint]) for endpoint in self._touched]
        self._touched.clear()
        changed = [(endpoint, breaker) for endpoint, breaker in touched if breaker.state != breaker.reported]
        for _, breaker in changed:
            breaker.reported = breaker.state
        return changed
