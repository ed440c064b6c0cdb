"""When to look for deliveries, without any clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.due import WOKEN, DueEndpoints

MANY = 1000


def test_nothing_is_known_at_first() -> None:
    agenda = DueEndpoints()
    assert agenda.due(1e12, MANY) == [] and agenda.next(0) is None


def test_what_rings_is_due_until_it_was_looked_at() -> None:
    agenda = DueEndpoints()
    agenda.look("crm")
    agenda.look("crm")
    assert agenda.next(0) == 0.0
    assert agenda.due(0, MANY) == ["crm"] == agenda.due(0, MANY)
    agenda.looked("crm")
    assert agenda.due(0, MANY) == [] and agenda.next(0) is None


def test_the_earliest_time_counts() -> None:
    agenda = DueEndpoints()
    for at in (30, 10, 20):
        agenda.look_at("crm", at)
    assert agenda.next(4) == 6 and agenda.due(9, MANY) == []
    assert agenda.due(10, MANY) == ["crm"]
    agenda.looked("crm")
    # The others were of the same endpoint; a scan finds them again.
    assert agenda.due(15, MANY) == []
    agenda.look_at("crm", 40)
    assert agenda.due(39, MANY) == [] and agenda.due(40, MANY) == ["crm"]


def test_a_scan_takes_nothing_away() -> None:
    agenda = DueEndpoints()
    agenda.look("rung")
    agenda.look_at("later", 10)
    agenda.scanned({"found": 5, "later": 20})
    assert agenda.due(5, MANY) == ["rung", "found"]
    assert agenda.due(10, MANY) == ["rung", "found", "later"]


def test_one_that_has_all_its_room_waits_for_its_own() -> None:
    agenda = DueEndpoints()
    agenda.look("crm")
    agenda.wait_for_own("crm")
    agenda.ended("other")
    assert agenda.due(0, MANY) == []
    agenda.ended("crm")
    assert agenda.due(0, MANY) == ["crm"]


def test_one_that_finds_no_room_waits_for_anybody() -> None:
    agenda = DueEndpoints()
    for name in ("a", "b"):
        agenda.look(name)
        agenda.wait_for_any(name)
    agenda.ended("other")
    assert agenda.due(0, MANY) == ["a", "b"]


def test_not_all_are_woken_for_one_place() -> None:
    agenda = DueEndpoints()
    for nth in range(WOKEN * 3):
        agenda.wait_for_any(str(nth))
    agenda.ended("other")
    assert agenda.due(0, MANY) == [str(nth) for nth in range(WOKEN)]


def test_each_has_its_turn() -> None:
    agenda = DueEndpoints()
    for name in "abc":
        agenda.look(name)
    assert agenda.due(0, 2) == ["a", "b"]
    agenda.looked("a")
    agenda.look("a")
    assert agenda.due(0, MANY) == ["b", "c", "a"]


def test_times_are_forgotten_when_the_clock_was_set() -> None:
    agenda = DueEndpoints()
    agenda.look_at("crm", 10)
    agenda.look("rung")
    agenda.forget()
    assert agenda.due(10, MANY) == ["rung"]
    agenda.look_at("crm", 30)
    assert agenda.due(30, MANY) == ["rung", "crm"]


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
    agenda, now = DueEndpoints(), 0
    rung: set[str] = set()
    times: dict[str, int] = {}
    for what, *rest in steps:
        if what == "look":
            agenda.look(str(rest[0]))
            rung.add(str(rest[0]))
        elif what == "look_at":
            name, at = str(rest[0]), int(str(rest[1]))
            agenda.look_at(name, at)
            times[name] = min(at, times.get(name, at))
        elif what == "pass":
            now += int(str(rest[0]))
        expected = rung | {name for name, at in times.items() if at <= now}
        wait = agenda.next(now)
        assert (wait == 0.0) == bool(expected) or wait is None
        if what == "take":
            assert set(agenda.due(now, MANY)) == expected
            for name in expected:
                agenda.looked(name)
            rung.clear()
            times = {name: at for name, at in times.items() if at > now}
