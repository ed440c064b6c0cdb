"""When an endpoint is left alone, asked again, and taken up again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.delivery.circuit_breaker import (
    CLOSED,
    DOWN_FAILURES,
    FAILURES_TO_OPEN,
    HALF_OPEN,
    HEAVY,
    JITTER,
    LIGHT,
    MAX_REQUESTED_PAUSE_SECONDS,
    OPEN,
    OPEN_SECONDS,
    RAMP,
    Breaker,
    Breakers,
    failure_weight,
    requested_pause,
)
from gateway.safe_http.models import Failure, Response
from tests import examples

NOW = 1_700_000_000.0
WIDE = 8
MIDDLE = 0.5


def failing(breaker: Breaker, times: int, *, now: float = NOW, weight: int = HEAVY, concurrency: int = WIDE) -> None:
    for _ in range(times):
        breaker.record_failure(now, breaker.generation, weight, concurrency, "answered 500", MIDDLE)


def opened(times: int = 1) -> Breaker:
    breaker = Breaker(since=NOW)
    failing(breaker, FAILURES_TO_OPEN)
    for _ in range(times - 1):
        assert breaker.allowed(breaker.until, WIDE) == 1
        failing(breaker, 1, now=breaker.until)
    return breaker


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 408, 425, 429])
def test_what_speaks_of_the_endpoint(status: int) -> None:
    assert failure_weight(Response(status=status)) == HEAVY


@pytest.mark.parametrize("kind", sorted(DOWN_FAILURES))
def test_no_answer_speaks_of_the_endpoint(kind: str) -> None:
    assert failure_weight(Response(failure=Failure(kind=kind, sentence="so"))) == HEAVY


@pytest.mark.parametrize("status", [200, 301, 302, 400, 401, 403, 404, 413, 422])
def test_what_may_lie_in_the_message(status: int) -> None:
    """A 200 that is no success has a page of errors behind it."""
    assert failure_weight(Response(status=status)) == LIGHT
    assert failure_weight(Response(status=status, failure=Failure(kind="too_large", sentence="so"))) == LIGHT


def test_a_page_that_is_gone_says_nothing_of_the_endpoint() -> None:
    assert failure_weight(Response(status=410)) == 0


def test_who_may_ask_for_a_pause() -> None:
    assert requested_pause(Response(status=429), 30.0) == requested_pause(Response(status=503), 30.0) == 30.0
    assert (
        requested_pause(Response(status=500), 30.0)
        is requested_pause(Response(status=429), None)
        is requested_pause(Response(status=503), 0.0)
        is None
    )
    assert requested_pause(Response(status=503), 1e9) == MAX_REQUESTED_PAUSE_SECONDS
    assert requested_pause(Response(status=503, failure=Failure(kind="reset", sentence="so")), 30.0) is None


def test_five_in_a_row_open_it() -> None:
    breaker = Breaker(since=NOW)
    failing(breaker, FAILURES_TO_OPEN - 1)
    assert breaker.state == CLOSED and breaker.allowed(NOW, WIDE) == WIDE
    failing(breaker, 1)
    assert (breaker.state, breaker.until, breaker.reason) == (OPEN, NOW + OPEN_SECONDS[0], "answered 500")
    assert breaker.allowed(NOW, WIDE) == 0 and breaker.failures == FAILURES_TO_OPEN


def test_a_success_begins_the_row_anew() -> None:
    breaker = Breaker(since=NOW)
    for _ in range(10):
        failing(breaker, FAILURES_TO_OPEN - 1)
        breaker.record_success(NOW, breaker.generation, WIDE)
    assert breaker.state == CLOSED and not breaker.failures


def test_refusals_open_it_when_they_go_on_and_on() -> None:
    breaker = Breaker(since=NOW)
    failing(breaker, FAILURES_TO_OPEN * HEAVY - 1, weight=LIGHT)
    assert breaker.state == CLOSED
    failing(breaker, 1, weight=LIGHT)
    assert breaker.state == OPEN


@pytest.mark.parametrize(("concurrency", "failures"), [(1, 5), (23, 5), (27, 6), (100, 25)])
def test_with_many_side_by_side_it_takes_more(concurrency: int, failures: int) -> None:
    breaker = Breaker(since=NOW)
    failing(breaker, failures - 1, concurrency=concurrency)
    assert breaker.state == CLOSED
    failing(breaker, 1, concurrency=concurrency)
    assert breaker.state == OPEN


def test_what_was_in_flight_does_not_lengthen_it() -> None:
    breaker, generation = Breaker(since=NOW), 0
    for _ in range(FAILURES_TO_OPEN + 20):
        breaker.record_failure(NOW, generation, HEAVY, WIDE, "timeout", MIDDLE)
    assert breaker.until == NOW + OPEN_SECONDS[0]
    breaker.record_success(NOW, generation, WIDE)
    assert breaker.state == OPEN
    assert breaker.allowed(breaker.until, WIDE) == 1
    breaker.record_failure(breaker.until, generation, HEAVY, WIDE, "timeout", MIDDLE)
    breaker.record_success(breaker.until, generation, WIDE)
    assert breaker.state == HALF_OPEN, "neither is the probe"
    failing(breaker, 1, now=breaker.until)
    assert breaker.allowed(breaker.until, WIDE) == 1
    breaker.record_failure(breaker.until, 1, HEAVY, WIDE, "timeout", MIDDLE)
    assert breaker.state == HALF_OPEN, "that was the probe before"


def test_half_open_lets_one_through() -> None:
    breaker = opened()
    assert breaker.allowed(breaker.until - 0.001, WIDE) == 0
    assert breaker.allowed(breaker.until, WIDE) == 1 and breaker.state == HALF_OPEN


def test_it_waits_longer_each_time_but_never_for_long() -> None:
    for times in range(1, 12):
        breaker = opened(times)
        assert breaker.until - breaker.since == pytest.approx(OPEN_SECONDS[min(times, len(OPEN_SECONDS)) - 1])
        assert breaker.until - breaker.since <= 60 * (1 + JITTER)


@pytest.mark.parametrize(("random", "spread"), [(0.0, 1 - JITTER), (0.5, 1.0), (1.0, 1 + JITTER)])
def test_breakers_that_open_together_do_not_all_probe_together(random: float, spread: float) -> None:
    breaker = Breaker(since=NOW)
    for _ in range(FAILURES_TO_OPEN):
        breaker.record_failure(NOW, 0, HEAVY, WIDE, "timeout", random)
    assert breaker.until - NOW == pytest.approx(OPEN_SECONDS[0] * spread)


def test_it_climbs_step_by_step() -> None:
    breaker, now, seen = opened(), NOW + OPEN_SECONDS[0], []
    while breaker.state != CLOSED:
        seen.append(breaker.allowed(now, WIDE))
        breaker.record_success(now, breaker.generation, WIDE)
    assert seen == [1, 2, 2, 4, 4, 4, 4]
    assert breaker.allowed(now, WIDE) == WIDE
    failing(breaker, FAILURES_TO_OPEN, now=now)
    assert breaker.until == now + OPEN_SECONDS[0], "the first time again"


def test_one_failure_on_the_way_up_is_borne_two_are_not() -> None:
    breaker = opened()
    now = breaker.until
    assert breaker.allowed(now, WIDE) == 1
    breaker.record_success(now, breaker.generation, WIDE)
    failing(breaker, 1, now=now)
    assert breaker.state == RAMP
    breaker.record_success(now, breaker.generation, WIDE)
    failing(breaker, 2, now=now)
    assert (breaker.state, breaker.until) == (OPEN, now + OPEN_SECONDS[1])


def test_with_one_at_a_time_the_probe_closes_it() -> None:
    breaker = opened()
    assert breaker.allowed(breaker.until, 1) == 1
    breaker.record_success(breaker.until, breaker.generation, 1)
    assert breaker.state == CLOSED


def test_a_pause_that_was_asked_for() -> None:
    breaker = Breaker(since=NOW - 60)
    failing(breaker, 2)
    breaker.pause(NOW, 30, "answered 429", 0.0)
    assert (breaker.state, breaker.since, breaker.until) == (OPEN, NOW, NOW + 30)
    assert (breaker.reason, breaker.failures) == ("answered 429", 3)
    breaker.pause(NOW, 30, "answered 429", 1.0)
    assert breaker.until == NOW + 30, "the earliest moment is known already"
    for _ in range(5):
        breaker.pause(NOW + 1, 30, "answered 429", 0.0)
    assert breaker.until == NOW + 31, "not added up"
    breaker.pause(NOW + 1, 5, "answered 429", 0.0)
    assert breaker.until == NOW + 31, "nor cut short"
    assert breaker.allowed(NOW + 31, WIDE) == 1


def test_the_clock_was_set_back() -> None:
    breakers = Breakers()
    breaker = breakers.get_or_create("crm", NOW)
    failing(breaker, FAILURES_TO_OPEN)
    breakers.shift(-3600)
    assert breaker.since == NOW - 3600
    assert breaker.allowed(NOW - 3600, WIDE) == 0 and breaker.allowed(NOW - 3600 + OPEN_SECONDS[0], WIDE) == 1


def test_those_that_never_failed_have_none() -> None:
    breakers = Breakers()
    assert breakers.allowed("crm", NOW, WIDE) == WIDE and breakers.generation("crm") == 0
    breakers.record_success("crm", NOW, 0, WIDE)
    assert breakers.changes() == breakers.not_closed() == []


def test_changes_are_told_once() -> None:
    breakers = Breakers()
    failing(breakers.get_or_create("crm", NOW), FAILURES_TO_OPEN)
    failing(breakers.get_or_create("other", NOW), 1)
    ((name, breaker),) = breakers.changes()
    assert (name, breaker.state) == ("crm", OPEN) and breakers.changes() == []
    assert breakers.allowed("crm", NOW, WIDE) == 0 and breakers.changes() == [], "looked at, and as before"
    assert breakers.opens_at("crm") == breaker.until and breakers.generation("crm") == 1
    assert breakers.allowed("crm", breaker.until, WIDE) == 1
    assert [(name, one.state) for name, one in breakers.changes()] == [("crm", HALF_OPEN)]
    for _ in range(WIDE):
        breakers.record_success("crm", NOW + 9, 1, WIDE)
    assert [(name, one.state) for name, one in breakers.changes()] == [("crm", CLOSED)]
    assert breakers.changes() == breakers.not_closed() == []
    breakers.shift(5)


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 100))
def test_it_is_open_only_after_failures(answers: list[bool], concurrency: int) -> None:
    breaker, now, row = Breaker(since=NOW), NOW, 0
    for well in answers:
        if not breaker.allowed(now, concurrency):
            now = breaker.until
            breaker.allowed(now, concurrency)
        if well:
            breaker.record_success(now, breaker.generation, concurrency)
        else:
            breaker.record_failure(now, breaker.generation, HEAVY, concurrency, "no", MIDDLE)
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
        if len(self.flying) < self.breaker.allowed(self.now, WIDE):
            self.flying.append(self.breaker.generation)

    @rule(well=st.booleans(), which=st.integers(0, 100), weight=st.sampled_from([LIGHT, HEAVY]), random=st.floats(0, 1))
    def end(self, well: bool, which: int, weight: int, random: float) -> None:
        if self.flying:
            generation = self.flying.pop(which % len(self.flying))
            if well:
                self.breaker.record_success(self.now, generation, WIDE)
            else:
                self.breaker.record_failure(self.now, generation, weight, WIDE, "no", random)

    @rule(seconds=st.floats(0.1, 100), random=st.floats(0, 1))
    def ask(self, seconds: float, random: float) -> None:
        self.breaker.pause(self.now, seconds, "429", random)

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def it_never_allows_more_than_configured_and_never_waits_for_ever(self) -> None:
        allowed = self.breaker.allowed(self.now, WIDE)
        assert 0 <= allowed <= WIDE and (allowed > 0 or self.now < self.breaker.until <= self.now + 120)

    @invariant()
    def what_is_half_open_lets_one_through(self) -> None:
        assert self.breaker.state != HALF_OPEN or self.breaker.allowed(self.now, WIDE) == 1

    def teardown(self) -> None:
        """However it stands, an endpoint that is well again is closed after a while."""
        for _ in range(100):
            if not self.breaker.allowed(self.now, WIDE):
                self.now = self.breaker.until
                self.breaker.allowed(self.now, WIDE)
            self.breaker.record_success(self.now, self.breaker.generation, WIDE)
        assert self.breaker.state == CLOSED


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=examples(40, 400), stateful_step_count=40)
