"""The clock is set back, and nothing that is owed stalls, on both databases."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import text

from gateway.store import Store, clock
from tests.store_samples import LEASE, add, claim, letter, owe, settle

HOUR = 3600.0


@pytest.fixture
def now(store: Store) -> float:
    """As the server of the database has it: leases of other machines are measured by that."""
    if store.name == "sqlite":
        return 1_800_000_000.0
    with store.reader() as conn:
        return float(clock.SERVER.run(conn).fetchone()[0])


def note(store: Store, at: float) -> None:
    store.writer.write(partial(clock.record_clock, now=at))


def set_back(store: Store, now: float, owner: str = "worker", was: float = 0.0) -> float:
    """Seconds by which all was moved."""
    return max(clock.shift_back(store, owner, now, LEASE, was), default=0.0)


def dues(store: Store) -> list[float]:
    with store.reader() as conn:
        return [row[0] for row in conn.execute(text("SELECT due FROM deliveries WHERE due IS NOT NULL ORDER BY id"))]


def test_what_was_due_is_due_and_what_is_to_come_comes_in_time(store: Store, now: float) -> None:
    was = now + HOUR
    note(store, was)
    owe(store, letter("crm|1"), letter("crm|2"), now=was)
    tried, _ = claim(store, now=was)
    settle(store, tried, "again", now=was, due=was + 30)
    (other,) = claim(store, slots=1, now=was + LEASE + 1)
    settle(store, other, "again", now=was, due=was + 600)
    owe(store, letter("crm|3"), now=was)
    assert set_back(store, now) == pytest.approx(HOUR, abs=60)
    assert sorted(dues(store)) == pytest.approx(sorted([now, now + 30, now + 600]), abs=60)
    assert claim(store, now=now + 60)


def test_what_is_committed_after_all_else_was_moved_is_caught_up(store: Store, now: float) -> None:
    """A callback that came before the clock was set, and waited for its commit meanwhile."""
    was = now + HOUR
    note(store, was)
    set_back(store, now, was=was)
    owe(store, letter("crm|1"), letter("crm|1"), now=was)
    owe(store, letter("crm|2"), now=now)
    assert [one.ordering_key for one in claim(store, now=now + 1)] == ["crm|2"]
    assert store.writer.write(lambda conn: clock.recover_left_behind(conn, now + 1)) == 1
    assert [one.ordering_key for one in claim(store, now=now + 2)] == ["crm|1"]
    owe(store, letter("crm|3"), now=now + 3)
    assert store.writer.write(lambda conn: clock.recover_left_behind(conn, now + 2)) == 0, "clocks differ by as much"


def test_nothing_is_moved_twice(store: Store, now: float) -> None:
    was = now + HOUR
    note(store, was)
    owe(store, letter("crm|1"), now=was)
    (one,) = claim(store, now=was)
    settle(store, one, "again", now=was, due=was + 600)
    assert set_back(store, now, was=was) and not set_back(store, now, owner="another", was=was)
    assert not set_back(store, now + 1)
    assert dues(store) == pytest.approx([now + 600])


def test_the_time_that_a_worker_saw_itself_counts_where_nothing_was_written(store: Store, now: float) -> None:
    was = now + HOUR
    assert set_back(store, now, was=was) == HOUR
    assert not set_back(store, now, owner="another", was=was + 3), "it saw the same clock a little later"
    assert set_back(store, now, owner="another", was=was + 5) == HOUR + 5


def test_it_is_found_out_after_a_restart_too(store: Store, now: float) -> None:
    """By what came in: no worker ran when it did."""
    owe(store, letter(), now=now + HOUR)
    assert not claim(store, now=now + 1)
    assert set_back(store, now) == HOUR
    assert claim(store, now=now)


def test_and_again_when_it_is_set_back_once_more(store: Store, now: float) -> None:
    note(store, now)
    owe(store, letter(), now=now)
    assert set_back(store, now - HOUR) == HOUR
    note(store, now - HOUR + 60)
    assert set_back(store, now - 2 * HOUR) == pytest.approx(HOUR + 60)
    assert claim(store, now=now - 2 * HOUR)


def test_a_clock_that_goes_on_moves_nothing(store: Store, now: float) -> None:
    note(store, now)
    add(store, received_at=now + 1)
    owe(store, letter(), now=now + 1)
    for later in (-1, 0, 1, 10, 100_000):
        assert not set_back(store, now + later)
    assert dues(store) == [now + 1]


def test_leases_in_flight_stay_their_owners(store: Store, now: float) -> None:
    was = now + HOUR
    note(store, was)
    owe(store, letter("crm|1"), letter("crm|2"), now=was)
    (mine,) = claim(store, slots=1, now=was, owner="worker")
    assert set_back(store, now)
    assert dues(store) == pytest.approx([now + LEASE, now])
    assert [one.ordering_key for one in claim(store, now=now + LEASE - 1, owner="another")] == ["crm|2"]
    assert settle(store, mine, owner="worker", now=now + 5)


def test_leases_of_the_dead_end_soon_as_well(store: Store, now: float) -> None:
    was = now + HOUR
    note(store, was)
    owe(store, letter(), now=was)
    assert claim(store, now=was, owner="dead")
    assert set_back(store, now, owner="worker")
    assert claim(store, now=now + LEASE + 1)


def test_leases_of_the_living_with_another_clock_are_theirs(store: Store, now: float) -> None:
    """This machine's clock was set back; that lease is one by the server's clock, or is short enough."""
    note(store, now + 10)
    owe(store, letter(), now=now)
    assert claim(store, now=now, owner="another machine's")
    assert set_back(store, now) == 10
    assert dues(store) == [now + LEASE]


def test_many_are_moved_in_small_steps(store: Store, now: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "MAX_DELIVERIES", 7)
    monkeypatch.setattr(clock, "MAX_ENDPOINTS", 2)
    was = now + HOUR
    note(store, was)
    for nth in range(5):
        owe(store, *[letter(f"{nth}|{ordering_key}", f"endpoint{nth}") for ordering_key in range(4 * nth)], now=was)
    again = claim(store, "endpoint4", now=was)
    for nth, one in enumerate(again):
        settle(store, one, "again", now=was, due=was + 600 + nth // 2)
    steps = list(clock.shift_back(store, "worker", now, LEASE))
    later = [now + 600 + nth // 2 for nth in range(len(again))]
    assert len(steps) > 6 and sorted(dues(store)) == pytest.approx([now] * 24 + later)


def test_set_forward_own_leases_last_as_long_as_they_would_have(store: Store, now: float) -> None:
    owe(store, letter("crm|1"), letter("crm|2"), now=now)
    mine, lost = claim(store, now=now)
    assert len(claim(store, now=now + LEASE + 1, owner="another", slots=1)) == 1
    with store.reader() as conn:
        theirs = {row[0] for row in conn.execute(text("SELECT id FROM deliveries WHERE owner = 'another'"))}
    store.writer.write(partial(clock.extend_leases, owner="worker", claimed=[mine, lost], step=HOUR))
    with store.reader() as conn:
        after = dict(tuple(row) for row in conn.execute(text("SELECT id, due FROM deliveries")))
    for one in (mine, lost):
        expected = now + LEASE + 1 + LEASE if one.id in theirs else now + LEASE + HOUR
        assert after[one.id] == pytest.approx(expected)
