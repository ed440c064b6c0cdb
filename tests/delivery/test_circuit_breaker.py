"""When an endpoint is left alone, asked again, and taken up again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.delivery.circuit_breaker import (
    CLOSED,
    DOWN,
    HALF_OPEN,
    HEAVY,
    IN_A_ROW,
    LIGHT,
    LONGEST_ASKED,
    OPEN,
    RAMP,
    SPREAD,
    WAITS,
    Breaker,
    Breakers,
    asked,
    weigh,
)
from gateway.safe_http.models import Failure, Response
from tests import examples

NOW = 1_700_000_000.0
WIDE = 8
MIDDLE = 0.5


def failing(breaker: Breaker, times: int, *, now: float = NOW, weight: int = HEAVY, concurrency: int = WIDE) -> None:
    for _ in range(times):
        breaker.ill(now, breaker.turn, weight, concurrency, "answered 500", MIDDLE)


def opened(times: int = 1) -> Breaker:
    breaker = Breaker(since=NOW)
    failing(breaker, IN_A_ROW)
    for _ in range(times - 1):
        assert breaker.allows(breaker.until, WIDE) == 1
        failing(breaker, 1, now=breaker.until)
    return breaker


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 408, 425, 429])
def test_what_speaks_of_the_endpoint(status: int) -> None:
    assert weigh(Response(status=status), False) == HEAVY


@pytest.mark.parametrize("kind", sorted(DOWN))
def test_no_answer_speaks_of_the_endpoint(kind: str) -> None:
    assert weigh(Response(failure=Failure(kind=kind, sentence="so")), False) == HEAVY


@pytest.mark.parametrize("status", [200, 301, 302, 400, 401, 403, 404, 413, 422])
def test_what_may_lie_in_the_message(status: int) -> None:
    """A 200 that is no success has a page of errors behind it."""
    assert weigh(Response(status=status), False) == LIGHT
    assert weigh(Response(status=status, failure=Failure(kind="too_large", sentence="so")), False) == LIGHT


def test_what_is_well() -> None:
    assert (
        weigh(Response(status=200), True)
        == weigh(Response(status=503), True)
        == weigh(Response(status=410), False)
        == 0
    )


def test_who_may_ask_for_a_pause() -> None:
    assert asked(Response(status=429), 30.0) == asked(Response(status=503), 30.0) == 30.0
    assert (
        asked(Response(status=500), 30.0)
        is asked(Response(status=429), None)
        is asked(Response(status=503), 0.0)
        is None
    )
    assert asked(Response(status=503), 1e9) == LONGEST_ASKED
    assert asked(Response(status=503, failure=Failure(kind="reset", sentence="so")), 30.0) is None


def test_five_in_a_row_open_it() -> None:
    breaker = Breaker(since=NOW)
    failing(breaker, IN_A_ROW - 1)
    assert breaker.state == CLOSED and breaker.allows(NOW, WIDE) == WIDE
    failing(breaker, 1)
    assert (breaker.state, breaker.until, breaker.reason) == (OPEN, NOW + WAITS[0], "answered 500")
    assert breaker.allows(NOW, WIDE) == 0 and breaker.failures == IN_A_ROW


def test_a_success_begins_the_row_anew() -> None:
    breaker = Breaker(since=NOW)
    for _ in range(10):
        failing(breaker, IN_A_ROW - 1)
        breaker.well(NOW, breaker.turn, WIDE)
    assert breaker.state == CLOSED and not breaker.failures


def test_refusals_open_it_when_they_go_on_and_on() -> None:
    breaker = Breaker(since=NOW)
    failing(breaker, IN_A_ROW * HEAVY - 1, weight=LIGHT)
    assert breaker.state == CLOSED
    failing(breaker, 1, weight=LIGHT)
    assert breaker.state == OPEN


def test_with_many_side_by_side_it_takes_more() -> None:
    breaker = Breaker(since=NOW)
    failing(breaker, 24, concurrency=100)
    assert breaker.state == CLOSED
    failing(breaker, 1, concurrency=100)
    assert breaker.state == OPEN


def test_what_was_in_flight_does_not_lengthen_it() -> None:
    breaker, turn = Breaker(since=NOW), 0
    for _ in range(IN_A_ROW + 20):
        breaker.ill(NOW, turn, HEAVY, WIDE, "timeout", MIDDLE)
    assert breaker.until == NOW + WAITS[0]
    breaker.well(NOW, turn, WIDE)
    assert breaker.state == OPEN
    assert breaker.allows(breaker.until, WIDE) == 1
    breaker.ill(breaker.until, turn, HEAVY, WIDE, "timeout", MIDDLE)
    breaker.well(breaker.until, turn, WIDE)
    assert breaker.state == HALF_OPEN, "neither is the probe"


def test_half_open_lets_one_through() -> None:
    breaker = opened()
    assert breaker.allows(breaker.until - 0.001, WIDE) == 0
    assert breaker.allows(breaker.until, WIDE) == 1 and breaker.state == HALF_OPEN


def test_it_waits_longer_each_time_but_never_for_long() -> None:
    for times in range(1, 12):
        breaker = opened(times)
        assert breaker.until - breaker.since == pytest.approx(WAITS[min(times, len(WAITS)) - 1])
        assert breaker.until - breaker.since <= 60 * (1 + SPREAD)


def test_it_climbs_step_by_step() -> None:
    breaker, now, seen = opened(), NOW + WAITS[0], []
    while breaker.state != CLOSED:
        seen.append(breaker.allows(now, WIDE))
        breaker.well(now, breaker.turn, WIDE)
    assert seen == [1, 2, 2, 4, 4, 4, 4]
    assert breaker.allows(now, WIDE) == WIDE
    failing(breaker, IN_A_ROW, now=now)
    assert breaker.until == now + WAITS[0], "the first time again"


def test_one_failure_on_the_way_up_is_borne_two_are_not() -> None:
    breaker = opened()
    now = breaker.until
    assert breaker.allows(now, WIDE) == 1
    breaker.well(now, breaker.turn, WIDE)
    failing(breaker, 1, now=now)
    assert breaker.state == RAMP
    breaker.well(now, breaker.turn, WIDE)
    failing(breaker, 2, now=now)
    assert (breaker.state, breaker.until) == (OPEN, now + WAITS[1])


def test_with_one_at_a_time_the_probe_closes_it() -> None:
    breaker = opened()
    assert breaker.allows(breaker.until, 1) == 1
    breaker.well(breaker.until, breaker.turn, 1)
    assert breaker.state == CLOSED


def test_a_pause_that_was_asked_for() -> None:
    breaker = Breaker(since=NOW)
    breaker.pause(NOW, 30, "answered 429", 0.0)
    assert (breaker.state, breaker.until) == (OPEN, NOW + 30)
    for _ in range(5):
        breaker.pause(NOW + 1, 30, "answered 429", 0.0)
    assert breaker.until == NOW + 31, "not added up"
    breaker.pause(NOW + 1, 5, "answered 429", 0.0)
    assert breaker.until == NOW + 31, "nor cut short"
    assert breaker.allows(NOW + 31, WIDE) == 1


def test_the_clock_was_set_back() -> None:
    breaker = opened()
    breaker.shift(-3600)
    assert breaker.allows(NOW - 3600, WIDE) == 0 and breaker.allows(NOW - 3600 + WAITS[0], WIDE) == 1


def test_those_that_never_failed_have_none() -> None:
    breakers = Breakers()
    assert breakers.allows("crm", NOW, WIDE) == WIDE and breakers.turn("crm") == 0
    breakers.well("crm", NOW, 0, WIDE)
    assert breakers.changes() == breakers.not_closed() == []


def test_changes_are_told_once() -> None:
    breakers = Breakers()
    failing(breakers.touch("crm", NOW), IN_A_ROW)
    failing(breakers.touch("other", NOW), 1)
    ((name, breaker),) = breakers.changes()
    assert (name, breaker.state) == ("crm", OPEN) and breakers.changes() == []
    assert breakers.opens_at("crm") == breaker.until and breakers.turn("crm") == 1
    assert breakers.allows("crm", breaker.until, WIDE) == 1
    assert [(name, one.state) for name, one in breakers.changes()] == [("crm", HALF_OPEN)]
    for _ in range(WIDE):
        breakers.well("crm", NOW + 9, 1, WIDE)
    assert [(name, one.state) for name, one in breakers.changes()] == [("crm", CLOSED)]
    assert breakers.changes() == breakers.not_closed() == []
    breakers.shift(5)


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 100))
def test_it_is_open_only_after_failures(answers: list[bool], concurrency: int) -> None:
    breaker, now, row = Breaker(since=NOW), NOW, 0
    for well in answers:
        if not breaker.allows(now, concurrency):
            now = breaker.until
            breaker.allows(now, concurrency)
        if well:
            breaker.well(now, breaker.turn, concurrency)
        else:
            breaker.ill(now, breaker.turn, HEAVY, concurrency, "no", MIDDLE)
        row = 0 if well else row + 1
        assert breaker.state != OPEN or row
        assert well or breaker.state != HALF_OPEN


class Life(RuleBasedStateMachine):
    """Attempts begin and end in any order, as the breaker allows."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.breaker = Breaker(since=NOW)
        self.flying: list[int] = []

    @rule()
    def begin(self) -> None:
        if len(self.flying) < self.breaker.allows(self.now, WIDE):
            self.flying.append(self.breaker.turn)

    @rule(well=st.booleans(), which=st.integers(0, 100), weight=st.sampled_from([LIGHT, HEAVY]), dice=st.floats(0, 1))
    def end(self, well: bool, which: int, weight: int, dice: float) -> None:
        if self.flying:
            turn = self.flying.pop(which % len(self.flying))
            if well:
                self.breaker.well(self.now, turn, WIDE)
            else:
                self.breaker.ill(self.now, turn, weight, WIDE, "no", dice)

    @rule(seconds=st.floats(0.1, 100), dice=st.floats(0, 1))
    def ask(self, seconds: float, dice: float) -> None:
        self.breaker.pause(self.now, seconds, "429", dice)

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def it_never_allows_more_than_configured_and_never_waits_for_ever(self) -> None:
        allowed = self.breaker.allows(self.now, WIDE)
        assert 0 <= allowed <= WIDE and (allowed > 0 or self.now < self.breaker.until <= self.now + 120)

    @invariant()
    def what_is_half_open_lets_one_through(self) -> None:
        assert self.breaker.state != HALF_OPEN or self.breaker.allows(self.now, WIDE) == 1

    def teardown(self) -> None:
        """However it stands, an endpoint that is well again is closed after a while."""
        for _ in range(100):
            if not self.breaker.allows(self.now, WIDE):
                self.now = self.breaker.until
                self.breaker.allows(self.now, WIDE)
            self.breaker.well(self.now, self.breaker.turn, WIDE)
        assert self.breaker.state == CLOSED


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=examples(40, 400), stateful_step_count=40)
