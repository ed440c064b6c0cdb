"""Who is looked at next, and for how many: without store and network."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Endpoint
from gateway.delivery.circuit_breaker import FAILURES_TO_OPEN, OPEN_SECONDS
from gateway.delivery.result import AttemptInFlight, classify
from gateway.delivery.scheduler import (
    MAX_CLAIMS_PER_BATCH,
    MAX_ENDPOINTS_PER_BATCH,
    SLOW_ANSWER_SECONDS,
    ConcurrencyLimiter,
    Scheduler,
    fair_share,
)
from gateway.safe_http.models import Failure, Request, Response
from gateway.store.leases import ClaimedDelivery, ClaimLimit

NOW = 1_800_000_000.0
MIDDLE = 0.5
OK, FAILED = Response(status=200, body=b"ok"), Response(status=500)


def endpoints(*names: str, concurrency: int = 8) -> dict[str, Endpoint]:
    return {name: Endpoint(name=name, url="http://a.test/", concurrency=concurrency) for name in names}


def claimed(endpoint: str, count: int = 1, tries: int = 1) -> list[ClaimedDelivery]:
    return [
        ClaimedDelivery(
            id=nth,
            delivery_id=str(nth),
            event_id=1,
            endpoint=endpoint,
            wire_format="legacy-callback",
            ordering_key=str(nth),
            number=tries,
            attempts_since_replay=tries,
            content_type="text/plain",
            headers=(),
            body=b"",
            created_at=NOW,
        )
        for nth in range(count)
    ]


def begin(
    scheduler: Scheduler, configured: dict[str, Endpoint], ones: Sequence[ClaimedDelivery]
) -> list[AttemptInFlight]:
    request = Request(url="http://a.test/", body=b"")
    return [AttemptInFlight(one, configured[one.endpoint], request, 0.0, scheduler.started(one)) for one in ones]


def end(
    scheduler: Scheduler, attempt: AttemptInFlight, answer: Response = OK, now: float = NOW, seconds: float = 0.1
) -> None:
    attempt.seconds = seconds
    scheduler.finished(attempt, classify(attempt, answer, now, MIDDLE), now, MIDDLE)


def test_who_rang_is_looked_at_once() -> None:
    scheduler, crm = Scheduler(), endpoints("crm")
    scheduler.due.mark_due("crm")
    limits = scheduler.plan(crm.get, NOW)
    assert limits == {"crm": ClaimLimit(8, 2)} and scheduler.plan(crm.get, NOW) == {}
    scheduler.claimed(limits, [])
    assert scheduler.plan(crm.get, NOW) == {}, "there was nothing"


def test_a_ring_while_the_store_has_the_round_is_heard() -> None:
    scheduler, crm = Scheduler(), endpoints("crm")
    scheduler.due.mark_due("crm")
    limits = scheduler.plan(crm.get, NOW)
    scheduler.due.mark_due("crm")
    scheduler.claimed(limits, [])
    assert scheduler.plan(crm.get, NOW)


def test_a_round_that_came_to_nothing_is_repeated() -> None:
    scheduler, crm = Scheduler(), endpoints("crm")
    scheduler.due.mark_due("crm")
    scheduler.not_claimed(scheduler.plan(crm.get, NOW))
    assert scheduler.plan(crm.get, NOW)


def test_who_took_all_is_looked_at_again_when_there_is_room() -> None:
    scheduler, crm = Scheduler(), endpoints("crm")
    scheduler.due.mark_due("crm")
    limits = scheduler.plan(crm.get, NOW)
    ones = claimed("crm", 8)
    scheduler.claimed(limits, ones)
    attempts = begin(scheduler, crm, ones)
    assert scheduler.plan(crm.get, NOW) == {} and scheduler.due.seconds_until_due(NOW) is None
    end(scheduler, attempts[0])
    assert scheduler.plan(crm.get, NOW) == {"crm": ClaimLimit(1, 0)}


def test_repetitions_that_fill_their_places_are_no_reason_to_look_all_the_time() -> None:
    scheduler, crm = Scheduler(), endpoints("crm", concurrency=2)
    scheduler.due.mark_due("crm")
    limits = scheduler.plan(crm.get, NOW)
    assert limits == {"crm": ClaimLimit(2, 1)}
    ones = claimed("crm", 1, tries=2)
    scheduler.claimed(limits, ones)
    (attempt,) = begin(scheduler, crm, ones)
    assert scheduler.plan(crm.get, NOW) == {} and scheduler.due.seconds_until_due(NOW) is None
    scheduler.due.mark_due("crm")
    limits = scheduler.plan(crm.get, NOW)
    assert limits == {"crm": ClaimLimit(1, 1)}
    scheduler.claimed(limits, [])
    assert scheduler.plan(crm.get, NOW) == {} and scheduler.due.seconds_until_due(NOW) is None
    end(scheduler, attempt)
    assert scheduler.plan(crm.get, NOW) == {"crm": ClaimLimit(2, 1)}


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_second_and_later_attempts_are_counted_until_they_end(tries: int) -> None:
    scheduler, crm = Scheduler(), endpoints("crm")
    attempts = begin(scheduler, crm, claimed("crm", 2, tries))
    for left in (1, 0):
        end(scheduler, attempts[left])
        in_flight = scheduler.concurrency.of("crm")
        assert (in_flight.all, in_flight.retries) == (left, left if tries > 1 else 0)


def test_one_that_is_not_configured_is_passed_over() -> None:
    scheduler = Scheduler()
    scheduler.due.mark_due("gone")
    assert scheduler.plan(endpoints().get, NOW) == {} and scheduler.due.seconds_until_due(NOW) is None


def test_a_failed_delivery_is_looked_for_when_it_is_due() -> None:
    scheduler, crm = Scheduler(), endpoints("crm")
    (attempt,) = begin(scheduler, crm, claimed("crm"))
    end(scheduler, attempt, FAILED)
    scheduler.claimed(scheduler.plan(crm.get, NOW), [])
    assert scheduler.plan(crm.get, NOW + 4.9) == {} and scheduler.due.seconds_until_due(NOW) == 5.0
    assert scheduler.plan(crm.get, NOW + 5)


def test_one_that_was_put_off_is_looked_for_when_it_is_due() -> None:
    scheduler, crm = Scheduler(), endpoints("crm")
    (attempt,) = begin(scheduler, crm, claimed("crm"))
    scheduler.postponed(attempt, NOW + 5)
    scheduler.claimed(scheduler.plan(crm.get, NOW), [])
    assert scheduler.plan(crm.get, NOW + 4.9) == {} and scheduler.due.seconds_until_due(NOW) == 5.0
    assert scheduler.plan(crm.get, NOW + 5)


def test_an_open_breaker_is_looked_at_when_it_lets_one_through() -> None:
    scheduler, crm = Scheduler(), endpoints("crm")
    for attempt in begin(scheduler, crm, claimed("crm", FAILURES_TO_OPEN)):
        end(scheduler, attempt, FAILED)
    scheduler.due.mark_due("crm")
    assert scheduler.plan(crm.get, NOW) == {} and scheduler.due.seconds_until_due(NOW) == OPEN_SECONDS[0]
    assert scheduler.plan(crm.get, NOW + OPEN_SECONDS[0]) == {"crm": ClaimLimit(1, 0)}
    ((name, breaker),) = scheduler.breakers.changes()
    assert (name, breaker.state) == ("crm", "half_open") and "500" in breaker.reason
    (probe,) = begin(scheduler, crm, claimed("crm"))
    end(scheduler, probe, now=NOW + 6)
    assert (breaker.state, breaker.since) == ("ramp", NOW + 6)
    assert scheduler.plan(crm.get, NOW + 6)["crm"].all == 2


def test_a_pause_that_one_asks_for_is_everybodys_at_that_endpoint() -> None:
    scheduler, crm = Scheduler(), endpoints("crm")
    (attempt,) = begin(scheduler, crm, claimed("crm"))
    end(scheduler, attempt, Response(status=503, headers=(("Retry-After", "120"),)))
    scheduler.due.mark_due("crm")
    assert scheduler.plan(crm.get, NOW + 119) == {}
    assert scheduler.plan(crm.get, NOW + 150) == {"crm": ClaimLimit(1, 0)}
    assert "503" in scheduler.breakers.get_or_create("crm", NOW).reason


@pytest.mark.parametrize(("concurrency", "planned"), [(1, MAX_ENDPOINTS_PER_BATCH), (5, 52), (8, 32)])
def test_a_transaction_is_bounded(concurrency: int, planned: int) -> None:
    """By its endpoints, and by its claims, but for those of the last endpoint."""
    many = endpoints(*map(str, range(200)), concurrency=concurrency)
    scheduler = Scheduler(max_in_flight=10_000)
    for name in many:
        scheduler.due.mark_due(name)
    seen = list(scheduler.plan(many.get, NOW))
    assert len(seen) == planned and planned * concurrency <= MAX_CLAIMS_PER_BATCH + concurrency
    while limits := scheduler.plan(many.get, NOW):
        assert len(limits) <= planned
        seen += limits
    assert seen == list(many)


def test_who_is_left_without_a_place_stays_due() -> None:
    scheduler, many = Scheduler(max_in_flight=16), endpoints(*"abcd", concurrency=5)
    for name in many:
        scheduler.due.mark_due(name)
    assert {name: limit.all for name, limit in scheduler.plan(many.get, NOW).items()} == {"a": 5, "b": 3}
    assert scheduler.due.due(NOW, 9) == ["c", "d"]


def test_there_is_an_end_to_all_together() -> None:
    scheduler, many = Scheduler(max_in_flight=16), endpoints(*"abcd")
    for name in many:
        scheduler.due.mark_due(name)
    in_flight: list[AttemptInFlight] = []
    while limits := scheduler.plan(many.get, NOW):
        ones = [one for name, limit in limits.items() for one in claimed(name, limit.all)]
        scheduler.claimed(limits, ones)
        in_flight += begin(scheduler, many, ones)
    assert len(in_flight) == 8, "half of it, for none of them has shown to be quick"
    assert scheduler.due.seconds_until_due(NOW) is None, "nothing to do before one ends"
    end(scheduler, in_flight.pop())
    limits = scheduler.plan(many.get, NOW)
    assert limits and sum(limit.all for limit in limits.values()) <= 16 - len(in_flight)


def test_hanging_makes_slow_and_a_clock_that_was_set_forgets() -> None:
    scheduler, crm = Scheduler(), endpoints("crm")
    attempts = begin(scheduler, crm, claimed("crm", 2))
    end(scheduler, attempts.pop())
    attempts[0].started = 10.0
    assert scheduler.concurrency.of("crm").quick
    scheduler.mark_slow(attempts, 11.0)
    assert scheduler.concurrency.of("crm").quick
    scheduler.mark_slow(attempts, 13.0)
    assert not scheduler.concurrency.of("crm").quick
    scheduler.due.mark_idle("crm")
    scheduler.due.mark_due_at("crm", NOW + 5)
    scheduler.clock_changed(-3600)
    assert scheduler.due.seconds_until_due(NOW) is None


def test_a_pause_is_moved_with_a_clock_set_back_and_is_over_early_with_one_set_forward() -> None:
    scheduler, crm = Scheduler(), endpoints("crm", "other")
    for attempt in begin(scheduler, crm, claimed("crm", FAILURES_TO_OPEN) + claimed("other")):
        end(scheduler, attempt, FAILED)
    until = NOW + OPEN_SECONDS[0]
    for jump, expected in ((3600.0, until), (-3600.0, until - 3600)):
        scheduler.clock_changed(jump)
        assert scheduler.breakers.opens_at("crm") == expected


@pytest.mark.parametrize(
    ("answer", "seconds", "quick"),
    [
        (OK, SLOW_ANSWER_SECONDS - 0.01, True),
        (FAILED, SLOW_ANSWER_SECONDS - 0.01, True),
        (OK, SLOW_ANSWER_SECONDS, False),
        (Response(failure=Failure(kind="reset", sentence="")), 0.1, False),
    ],
)
def test_only_an_answer_in_time_is_quick(answer: Response, seconds: float, quick: bool) -> None:
    scheduler, crm = Scheduler(), endpoints("crm")
    for before in (OK, Response(failure=Failure(kind="timeout", sentence=""))):
        first, second = begin(scheduler, crm, claimed("crm", 2))
        end(scheduler, first, before)
        end(scheduler, second, answer, seconds=seconds)
        assert scheduler.concurrency.of("crm").quick is quick


def test_one_that_was_postponed_says_nothing_of_its_endpoint() -> None:
    scheduler, crm = Scheduler(), endpoints("crm")
    for quick in (False, True):
        first, second = begin(scheduler, crm, claimed("crm", 2))
        scheduler.postponed(first, NOW + 5)
        assert scheduler.concurrency.of("crm").quick is quick
        end(scheduler, second)


def quick(limiter: ConcurrencyLimiter, *names: str) -> None:
    for name in names:
        limiter.started(name, False)
        limiter.finished(name, False, True)


def share(limiter: ConcurrencyLimiter, name: str, limit: int = 8) -> ClaimLimit:
    return fair_share(limiter.capacity(), limiter.of(name), limit, 1)


def test_an_endpoint_has_its_own_limit() -> None:
    limiter = ConcurrencyLimiter()
    assert share(limiter, "crm").all == 8 and share(limiter, "crm", 1) == ClaimLimit(1, 0)
    for nth in range(8):
        assert share(limiter, "crm").all == 8 - nth
        limiter.started("crm", False)
    assert share(limiter, "crm") == ClaimLimit(0, 0)
    limiter.finished("crm", False, True)
    assert share(limiter, "crm").all == 1


def test_a_quarter_is_kept_for_first_attempts() -> None:
    limiter = ConcurrencyLimiter()
    assert (
        share(limiter, "crm") == ClaimLimit(8, 2)
        and share(limiter, "crm", 2) == ClaimLimit(2, 1)
        and share(limiter, "crm", 3).first == 1
        and share(limiter, "crm", 7) == ClaimLimit(7, 1)
    )
    for _ in range(6):
        limiter.started("crm", True)
    assert share(limiter, "crm") == ClaimLimit(2, 2), "no more retries"
    limiter.started("crm", False)
    assert share(limiter, "crm") == ClaimLimit(1, 1)
    limiter.finished("crm", True, True)
    assert share(limiter, "crm") == ClaimLimit(2, 1)


def test_those_that_are_not_quick_share_half() -> None:
    limiter = ConcurrencyLimiter(limit=16)
    quick(limiter, "quick")
    for nth in range(4):
        assert share(limiter, f"unknown{nth}", 2).all == 2
        limiter.started(f"unknown{nth}", False)
        limiter.started(f"unknown{nth}", False)
    assert share(limiter, "unknown9") == ClaimLimit(0, 0) and limiter.is_full(limiter.of("unknown9"))
    assert share(limiter, "quick", 100).all == 8 and not limiter.is_full(limiter.of("quick"))


@pytest.mark.parametrize(("limit", "slow"), [(16, 8), (5, 2)])
def test_it_is_full_for_those_that_are_not_quick_and_then_for_all(limit: int, slow: int) -> None:
    limiter = ConcurrencyLimiter(limit)
    quick(limiter, "quick")
    for started in range(limit):
        assert not limiter.is_full(limiter.of("quick"))
        assert limiter.is_full(limiter.of("unknown")) == (started >= slow)
        assert share(limiter, "unknown", 100).all == max(0, slow - started)
        limiter.started("unknown" if started < slow else "quick", False)
    assert limiter.is_full(limiter.of("quick")) and limiter.is_full(limiter.of("unknown"))


def test_an_endpoint_that_becomes_slow_counts_as_slow_with_all_its_attempts() -> None:
    limiter = ConcurrencyLimiter(limit=16)
    quick(limiter, "crm", "other")
    for _ in range(8):
        limiter.started("crm", False)
    assert share(limiter, "new").all == 8
    limiter.set_quick("crm", False)
    assert share(limiter, "new").all == 0 and share(limiter, "other").all == 8
    limiter.finished("crm", False, False)
    assert share(limiter, "new").all == 1
    limiter.finished("crm", False, True)
    assert share(limiter, "new").all == 8, "quick again"
    limiter.finished("crm", False, False)
    assert share(limiter, "new").all == 3, "no answer is not a quick one"


def test_one_scheduling_pass_gives_nothing_twice() -> None:
    limiter = ConcurrencyLimiter(limit=16)
    capacity = limiter.capacity()
    given_out = [fair_share(capacity, limiter.of(name), 5, 1).all for name in "abcd"]
    assert given_out == [5, 3, 0, 0]
    assert not limiter.is_full(limiter.of("d")), "but nothing is in flight yet"


def test_one_scheduling_pass_gives_the_whole_to_the_quick_and_half_of_it_to_others() -> None:
    limiter = ConcurrencyLimiter(limit=16)
    quick(limiter, "a", "b", "c")
    capacity = limiter.capacity()
    given_out = [fair_share(capacity, limiter.of(name), limit, 1).all for name, limit in [("a", 5), ("new", 9)]]
    given_out += [fair_share(capacity, limiter.of(name), 2, 1).all for name in "bc"]
    assert given_out == [5, 8, 2, 1]


EVENTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.booleans(), st.sampled_from([True, False, None]), st.booleans()), max_size=60
)


@given(EVENTS)
def test_the_sums_hold(events: list[tuple[str, bool, bool | None, bool]]) -> None:
    limiter, in_flight = ConcurrencyLimiter(limit=12), list[tuple[str, bool]]()
    for name, retry, quick, starts in events:
        if starts and share(limiter, name).all:
            limiter.started(name, retry)
            in_flight.append((name, retry))
        elif in_flight:
            limiter.finished(*in_flight.pop(0), quick)
        elif name in limiter._of:
            limiter.set_quick(name, False)
        known = limiter._of.values()
        assert limiter.all == len(in_flight) == sum(one.all for one in known) <= 12
        assert limiter._slow == sum(one.all for one in known if not one.quick)
