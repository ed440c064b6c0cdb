"""How many more attempts an endpoint may have in flight."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.rooms import SLOW, ConcurrencyLimiter
from gateway.store.leases import ClaimLimit


def quick(rooms: ConcurrencyLimiter, *names: str) -> None:
    for name in names:
        rooms.begins(name, False)
        rooms.ends(name, False, 0.1, True)


def room(rooms: ConcurrencyLimiter, name: str, allowed: int = 8) -> ClaimLimit:
    return rooms.plan().take(rooms.of(name), allowed)


def test_its_own_measure() -> None:
    rooms = ConcurrencyLimiter()
    assert room(rooms, "crm").all == 8 and room(rooms, "crm", 1) == ClaimLimit(1, 0)
    for nth in range(8):
        assert room(rooms, "crm").all == 8 - nth
        rooms.begins("crm", False)
    assert room(rooms, "crm") == ClaimLimit(0, 0)
    rooms.ends("crm", False, 0.1, True)
    assert room(rooms, "crm").all == 1


def test_a_quarter_is_kept_for_first_attempts() -> None:
    rooms = ConcurrencyLimiter()
    assert (
        room(rooms, "crm") == ClaimLimit(8, 2)
        and room(rooms, "crm", 2) == ClaimLimit(2, 1)
        and room(rooms, "crm", 3).first == 1
    )
    for _ in range(6):
        rooms.begins("crm", True)
    assert room(rooms, "crm") == ClaimLimit(2, 2), "no more repetitions"
    rooms.begins("crm", False)
    assert room(rooms, "crm") == ClaimLimit(1, 1)
    rooms.ends("crm", True, 0.1, True)
    assert room(rooms, "crm") == ClaimLimit(2, 1)


def test_those_that_are_not_quick_share_half() -> None:
    rooms = ConcurrencyLimiter(most=16)
    quick(rooms, "quick")
    for nth in range(4):
        assert room(rooms, f"unknown{nth}", 2).all == 2
        rooms.begins(f"unknown{nth}", False)
        rooms.begins(f"unknown{nth}", False)
    assert room(rooms, "unknown9") == ClaimLimit(0, 0) and rooms.is_full(rooms.of("unknown9"))
    assert room(rooms, "quick", 100).all == 8 and not rooms.is_full(rooms.of("quick"))


def test_an_endpoint_that_becomes_slow_counts_as_slow_with_all_that_it_has() -> None:
    rooms = ConcurrencyLimiter(most=16)
    quick(rooms, "crm", "other")
    for _ in range(8):
        rooms.begins("crm", False)
    assert room(rooms, "new").all == 8
    rooms.hang(["crm"])
    assert room(rooms, "new").all == 0 and room(rooms, "other").all == 8
    rooms.ends("crm", False, SLOW, True)
    assert room(rooms, "new").all == 1
    rooms.ends("crm", False, 0.1, True)
    assert room(rooms, "new").all == 8, "quick again"
    rooms.ends("crm", False, 0.1, False)
    assert room(rooms, "new").all == 3, "no answer is not a quick one"


def test_one_plan_gives_nothing_twice() -> None:
    rooms = ConcurrencyLimiter(most=16)
    plan = rooms.plan()
    given_out = [plan.take(rooms.of(name), 5).all for name in "abcd"]
    assert given_out == [5, 3, 0, 0]
    assert not rooms.is_full(rooms.of("d")), "but nothing is in flight yet"


EVENTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 4), st.booleans(), st.booleans()), max_size=60
)


@given(EVENTS)
def test_the_sums_hold(events: list[tuple[str, bool, float, bool, bool]]) -> None:
    rooms, flying = ConcurrencyLimiter(most=12), list[tuple[str, bool]]()
    for name, tried, seconds, answered, begins in events:
        if begins and room(rooms, name).all:
            rooms.begins(name, tried)
            flying.append((name, tried))
        elif flying:
            rooms.ends(*flying.pop(0), seconds, answered)
        else:
            rooms.hang([name] if name in rooms._crowds else [])
        crowds = rooms._crowds.values()
        assert rooms.all == len(flying) == sum(one.all for one in crowds) <= 12
        assert rooms._slow == sum(one.all for one in crowds if not one.quick)
