"""When to look for deliveries, without any clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.scheduler import MAX_UNBLOCKED, DueEndpoints

MANY = 1000


def test_nothing_is_known_at_first() -> None:
    due = DueEndpoints()
    assert due.due(1e12, MANY) == [] and due.seconds_until_due(0) is None


def test_what_rings_is_due_until_it_was_looked_at() -> None:
    due = DueEndpoints()
    due.mark_due("crm")
    due.mark_due("crm")
    assert due.seconds_until_due(0) == 0.0
    assert due.due(0, MANY) == ["crm"] == due.due(0, MANY)
    due.mark_idle("crm")
    assert due.due(0, MANY) == [] and due.seconds_until_due(0) is None


def test_the_earliest_time_counts() -> None:
    due = DueEndpoints()
    for at in (30, 10, 20):
        due.mark_due_at("crm", at)
    assert due.seconds_until_due(4) == 6 and due.due(9, MANY) == []
    assert due.due(10, MANY) == ["crm"]
    due.mark_idle("crm")
    # The others were of the same endpoint; a scan finds them again.
    assert due.due(15, MANY) == [] and due.seconds_until_due(15) is None
    due.mark_due_at("crm", 40)
    assert due.due(39, MANY) == [] and due.due(40, MANY) == ["crm"]


def test_a_scan_takes_nothing_away() -> None:
    due = DueEndpoints()
    due.mark_due("rung")
    due.mark_due_at("later", 10)
    for name, at in (("found", 5), ("later", 20)):
        due.mark_due_at(name, at)
    assert due.due(5, MANY) == ["rung", "found"]
    assert due.due(10, MANY) == ["rung", "found", "later"]


def test_one_that_has_all_its_room_waits_for_its_own() -> None:
    due = DueEndpoints()
    due.mark_due("crm")
    due.mark_idle("crm")
    due.wait_for_attempt("crm")
    due.attempt_ended("other")
    assert due.due(0, MANY) == []
    due.attempt_ended("crm")
    assert due.due(0, MANY) == ["crm"]


def test_one_that_finds_no_room_waits_for_anybody() -> None:
    due = DueEndpoints()
    for name in ("a", "b"):
        due.mark_due(name)
        due.block_on_capacity(name)
    due.attempt_ended("other")
    assert due.due(0, MANY) == ["a", "b"]


def test_not_all_are_woken_for_one_place() -> None:
    due = DueEndpoints()
    for nth in range(MAX_UNBLOCKED * 3):
        due.block_on_capacity(str(nth))
    due.attempt_ended("other")
    assert due.due(0, MANY) == [str(nth) for nth in range(MAX_UNBLOCKED)]


def test_one_that_has_nothing_more_waits_for_no_attempt() -> None:
    due = DueEndpoints()
    for url in ("http://a.test/?1", "http://a.test/?2"):
        due.wait_for_attempt(url)
    for name in ("crm", "other"):
        due.block_on_capacity(name)
    for name in ("http://a.test/?1", "crm", "never seen"):
        due.mark_idle(name)
    due.attempt_ended("http://a.test/?3", last=True)
    assert due.due(0, MANY) == ["http://a.test/?2", "other"]


def test_some_urls_of_an_origin_take_over_from_one_and_all_from_the_last() -> None:
    due, urls = DueEndpoints(), [f"http://a.test/?{nth}" for nth in range(MAX_UNBLOCKED * 4)]
    for url in urls:
        due.wait_for_attempt(url)
    for ended in (1, 2):
        due.attempt_ended("http://a.test/?ended")
        assert due.due(0, MANY) == urls[: MAX_UNBLOCKED * ended]
    due.attempt_ended("http://a.test/?ended", last=True)
    assert due.due(0, MANY) == urls


def test_each_has_its_turn() -> None:
    due = DueEndpoints()
    for name in "abc":
        due.mark_due(name)
    assert due.due(0, 2) == ["a", "b"]
    due.mark_idle("a")
    due.mark_due("a")
    assert due.due(0, MANY) == ["b", "c", "a"]


def test_times_are_forgotten_when_the_clock_was_set() -> None:
    due = DueEndpoints()
    due.mark_due_at("crm", 10)
    due.mark_due("rung")
    due.forget_times()
    assert due.due(10, MANY) == ["rung"]
    due.mark_due_at("crm", 30)
    assert due.due(30, MANY) == ["rung", "crm"]


NAMES = st.sampled_from("abc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("look"), NAMES),
        st.tuples(st.just("look_at"), NAMES, st.integers(0, 20)),
        st.tuples(st.just("pass"), st.integers(0, 5)),
        st.tuples(st.just("take"), st.just(None)),
    ),
    max_size=40,
)


@given(STEPS)
def test_nobody_is_forgotten_and_nobody_is_early(steps: list[tuple[object, ...]]) -> None:
    """Whoever was rung or whose time has come is due, and nobody else; `next` says when."""
    due, now = DueEndpoints(), 0
    rung: set[str] = set()
    times: dict[str, int] = {}
    for what, *rest in steps:
        if what == "look":
            due.mark_due(str(rest[0]))
            rung.add(str(rest[0]))
        elif what == "look_at":
            name, at = str(rest[0]), int(str(rest[1]))
            due.mark_due_at(name, at)
            times[name] = min(at, times.get(name, at))
        elif what == "pass":
            now += int(str(rest[0]))
        expected = rung | {name for name, at in times.items() if at <= now}
        wait = due.seconds_until_due(now)
        assert (wait == 0.0) == bool(expected) or wait is None
        if what == "take":
            assert set(due.due(now, MANY)) == expected
            for name in expected:
                due.mark_idle(name)
            rung.clear()
            times = {name: at for name, at in times.items() if at > now}
