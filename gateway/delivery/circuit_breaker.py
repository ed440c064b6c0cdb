"""When an endpoint fails on and on it is left alone, asked now and then, and taken up again gently. Pure.

    closed ──fails on and on, or asks to wait──▶ open ──its time──▶ half_open ──fails──▶ open, for longer
       ▲                                          ▲                     │ well
       └──── as many as configured ──── ramp ◀────┼─────────────────────┘
                                          └─fails twice    side by side: 1, 2, 4 …

While it is open nothing is claimed: what is owed waits, and no attempt of it is counted. Half open, one delivery goes
out, a real one; its attempt counts as every attempt does, and where it fails its own next one is due by the schedule:
no delivery is tried more often than it would have been, and the next probe is another's.

What counts. An endpoint that is *down* (no connection, no name, no TLS, a reset, a timeout, 5xx, 408, 425, 429) opens
at the fifth failure in a row. Where it *refuses* (4xx, redirects, a page of errors behind a 200), that may lie in the
one message: five such weigh as much as one of the others, so it takes 25 in a row. With many attempts side by side it
takes more: a quarter of what may be in flight at once. One success, and the row begins anew.

`Retry-After` of a 429 or 503 opens at once, for the time that it asks.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.safe_http.models import Response
from gateway.safe_http.ssrf import is_url

IN_A_ROW = 5
LIGHT, HEAVY = 1, 5
"""What a refusal weighs, and what a failure of the endpoint as a whole."""
SHARE = 4
"""A row must be as long as this part of the attempts that may be side by side."""
WAITS = (5.0, 10.0, 20.0, 40.0, 60.0)
"""Seconds that it is open, the first time, the second … each ±20 %."""
SPREAD = 0.2
LONGEST_ASKED = 3600.0
"""Seconds: no endpoint stops its deliveries for longer by asking."""

DOWN = frozenset({"name", "refused_address", "connect", "tls", "certificate", "timeout", "reset", "proxy"})
"""Kinds of `Failure` that speak of the endpoint, whatever the message."""
_DOWN_STATUS = frozenset({408, 425, 429})
_MAY_ASK = frozenset({429, 503})

CLOSED, OPEN, HALF_OPEN, RAMP = "closed", "open", "half_open", "ramp"


def weigh(answer: Response, succeeded: bool) -> int:
    """What an attempt says of its endpoint: nothing is wrong (0), `LIGHT` or `HEAVY`."""
    if succeeded:
        return 0
    if answer.failure is not None:
        return HEAVY if answer.failure.kind in DOWN else LIGHT
    status = answer.status or 0
    if status == 410:
        return 0  # an answer that settles the delivery, and well meant
    return HEAVY if status >= 500 or status in _DOWN_STATUS else LIGHT


def asked(answer: Response, retry_after: float | None) -> float | None:
    """Seconds for which the endpoint wants nobody's deliveries."""
    if answer.status not in _MAY_ASK or not retry_after or answer.failure is not None:
        return None
    return min(retry_after, LONGEST_ASKED)


@dataclass(slots=True)
class Breaker:
    """Of one endpoint. Times are epoch seconds."""

    since: float
    state: str = CLOSED
    until: float = 0.0
    """While it is open: when it is probed."""
    reason: str = ""
    """Why it opened last: a sentence for people."""
    failures: int = 0
    """In a row."""
    turn: int = 0
    """How often it has opened. An attempt that began in an earlier turn says nothing of this one."""
    _weight: int = 0
    _opened: int = 0
    """Times since it was closed last: the wait grows with it."""
    _limit: int = 0
    _well: int = 0

    def allows(self, now: float, concurrency: int) -> int:
        """Attempts that may be in flight."""
        if self.state == CLOSED:
            return concurrency
        if self.state == OPEN and now >= self.until:
            self._become(HALF_OPEN, now)
        if self.state == OPEN:
            return 0
        return min(1 if self.state == HALF_OPEN else self._limit, concurrency)

    def well(self, now: float, turn: int, concurrency: int) -> None:
        """An attempt that began in this turn found nothing wrong."""
        if turn != self.turn or self.state == OPEN:
            return
        self.failures = self._weight = 0
        if self.state == HALF_OPEN:
            self._become(RAMP, now)
            self._limit, self._well = 1, 0
        if self.state == RAMP:
            self._climb(now, concurrency)

    def ill(self, now: float, turn: int, weight: int, concurrency: int, reason: str, dice: float) -> None:
        """An attempt failed. `dice`: 0 up to 1."""
        if turn != self.turn or self.state == OPEN:
            return
        self.failures += 1
        self._weight += weight
        if self._weight >= self._bears(concurrency):
            wait = WAITS[min(self._opened, len(WAITS) - 1)]
            self._open(now, now + wait * (1 - SPREAD + 2 * SPREAD * dice), reason)
            self._opened += 1

    def pause(self, now: float, seconds: float, reason: str, dice: float) -> None:
        """The endpoint asked for it. Said once more while it is open: the later end counts, they are not added."""
        until = now + seconds * (1 + SPREAD * dice)
        if self.state != OPEN:
            self.failures += 1
            self._open(now, until, reason)
        elif now + seconds > self.until:
            self.until = until

    def shift(self, seconds: float) -> None:
        """The clock was set by so much."""
        self.since += seconds
        self.until += seconds

    def _bears(self, concurrency: int) -> int:
        """Weight at which it opens. Of an endpoint that fails now and then, a ramp must not be the end each time."""
        if self.state == CLOSED:
            return HEAVY * max(IN_A_ROW, concurrency // SHARE)
        return LIGHT if self.state == HALF_OPEN else 2 * HEAVY

    def _climb(self, now: float, concurrency: int) -> None:
        """As many successes as may be side by side, and twice as many may."""
        self._well += 1
        if self._well >= self._limit:
            self._limit, self._well = self._limit * 2, 0
        if self._limit >= concurrency:
            self._opened = 0
            self._become(CLOSED, now)

    def _open(self, now: float, until: float, reason: str) -> None:
        self._become(OPEN, now)
        self.until, self.reason, self._weight = until, reason, 0
        self.turn += 1

    def _become(self, state: str, now: float) -> None:
        self.state, self.since = state, now


STRANGERS = 256
"""Origins of URLs that came with requests whose breakers are remembered: those that failed last."""


class Breakers:
    """Of all endpoints; those that never failed have none. None of the configuration is dropped: a turn must never be
    counted anew. Of strangers there may be any number."""

    def __init__(self) -> None:
        self._of: dict[str, Breaker] = {}
        self._strangers: dict[str, None] = {}
        self._first = 0
        """The turn of an endpoint without a breaker: beyond those of all that were dropped."""
        self._said: dict[str, str] = {}
        self._touched: set[str] = set()

    def turn(self, endpoint: str) -> int:
        """To be kept with an attempt that begins now."""
        breaker = self._of.get(endpoint)
        return breaker.turn if breaker else self._first

    def allows(self, endpoint: str, now: float, concurrency: int) -> int:
        """Attempts that may be in flight."""
        breaker = self._of.get(endpoint)
        if breaker is None or breaker.state == CLOSED:
            return concurrency
        self._touched.add(endpoint)
        return breaker.allows(now, concurrency)

    def opens_at(self, endpoint: str) -> float:
        """When an open one is probed."""
        return self._of[endpoint].until

    def well(self, endpoint: str, now: float, turn: int, concurrency: int) -> None:
        breaker = self._of.get(endpoint)
        if breaker is not None:
            breaker.well(now, turn, concurrency)
            self._touched.add(endpoint)

    def touch(self, endpoint: str, now: float) -> Breaker:
        """The endpoint's own, to be told of a failure."""
        breaker = self._of.get(endpoint)
        if breaker is None:
            breaker = self._of[endpoint] = Breaker(since=now, turn=self._first)
        self._touched.add(endpoint)
        if is_url(endpoint):
            self._strangers.pop(endpoint, None)
            self._strangers[endpoint] = None
            if len(self._strangers) > STRANGERS:
                self._drop(next(iter(self._strangers)))
        return breaker

    def _drop(self, endpoint: str) -> None:
        del self._strangers[endpoint]
        self._first = max(self._first, self._of.pop(endpoint).turn + 1)
        self._said.pop(endpoint, None)
        self._touched.discard(endpoint)

    def shift(self, seconds: float) -> None:
        """The clock was set by so much."""
        for breaker in self._of.values():
            breaker.shift(seconds)

    def not_closed(self) -> list[tuple[str, Breaker]]:
        return [(endpoint, one) for endpoint, one in self._of.items() if one.state != CLOSED]

    def changes(self) -> list[tuple[str, Breaker]]:
        """Those that are in another state than when this was last asked."""
        touched = [(endpoint, self._of[endpoint]) for endpoint in self._touched]
        self._touched.clear()
        return [(endpoint, one) for endpoint, one in touched if self._is_news(endpoint, one)]

    def _is_news(self, endpoint: str, one: Breaker) -> bool:
        before = self._said.pop(endpoint, CLOSED)
        if one.state != CLOSED:
            self._said[endpoint] = one.state
        return before != one.state
