"""URLs that came with requests, without store and network: remembered by origin, and there may be any number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.config import Endpoint
from gateway.config.model import free_form
from gateway.delivery.circuit_breaker import IN_A_ROW, STRANGERS
from gateway.delivery.result import Attempt, Judge
from gateway.delivery.scheduler import Scheduler
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


def begin(dispatch: Scheduler, ones: Sequence[ClaimedDelivery]) -> list[Attempt]:
    request = Request(url="http://a.test/", body=b"")
    return [Attempt(one, free_form(one.endpoint, "1"), request, 0.0, dispatch.begins(one)) for one in ones]


def end(dispatch: Scheduler, judge: Judge, attempt: Attempt, status: int) -> None:
    attempt.seconds = 0.1
    dispatch.ended(attempt, judge.judge(attempt, Response(status=status), NOW, 0.5), NOW, 0.5)


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
    dispatch = Scheduler()
    urls = [f"http://a.test/?{nth}" for nth in range(3)]
    for url in (*urls, "http://b.test/"):
        dispatch.agenda.look(url)
    rooms = dispatch.plan(find, NOW)
    assert [room.all for room in rooms.values()] == [3, 3, 2, 8]
    ones = claimed(urls[0], 3) + claimed(urls[1], 3) + claimed(urls[2], 2)
    attempts = begin(dispatch, ones)
    dispatch.claimed(rooms, ones)
    assert dispatch.plan(find, NOW) == {} and dispatch.agenda.next(NOW) is None, "all have to wait"
    end(dispatch, Judge(), attempts[0], 200)
    assert sum(room.all for room in dispatch.plan(find, NOW).values()) == 1


def test_who_has_no_use_for_its_share_leaves_it_to_the_next() -> None:
    dispatch = Scheduler()
    urls = [f"http://a.test/?{nth}" for nth in range(50)]
    for url in urls:
        dispatch.agenda.look(url)
    seen: set[str] = set()
    while rooms := dispatch.plan(find, NOW):
        assert sum(room.all for room in rooms.values()) == 8
        dispatch.claimed(rooms, [])
        seen |= rooms.keys()
    assert seen == set(urls) and dispatch.agenda.next(NOW) is None


def test_repetitions_of_all_urls_of_an_origin_leave_room_for_first_attempts() -> None:
    dispatch = Scheduler()
    urls = [f"http://a.test/?{nth}" for nth in range(8)]
    for url in urls:
        dispatch.agenda.look(url)
    rooms = dispatch.plan(find, NOW)
    assert [room.first for room in rooms.values()] == [0, 0, 0, 0, 0, 0, 1, 1], "a quarter is kept"


def test_repetitions_of_one_url_are_looked_for_when_another_of_its_origin_comes_back() -> None:
    dispatch, (first, second) = Scheduler(), ("http://a.test/?1", "http://a.test/?2")
    dispatch.agenda.look(first)
    rooms = dispatch.plan(find, NOW)
    ones = claimed(first, 6, tries=2)
    attempts = begin(dispatch, ones)
    dispatch.claimed(rooms, ones)
    dispatch.agenda.look(second)
    rooms = dispatch.plan(find, NOW)
    assert rooms == {second: ClaimLimit(2, 2)}, "the rest is for first attempts"
    dispatch.claimed(rooms, [])
    assert dispatch.plan(find, NOW) == {} and dispatch.agenda.next(NOW) is None
    end(dispatch, Judge(), attempts[0], 200)
    assert set(dispatch.plan(find, NOW)) == {first, second}


def test_repetitions_are_looked_for_at_once_where_nothing_comes_back() -> None:
    """The first six had the places for repetitions, and no use for them."""
    dispatch = Scheduler()
    urls = [f"http://a.test/?{nth}" for nth in range(8)]
    for url in urls:
        dispatch.agenda.look(url)
    dispatch.claimed(dispatch.plan(find, NOW), [])
    assert list(dispatch.plan(find, NOW)) == urls[6:]


def test_all_that_fails_of_an_origin_counts_together() -> None:
    dispatch, judge = Scheduler(), Judge()
    for nth in range(IN_A_ROW):
        (attempt,) = begin(dispatch, claimed(f"http://a.test/?{nth}"))
        end(dispatch, judge, attempt, 500)
    assert [(name, one.state) for name, one in dispatch.breakers.not_closed()] == [("http://a.test:80", "open")]
    dispatch.agenda.look("http://a.test/?new")
    dispatch.agenda.look("http://b.test/?new")
    assert list(dispatch.plan(find, NOW)) == ["http://b.test/?new"]
    again = dispatch.breakers.opens_at("http://a.test:80")
    assert sum(room.all for room in dispatch.plan(find, again).values()) == 1, "one goes to see"


@pytest.mark.parametrize("status", [200, 500])
def test_any_number_of_urls_leave_no_trace(status: int) -> None:
    dispatch, judge = Scheduler(), Judge()
    for nth in range(1_500):
        url = f"http://host-{nth}.test/status.php?id={nth}"
        dispatch.agenda.look(url)
        rooms = dispatch.plan(find, NOW)
        ones = claimed(url, tries=10)
        attempts = begin(dispatch, ones)
        dispatch.claimed(rooms, ones)
        end(dispatch, judge, attempts[0], status)
        dispatch.claimed(dispatch.plan(find, NOW), [])
    known = dispatch.breakers
    assert not dispatch.rooms._crowds and dispatch.rooms.all == 0
    assert len(known._of) == len(known._strangers) == (STRANGERS if status == 500 else 0)
    assert len(known._touched) <= STRANGERS and len(judge._redactions) <= 1_000
    agenda = dispatch.agenda
    assert not (agenda._now or agenda._later or agenda._times or agenda._waiting or agenda._crowded)


def test_a_breaker_that_was_dropped_does_not_count_its_turns_anew() -> None:
    dispatch, judge = Scheduler(), Judge()
    before = begin(dispatch, claimed("http://a.test/", 2 * IN_A_ROW))
    for attempt in before[:IN_A_ROW]:
        end(dispatch, judge, attempt, 500)
    assert dispatch.breakers.not_closed()
    for nth in range(STRANGERS):
        (attempt,) = begin(dispatch, claimed(f"http://host-{nth}.test/"))
        end(dispatch, judge, attempt, 500)
    assert not dispatch.breakers.not_closed(), "dropped: the one that failed longest ago"
    for attempt in before[IN_A_ROW:]:
        end(dispatch, judge, attempt, 500)
    assert not dispatch.breakers.not_closed(), "these began in an earlier turn"
    for attempt in begin(dispatch, claimed("http://a.test/", IN_A_ROW)):
        end(dispatch, judge, attempt, 500)
    assert len(dispatch.breakers.not_closed()) == 1


def test_breakers_of_the_configuration_are_never_dropped() -> None:
    dispatch = Scheduler()
    for nth in range(2 * STRANGERS):
        dispatch.breakers.touch(f"endpoint-{nth}", NOW)
    dispatch.breakers.touch("http://a.test:80", NOW)
    assert len(dispatch.breakers._of) == 2 * STRANGERS + 1


def test_what_nobody_configured_is_looked_at_once() -> None:
    dispatch = Scheduler()
    dispatch.agenda.scanned({"@carrierx": NOW - 5, "gone": NOW - 5})
    assert dispatch.plan(find, NOW) == {} and dispatch.agenda.next(NOW) is None
