"""URLs that came with requests, without store and network: remembered by origin, and there may be any number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.config import Endpoint
from gateway.config.model import free_form
from gateway.delivery import result
from gateway.delivery.circuit_breaker import FAILURES_TO_OPEN, MAX_URL_BREAKERS
from gateway.delivery.result import AttemptInFlight, classify
from gateway.delivery.scheduler import MAX_UNBLOCKED, Scheduler
from gateway.safe_http.models import Request, Response
from gateway.safe_http.ssrf import NO_ORIGIN, origin_of
from gateway.store.leases import ClaimedDelivery, ClaimLimit

NOW = 1_800_000_000.0


def find(name: str) -> Endpoint | None:
    return free_form(name, "1") if "://" in name else None


def claimed(url: str, count: int = 1, tries: int = 1) -> list[ClaimedDelivery]:
    one = ClaimedDelivery(
        id=1, delivery_id="1", event_id=1, endpoint=url, wire_format="legacy-status", ordering_key="1", number=tries,
        attempts_since_replay=tries,
        content_type="text/plain", headers=(), body=b"", created_at=NOW,
    )  # fmt: skip
    return [replace(one, id=nth) for nth in range(count)]


def begin(scheduler: Scheduler, ones: Sequence[ClaimedDelivery]) -> list[AttemptInFlight]:
    request = Request(url="http://a.test/", body=b"")
    return [AttemptInFlight(one, free_form(one.endpoint, "1"), request, 0.0, scheduler.started(one)) for one in ones]


def end(scheduler: Scheduler, attempt: AttemptInFlight, status: int) -> None:
    attempt.seconds = 0.1
    scheduler.finished(attempt, classify(attempt, Response(status=status), NOW, 0.5), NOW, 0.5)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://A.test/x?y#z", "http://a.test:80"),
        ("HTTPS://a.test:8443?x", "https://a.test:8443"),
        ("https://[::1]/", "https://[::1]:443"),
        ("http://user@a.test/", NO_ORIGIN),
        ("http://a.test:22/", NO_ORIGIN),
        ("ftp://a.test/", NO_ORIGIN),
        ("page", "page"),
        ("@carrierx", "@carrierx"),
    ],
)
def test_origins(url: str, said: str) -> None:
    assert origin_of(url) == said == origin_of(said)


def test_each_url_of_an_origin_gets_its_share() -> None:
    scheduler = Scheduler()
    urls = [f"http://a.test/?{nth}" for nth in range(3)]
    for url in (*urls, "http://b.test/"):
        scheduler.due.mark_due(url)
    limits = scheduler.plan(find, NOW)
    assert [limit.all for limit in limits.values()] == [3, 3, 2, 8]
    ones = claimed(urls[0], 3) + claimed(urls[1], 3) + claimed(urls[2], 2)
    attempts = begin(scheduler, ones)
    scheduler.claimed(limits, ones)
    assert scheduler.plan(find, NOW) == {} and scheduler.due.seconds_until_due(NOW) is None, "all have to wait"
    end(scheduler, attempts[0], 200)
    assert sum(limit.all for limit in scheduler.plan(find, NOW).values()) == 1


def test_who_has_no_use_for_its_share_leaves_it_to_the_next() -> None:
    scheduler = Scheduler()
    urls = [f"http://a.test/?{nth}" for nth in range(50)]
    for url in urls:
        scheduler.due.mark_due(url)
    seen: set[str] = set()
    while limits := scheduler.plan(find, NOW):
        assert sum(limit.all for limit in limits.values()) == 8
        scheduler.claimed(limits, [])
        seen |= limits.keys()
    assert seen == set(urls) and scheduler.due.seconds_until_due(NOW) is None


def test_repetitions_of_all_urls_of_an_origin_leave_room_for_first_attempts() -> None:
    scheduler = Scheduler()
    urls = [f"http://a.test/?{nth}" for nth in range(8)]
    for url in urls:
        scheduler.due.mark_due(url)
    limits = scheduler.plan(find, NOW)
    assert [limit.first for limit in limits.values()] == [0, 0, 0, 0, 0, 0, 1, 1], "a quarter is kept"


def test_repetitions_of_one_url_are_looked_for_when_another_of_its_origin_comes_back() -> None:
    scheduler, (first, second) = Scheduler(), ("http://a.test/?1", "http://a.test/?2")
    scheduler.due.mark_due(first)
    limits = scheduler.plan(find, NOW)
    ones = claimed(first, 6, tries=2)
    attempts = begin(scheduler, ones)
    scheduler.claimed(limits, ones)
    scheduler.due.mark_due(second)
    limits = scheduler.plan(find, NOW)
    assert limits == {second: ClaimLimit(2, 2)}, "the rest is for first attempts"
    scheduler.claimed(limits, [])
    assert scheduler.plan(find, NOW) == {} and scheduler.due.seconds_until_due(NOW) is None
    end(scheduler, attempts[0], 200)
    assert set(scheduler.plan(find, NOW)) == {first, second}


def test_who_filled_its_share_gets_what_others_left_at_once() -> None:
    scheduler, urls = Scheduler(), ["http://a.test/?1", "http://a.test/?2"]
    for url in urls:
        scheduler.due.mark_due(url)
    limits = scheduler.plan(find, NOW)
    ones = claimed(urls[0], limits[urls[0]].all)
    begin(scheduler, ones)
    scheduler.claimed(limits, ones)
    assert {url: limit.all for url, limit in scheduler.plan(find, NOW).items()} == {urls[0]: 4}


@pytest.mark.parametrize(("tries", "again"), [(1, [0]), (2, [0, 1]), (3, [0, 1])])
def test_who_filled_the_places_for_repetitions_waits_for_any_attempt_of_its_origin(
    tries: int, again: list[int]
) -> None:
    scheduler, urls = Scheduler(), ["http://a.test/?1", "http://a.test/?2"]
    for url in urls:
        scheduler.due.mark_due(url)
    limits = scheduler.plan(find, NOW)
    assert limits == {urls[0]: ClaimLimit(4, 0), urls[1]: ClaimLimit(4, 2)}
    ones = claimed(urls[0], 3) + claimed(urls[1], 2, tries=tries)
    attempts = begin(scheduler, ones)
    scheduler.claimed(limits, ones)
    assert scheduler.plan(find, NOW) == {}
    end(scheduler, attempts[0], 200)
    assert sorted(scheduler.plan(find, NOW)) == [urls[nth] for nth in again]


def test_repetitions_are_looked_for_at_once_where_nothing_comes_back() -> None:
    """The first six had the places for repetitions, and no use for them."""
    scheduler = Scheduler()
    urls = [f"http://a.test/?{nth}" for nth in range(8)]
    for url in urls:
        scheduler.due.mark_due(url)
    scheduler.claimed(scheduler.plan(find, NOW), [])
    assert list(scheduler.plan(find, NOW)) == urls[6:]


def test_no_url_waits_for_an_attempt_where_none_is_in_flight() -> None:
    scheduler, urls = Scheduler(), [f"http://a.test/?{nth}" for nth in range(30)]
    for url in urls:
        scheduler.due.wait_for_attempt(url)
    for attempt, due in zip(begin(scheduler, claimed("http://a.test/", 2)), (MAX_UNBLOCKED, len(urls)), strict=True):
        end(scheduler, attempt, 200)
        assert len(set(scheduler.due.due(NOW, 100)) & set(urls)) == due


def test_all_that_fails_of_an_origin_counts_together() -> None:
    scheduler = Scheduler()
    for nth in range(FAILURES_TO_OPEN):
        (attempt,) = begin(scheduler, claimed(f"http://a.test/?{nth}"))
        end(scheduler, attempt, 500)
    assert [(name, one.state) for name, one in scheduler.breakers.not_closed()] == [("http://a.test:80", "open")]
    scheduler.due.mark_due("http://a.test/?new")
    scheduler.due.mark_due("http://b.test/?new")
    assert list(scheduler.plan(find, NOW)) == ["http://b.test/?new"]
    again = scheduler.breakers.opens_at("http://a.test:80")
    assert sum(limit.all for limit in scheduler.plan(find, again).values()) == 1, "one goes to see"


@pytest.mark.parametrize("status", [200, 500])
def test_any_number_of_urls_leave_no_trace(status: int) -> None:
    scheduler = Scheduler()
    for nth in range(1_500):
        url = f"http://host-{nth}.test/status.php?id={nth}"
        scheduler.due.mark_due(url)
        limits = scheduler.plan(find, NOW)
        ones = claimed(url, tries=10)
        attempts = begin(scheduler, ones)
        scheduler.claimed(limits, ones)
        end(scheduler, attempts[0], status)
        scheduler.claimed(scheduler.plan(find, NOW), [])
    known = scheduler.breakers
    assert not scheduler.concurrency._of and scheduler.concurrency.all == 0
    assert len(known._of) == len(known._of_urls) == (MAX_URL_BREAKERS if status == 500 else 0)
    assert len(known._touched) <= MAX_URL_BREAKERS and len(result._redactions) <= 1_000
    due = scheduler.due
    assert not (due._due or due._later or due._times or due._waiting or due._blocked)


def test_a_breaker_that_was_dropped_does_not_count_its_generations_anew() -> None:
    scheduler = Scheduler()
    before = begin(scheduler, claimed("http://a.test/", 2 * FAILURES_TO_OPEN))
    for attempt in before[:FAILURES_TO_OPEN]:
        end(scheduler, attempt, 500)
    assert scheduler.breakers.not_closed()
    for nth in range(MAX_URL_BREAKERS):
        (attempt,) = begin(scheduler, claimed(f"http://host-{nth}.test/"))
        end(scheduler, attempt, 500)
    assert not scheduler.breakers.not_closed(), "dropped: the one that failed longest ago"
    for attempt in before[FAILURES_TO_OPEN:]:
        end(scheduler, attempt, 500)
    assert not scheduler.breakers.not_closed(), "these began in an earlier generation"
    for attempt in begin(scheduler, claimed("http://a.test/", FAILURES_TO_OPEN)):
        end(scheduler, attempt, 500)
    assert len(scheduler.breakers.not_closed()) == 1


def test_the_breaker_that_is_dropped_is_of_the_origin_that_has_not_failed_for_longest() -> None:
    breakers = Scheduler().breakers
    origins = [f"http://host-{nth}.test:80" for nth in range(MAX_URL_BREAKERS + 1)]
    for origin in [*origins[:-1], origins[0], origins[-1]]:
        breakers.get_or_create(origin, NOW)
    assert origins[1] not in breakers._of and len(breakers._of) == MAX_URL_BREAKERS


def test_breakers_of_the_configuration_are_never_dropped() -> None:
    scheduler = Scheduler()
    for nth in range(2 * MAX_URL_BREAKERS):
        scheduler.breakers.get_or_create(f"endpoint-{nth}", NOW)
    scheduler.breakers.get_or_create("http://a.test:80", NOW)
    assert len(scheduler.breakers._of) == 2 * MAX_URL_BREAKERS + 1


def test_what_nobody_configured_is_looked_at_once() -> None:
    scheduler = Scheduler()
    for name in ("@carrierx", "gone"):
        scheduler.due.mark_due_at(name, NOW - 5)
    assert scheduler.plan(find, NOW) == {} and scheduler.due.seconds_until_due(NOW) is None
