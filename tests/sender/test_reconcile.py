"""Looking a message up in a listing of which nothing is known: never is it absent when it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.carrierx import Page
from gateway.sender import reconcile
from gateway.sender.reconcile import Ambiguous, ListingUnreadable, MessageAbsent, MessageFound, ReconcileVerdict, Wanted

NOW = 1_800_000_000.0
SOUGHT = Wanted(send_id="ours", number="15162065919", phone="15162065515", text="Hi  there", since=NOW - 5)


def message(sid: int | str, age: float = 1000.0, **changes: Any) -> dict[str, Any]:
    """Of somebody else; `age`: seconds since it was made."""
    made = datetime.fromtimestamp(NOW - age, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    said = {
        "message_sid": f"sid-{sid}",
        "date_created": made,
        "direction": "outbound",
        "from": "15162065919",
        "to": "15162065516",
        "message": "Hi there",
        "user_data": f"other-{sid}",
    }
    return said | changes


OURS = message("ours", 2.0, to="15162065515", user_data="ours")


@dataclass
class Listing:
    """A listing that may change before each page, and an envelope that may lie."""

    items: list[Any]
    most: int = 1000
    """On a page, whatever is asked for."""
    total: Callable[[int], int | None] = lambda number: number
    has_more: Callable[[bool], bool | None] = lambda more: more
    changes: Iterable[Callable[[list[Any]], None]] = ()
    asked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changes = iter(self.changes)

    def read(self, offset: int) -> Page:
        self.asked.append(offset)
        end = offset + min(reconcile.PAGE_SIZE, self.most)
        page = Page(
            items=tuple(self.items[offset:end]),
            total=self.total(len(self.items)),
            has_more=self.has_more(end < len(self.items)),
        )
        next(self._changes, lambda items: None)(self.items)
        return page


def verdict(shown: Listing, sought: Wanted = SOUGHT) -> ReconcileVerdict:
    steps = reconcile.find_message(sought)
    try:
        offset = next(steps)
        while True:
            offset = steps.send(shown.read(offset))
    except StopIteration as end:
        found: ReconcileVerdict = end.value
        return found


def others(number: int, first: float = 1000.0) -> list[dict[str, Any]]:
    """The newest first, a second between two of them."""
    return [message(at, first + at) for at in range(number)]


def test_it_is_there() -> None:
    assert verdict(Listing([OURS])) == MessageFound(OURS)


def test_it_is_there_among_the_pages() -> None:
    shown = Listing([*others(2500)[::-1], OURS, *others(100, 5000)])
    assert isinstance(verdict(shown), MessageFound)


@pytest.mark.parametrize("items", [[], others(1), others(19), others(3000)[::-1]])
def test_it_is_not(items: list[Any]) -> None:
    assert verdict(Listing(items)) == MessageAbsent()


def test_of_the_newest_first_only_what_is_new_is_read() -> None:
    shown = Listing(others(5000, first=0.0))
    assert verdict(shown) == MessageAbsent()
    assert shown.asked == [0]


def test_of_the_oldest_first_only_the_end_is_read() -> None:
    shown = Listing(others(20_000)[::-1])
    assert verdict(shown) == MessageAbsent()
    assert len(shown.asked) <= 7
    assert isinstance(verdict(Listing([*others(20_000)[::-1], OURS])), MessageFound)


def test_too_much_has_come_since_to_read_the_end_only() -> None:
    items = [*others(2000, first=10_000)[::-1], OURS, *others(9000, first=-9000)[::-1]]
    assert isinstance(verdict(Listing(items)), MessageFound)


def test_a_few_dates_in_a_row_prove_nothing() -> None:
    """Sorted by number, say, and then by date."""
    shown = Listing([*others(15, first=9000), OURS], most=10)
    assert isinstance(verdict(shown), MessageFound)


def test_undated_messages_prove_nothing() -> None:
    items = [message(at, 5000 + at, date_created=None) for at in range(1500)]
    assert isinstance(verdict(Listing([*items, OURS])), MessageFound)


@pytest.mark.parametrize("most", [2, 3, 10, 100])
def test_smaller_pages_than_asked_for(most: int) -> None:
    items = others(55)[::-1]
    assert verdict(Listing(list(items), most=most)) == MessageAbsent()
    assert isinstance(verdict(Listing([*items, OURS], most=most)), MessageFound)


def test_pages_of_one_message_prove_nothing() -> None:
    assert isinstance(verdict(Listing(others(3), most=1)), ListingUnreadable)
    assert isinstance(verdict(Listing([*others(3), OURS], most=1)), MessageFound | ListingUnreadable)


@pytest.mark.parametrize(
    "lie",
    [
        {"total": lambda number: None},
        {"total": lambda number: 0},
        {"total": lambda number: 10, "has_more": lambda more: False},
        {"total": lambda number: None, "has_more": lambda more: None},
        {"has_more": lambda more: not more},
        {"has_more": lambda more: True},
        {"total": lambda number: "many", "has_more": lambda more: "yes"},
    ],
)
def test_an_envelope_that_lies(lie: dict[str, Any]) -> None:
    items = others(2500)[::-1]
    assert isinstance(verdict(Listing([*items, OURS], **lie)), MessageFound)
    assert isinstance(verdict(Listing(list(items), **lie)), MessageAbsent | ListingUnreadable)


@pytest.mark.parametrize(
    "lie",
    [{"total": lambda number: number + 1}, {"total": lambda number: None, "has_more": lambda more: True}],
)
def test_there_is_said_to_be_more_than_is_shown(lie: dict[str, Any]) -> None:
    assert isinstance(verdict(Listing(others(10)[::-1], **lie)), ListingUnreadable)
    assert isinstance(verdict(Listing([], **lie)), ListingUnreadable)


def test_it_is_too_long() -> None:
    class Endless(Listing):
        def read(self, offset: int) -> Page:
            self.asked.append(offset)
            items = tuple(message(offset + at, date_created=None) for at in range(reconcile.PAGE_SIZE))
            return Page(items=items, total=None, has_more=True)

    shown = Endless([])
    assert verdict(shown) == ListingUnreadable(reconcile.TOO_LONG)
    assert len(shown.asked) < 110


def test_a_server_that_always_shows_the_same_page() -> None:
    class Stuck(Listing):
        def read(self, offset: int) -> Page:
            self.asked.append(offset)
            return Page(items=tuple(self.items[: reconcile.PAGE_SIZE]), total=5000, has_more=True)

    shown = Stuck(others(1000)[::-1])
    assert isinstance(verdict(shown), ListingUnreadable)
    assert len(shown.asked) < 110


def test_messages_vanish_while_it_is_read() -> None:
    """What was to stand on the next page stands on this one then, which was read before."""

    def vanish(items: list[Any]) -> None:
        del items[:30]

    items = [message(at, at * 7919 % 5000) for at in range(3500)]
    items.insert(1980, OURS)
    assert isinstance(verdict(Listing(list(items), changes=[lambda items: None, vanish])), MessageFound)
    assert isinstance(verdict(Listing(list(items), changes=[vanish] * 30)), MessageFound | ListingUnreadable)


def test_what_changed_last_comes_first() -> None:
    """A message that goes to the front while later pages are read is seen there."""

    def change(items: list[Any]) -> None:
        items.insert(0, items.pop(items.index(OURS)))

    items = [message(at, at * 7919 % 5000) for at in range(3000)]
    items.insert(2500, OURS)
    assert isinstance(verdict(Listing(items, changes=[lambda items: None, change])), MessageFound)


def test_two_of_its_id() -> None:
    assert verdict(Listing([OURS, OURS | {"message_sid": "another"}])) == Ambiguous(reconcile.TWICE)


def test_the_same_one_twice_is_one() -> None:
    assert verdict(Listing([OURS, OURS])) == MessageFound(OURS)


@pytest.mark.parametrize("sid", [None, "", 7])
def test_one_without_a_name(sid: object) -> None:
    assert verdict(Listing([OURS | {"message_sid": sid}])) == Ambiguous(reconcile.NAMELESS)


def nobodys(**changes: Any) -> dict[str, Any]:
    alike = message("alike", 2.0, to="15162065515") | changes
    if "user_data" not in changes:
        del alike["user_data"]
    return alike


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"user_data": None},
        {"user_data": "null"},
        {"message": None},
        {"date_created": None},
        {"date_created": "yesterday"},
        {"to": "+1 516 206 5515"},
        {"from": None},
    ],
)
def test_it_may_be_one_that_does_not_say_whose_it_is(changes: dict[str, Any]) -> None:
    assert verdict(Listing([nobodys(**changes)])) == Ambiguous(reconcile.ALIKE, frozenset({"sid-alike"}))


def test_the_older_names_of_attributes() -> None:
    alike = nobodys()
    alike["from_did "], alike["to_did "] = alike.pop("from"), alike.pop("to")
    assert isinstance(verdict(Listing([alike])), Ambiguous)
    assert verdict(Listing([alike | {"to_did ": "15162065516"}])) == MessageAbsent()


@pytest.mark.parametrize(
    "changes",
    [
        {"user_data": "somebody else's"},
        {"to": "15162065516"},
        {"from": "15162065900"},
        {"message": "Hello"},
        {"direction": "inbound"},
        {"date_created": "2020-01-01T00:00:00.000Z"},
    ],
)
def test_it_cannot_be_that_one(changes: dict[str, Any]) -> None:
    assert verdict(Listing([nobodys(**changes)])) == MessageAbsent()


def test_what_is_no_message() -> None:
    assert verdict(Listing([None, 7, "text", {}, OURS])) == MessageFound(OURS)


def _date(item: Any) -> float:
    return reconcile.created(item) or 0.0


ORDERS: tuple[Callable[[Any], Any], ...] = (
    lambda item: -_date(item),
    _date,
    lambda item: hash(item["message_sid"]),
    lambda item: (item["to"], _date(item)),
)


@st.composite
def listings(draw: st.DrawFn, there: bool) -> Listing:
    """Some order, some size of page; while it is read messages come and go, each to its place."""
    order = draw(st.sampled_from(ORDERS))
    number = draw(st.integers(0, 60))
    items = [message(at, draw(st.integers(0, 10**4)), to=f"1516206{at % 3:04}") for at in range(number)]
    counter = iter(range(10**6, 10**7))

    def come(items: list[Any], age: int) -> None:
        items.append(message(next(counter), float(age)))
        items.sort(key=order)

    def go(items: list[Any], at: int) -> None:
        theirs = [item for item in items if item is not OURS]
        if theirs:
            items.remove(theirs[at % len(theirs)])

    def change(comes: list[int], goes: list[int]) -> Callable[[list[Any]], None]:
        def happen(items: list[Any]) -> None:
            for age in comes:
                come(items, age)
            for at in goes:
                go(items, at)

        return happen

    some = st.builds(change, st.lists(st.integers(0, 10**4), max_size=3), st.lists(st.integers(0, 40), max_size=6))
    return Listing(
        sorted([*items, OURS] if there else items, key=order),
        most=draw(st.sampled_from([2, 3, 5, 10, 1000])),
        total=draw(st.sampled_from([lambda number: number, lambda number: None, lambda number: number // 2])),
        has_more=draw(st.sampled_from([lambda more: more, lambda more: False, lambda more: None])),
        changes=draw(st.lists(some, max_size=8)),
    )


@given(listings(there=True))
def test_it_is_never_absent_when_it_is_there(shown: Listing) -> None:
    assert isinstance(verdict(shown), MessageFound | ListingUnreadable)


@given(listings(there=False))
def test_it_is_never_found_when_it_is_not(shown: Listing) -> None:
    assert isinstance(verdict(shown), MessageAbsent | ListingUnreadable)


@given(listings(there=True))
def test_at_rest_it_is_always_found(shown: Listing) -> None:
    shown._changes = iter(())
    assert verdict(shown) == MessageFound(OURS)
