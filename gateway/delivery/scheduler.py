"""Who is looked at next, and for how many: the agenda, the breakers and the room in flight, taken together.

Of URLs that came with requests the agenda knows each by itself; breakers and room they have by origin, together.

All of it is in memory alone. What the store has comes in by `DueEndpoints.scanned`, and again after a restart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from gateway.config import Endpoint
from gateway.delivery.circuit_breaker import Breaker, Breakers
from gateway.delivery.due import DueEndpoints
from gateway.delivery.result import Attempt, AttemptResult
from gateway.delivery.rooms import MOST_IN_FLIGHT, SLOW, ConcurrencyLimiter
from gateway.delivery.shares import Shares
from gateway.safe_http.ssrf import origin_of
from gateway.store.breakers import BreakerState
from gateway.store.leases import ClaimedDelivery, ClaimLimit

MOST_LOOKS = 64
"""Endpoints looked at in one transaction."""
MOST_CLAIMS = 256
"""Deliveries taken in one transaction, or one endpoint's room more."""


class Scheduler:
    """Times are epoch seconds, but where it says steady: those of the clock that nobody sets."""

    def __init__(self, most: int = MOST_IN_FLIGHT) -> None:
        self.agenda, self.breakers, self.rooms = DueEndpoints(), Breakers(), ConcurrencyLimiter(most)

    def plan(self, find: Callable[[str], Endpoint | None], now: float) -> dict[str, ClaimLimit]:
        """Whom to claim for, and how much; they are off the agenda until `claimed` or `not_claimed` is told.

        `find`: `Config.endpoint`.
        """
        plan, rooms, places = self.rooms.plan(), dict[str, ClaimLimit](), 0
        due = self.agenda.due(now, MOST_LOOKS)
        shares = Shares(due)
        for name in due:
            allowed = self._allowed(name, find(name), now)
            if not allowed:
                continue
            crowd = self.rooms.of(origin_of(name))
            if crowd.all >= allowed:
                self.agenda.wait_for_own(name)
            elif self.rooms.is_full(crowd):
                self.agenda.wait_for_any(name)
            elif (room := shares.take(plan, name, crowd, allowed)).all > 0:
                rooms[name] = room
                self.agenda.looked(name)
                places += room.all
            if places >= MOST_CLAIMS:
                break
        return rooms

    def _allowed(self, name: str, endpoint: Endpoint | None, now: float) -> int:
        """How many may be in flight; with none it is off the agenda, and back on it when its breaker lets one through.

        Deliveries to an endpoint that is no longer configured wait for its return: a new configuration is a scan.
        """
        allowed = self.breakers.allows(origin_of(name), now, endpoint.concurrency) if endpoint else 0
        if not allowed:
            self.agenda.looked(name)
            if endpoint:
                self.agenda.look_at(name, self.breakers.opens_at(origin_of(name)))
        return allowed

    def claimed(self, rooms: Mapping[str, ClaimLimit], claimed: Sequence[ClaimedDelivery]) -> None:
        """What there was for them. Where it was all that there was room for, there may be more; where only repetitions
        filled theirs, there may be more of these, when one comes back."""
        every = Counter(one.endpoint for one in claimed)
        tried = Counter(one.endpoint for one in claimed if one.attempts_since_replay > 1)
        for name, room in rooms.items():
            if every[name] >= room.all:
                self.agenda.look(name)
            elif tried[name] >= room.all - room.first:
                self._again(name, claimed)

    def _again(self, name: str, claimed: Sequence[ClaimedDelivery]) -> None:
        """There may be repetitions: when one of the origin comes back, or at once where none is under way."""
        where = origin_of(name)
        if self.rooms.of(where).all or any(origin_of(one.endpoint) == where for one in claimed):
            self.agenda.more_when_own_ends(name)
        else:
            self.agenda.look(name)

    def not_claimed(self, rooms: Iterable[str]) -> None:
        """The store was not there."""
        for name in rooms:
            self.agenda.look(name)

    def begins(self, claimed: ClaimedDelivery) -> int:
        """An attempt leaves; the turn of its endpoint's breaker."""
        where = origin_of(claimed.endpoint)
        self.rooms.begins(where, claimed.attempts_since_replay > 1)
        return self.breakers.turn(where)

    def put_off(self, attempt: Attempt, due: float) -> None:
        """It never left, for reasons of our own."""
        name = attempt.endpoint.name
        self.rooms.leaves(origin_of(name), attempt.tried)
        self.agenda.ended(name, last=not self.rooms.of(origin_of(name)).all)
        self.agenda.look(name)
        self.agenda.look_at(name, due)

    def ended(self, attempt: Attempt, judged: AttemptResult, now: float, dice: float) -> None:
        """An attempt came back: there is room, and perhaps the next of its ordering key; the breaker learns of it."""
        name = attempt.endpoint.name
        self.rooms.ends(origin_of(name), attempt.tried, attempt.seconds, judged.settled.status is not None)
        self.agenda.ended(name, last=not self.rooms.of(origin_of(name)).all)
        self.agenda.look(name)
        if judged.settled.due is not None:
            self.agenda.look_at(name, judged.settled.due)
        self._learn(attempt, judged, now, dice)

    def _learn(self, attempt: Attempt, judged: AttemptResult, now: float, dice: float) -> None:
        endpoint, where, sentence = attempt.endpoint, origin_of(attempt.endpoint.name), judged.settled.sentence
        if judged.weight is None:
            return
        if not judged.weight:
            self.breakers.well(where, now, attempt.turn, endpoint.concurrency)
            return
        breaker = self.breakers.touch(where, now)
        if judged.pause is not None:
            breaker.pause(now, judged.pause, sentence, dice)
        else:
            breaker.ill(now, attempt.turn, judged.weight, endpoint.concurrency, sentence, dice)

    def hang(self, attempts: Iterable[Attempt], steady: float) -> None:
        """Endpoints that have not answered for long count as slow from now on, not only when they answer."""
        self.rooms.hang({origin_of(one.endpoint.name) for one in attempts if steady - one.begun > SLOW})

    def clock_was_set(self, step: float) -> None:
        """Set forward, an endpoint is asked again early; set back, it must not be left alone for that much longer."""
        self.agenda.forget()
        self.breakers.shift(min(step, 0.0))


def shown(endpoint: str, breaker: Breaker) -> BreakerState:
    """As it is written down for people."""
    return BreakerState(
        endpoint=endpoint,
        state=breaker.state,
        since=breaker.since,
        until=breaker.until,
        reason=breaker.reason,
        failures=breaker.failures,
    )
