"""The ledger sees what it is there to see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.ledger import Arrival, Ledger, Row
from tests.faults.world import World

ONE, TWO = "sid-1", "sid-2"


def arrival(sid: str, at: float, attempt: int = 1, taken: bool = True, delivery_id: str = "") -> Arrival:
    return Arrival(sid, "page", delivery_id or f"id of {sid}", attempt, at, taken)


def ledger(*arrivals: Arrival, faults: tuple[tuple[float, float], ...] = ()) -> Ledger:
    """Two texts of one ordering key were accepted."""
    made = Ledger()
    made.accept(ONE, "ordering_key")
    made.accept(TWO, "ordering_key")
    made.faults.extend(faults)
    for one in arrivals:
        made.arrive(one)
    return made


def wrong(made: Ledger, owed: tuple[str, ...] = (), dead: tuple[str, ...] = ()) -> list[str]:
    return [complaint.partition(" ")[0].rstrip(":") for complaint in made.balance("", owed, dead)[1]]


def test_all_is_well() -> None:
    row, complaints = ledger(arrival(ONE, 10), arrival(TWO, 11)).balance("nothing", (), ())
    assert not complaints
    assert (row.accepted, row.delivered, row.owed, row.dead, row.lost, row.doubled) == (2, 2, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("owed", "dead", "lost"), [((), (), 1), ((TWO,), (), 0), ((), (TWO,), 0), ((ONE,), (), 1)], ids=str
)
def test_what_neither_arrived_nor_stands_in_the_store_is_lost(
    owed: tuple[str, ...], dead: tuple[str, ...], lost: int
) -> None:
    row, complaints = ledger(arrival(ONE, 10)).balance("", owed, dead)
    assert (row.lost, len(complaints)) == (lost, lost)


def test_what_an_endpoint_did_not_take_has_not_arrived() -> None:
    assert wrong(ledger(arrival(ONE, 10), arrival(TWO, 11, taken=False))) == ["lost"]


@pytest.mark.parametrize(
    ("second", "faults", "complaints"),
    [
        (arrival(ONE, 10.5, attempt=2), ((10.0, 10.1),), []),
        (arrival(ONE, 10.5, attempt=2), ((13.0, 14.0),), ["came"]),
        (arrival(ONE, 10.5, attempt=1), ((10.0, 10.1),), ["not"]),
        (arrival(ONE, 10.5, attempt=2, delivery_id="other"), ((10.0, 10.1),), ["not"]),
    ],
    ids=["cut off", "not cut off", "not a higher attempt", "another id"],
)
def test_a_second_time(second: Arrival, faults: tuple[tuple[float, float], ...], complaints: list[str]) -> None:
    made = ledger(arrival(ONE, 10), second, arrival(TWO, 11), faults=faults)
    assert wrong(made) == complaints
    assert made.balance("", (), ())[0].doubled == 1


def test_again_as_it_was_not_taken() -> None:
    made = ledger(arrival(ONE, 10, taken=False), arrival(ONE, 11, attempt=2), arrival(TWO, 12))
    assert not wrong(made) and made.balance("", (), ())[0].doubled == 0


@pytest.mark.parametrize(("attempt", "complaints"), [(1, ["out"]), (2, ["out"]), (3, [])])
def test_order(attempt: int, complaints: list[str]) -> None:
    """One that is waiting for its third attempt no longer holds up those behind it."""
    assert wrong(ledger(arrival(TWO, 10), arrival(ONE, 11, attempt=attempt))) == complaints


def test_what_was_refused_may_not_arrive() -> None:
    made = ledger(arrival(ONE, 10), arrival(TWO, 11), arrival("sid-3", 12))
    assert wrong(made) == ["never"]
    made.not_answered("sid-3")
    assert not wrong(made)


@pytest.mark.parametrize(("retry_after", "complaints"), [("5", []), (None, ["503"])])
def test_503_names_a_time(retry_after: str | None, complaints: list[str]) -> None:
    made = ledger(arrival(ONE, 10), arrival(TWO, 11))
    made.put_off(retry_after)
    assert wrong(made) == complaints


AGAIN = (arrival(ONE, 10), arrival(ONE, 10.5, attempt=2), arrival(TWO, 11))


@pytest.mark.parametrize(
    ("arrivals", "standing", "doubles", "is_even"),
    [
        ([arrival(ONE, 10), arrival(TWO, 11)], {}, False, True),
        (AGAIN, {}, True, True),
        (AGAIN, {}, False, False),
        ([arrival(ONE, 10)], {}, True, False),
        ([arrival(ONE, 10)], {"pending": {TWO}}, True, False),
        ([arrival(ONE, 10)], {"dead": {TWO}}, True, False),
        ([arrival(TWO, 10), arrival(ONE, 11)], {}, True, False),
    ],
    ids=["even", "cut off", "never to come again", "lost", "owed", "dead", "out of order"],
)
def test_a_fault_is_survived_only_where_the_balance_is_even(
    arrivals: list[Arrival],
    standing: dict[str, set[str]],
    doubles: bool,
    is_even: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(World, "standing", lambda self, state: standing.get(state, set()))
    assert survives(ledger(*arrivals, faults=((10.1, 10.2),)), doubles) == is_even


def test_a_fault_that_nothing_was_accepted_in_is_not_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "standing", lambda self, state: set())
    assert not survives(Ledger())


def survives(made: Ledger, doubles: bool = True) -> bool:
    nobody: Any = None
    rows: list[Row] = []
    try:
        World(Path(), nobody, made, nobody, nobody).balance("", rows.append, doubles)
    except AssertionError:
        return False
    finally:
        assert len(rows) == 1, "the table has a line for it, whatever came of it"
    return True
