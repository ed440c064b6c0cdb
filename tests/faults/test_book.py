"""The book of what is sent sees what it is there to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults.ledger import Ledger
from tests.faults.sending import Sending
from tests.faults.sends import Book, Called, Post

SID, PHONE, TICKET, PAGE = f"sid-{'0' * 32}", "15162001000", "ticket", "/page"
ENTRY = {
    **{
        "id": 1,
        "send_id": "send",
        "ticket_shown": TICKET,
        "custom_ticket": SID,
        "number": "15162065919",
        "phone": PHONE,
    },
    **{"state": "sent", "status": "delivered", "message_sid": "theirs", "attempts_since_replay": 1},
}
SENT = {
    **{"message_sid": "theirs", "from": "15162065919", "to": PHONE, "status": "delivered"},
    **{"message": f"Hello {SID}", "user_data": "send"},
}
FLOW = ("queued", "sent", "delivered")
Row = Mapping[str, Any]


def post(at: float, status: str, **changes: Any) -> Post:
    said = {"path": PAGE, "delivery_id": status, "attempt": 1, "sid": SID, "phone": PHONE, "ticket": TICKET}
    return Post(**{**said, "at": at, "status": status, **changes})


def posts(*statuses: str, **changes: Any) -> list[Post]:
    return [post(at, status, **changes) for at, status in enumerate(statuses)]


def wrong(entries: list[Row], sent: list[Row], told: list[Post], faults: tuple[tuple[float, float], ...] = ()) -> str:
    """The first complaint, in its first words."""
    book = Book()
    book.call(Called(SID, (PHONE,), PAGE, TICKET))
    book.posts, book.faults = told, list(faults)
    row, complaints = book.balance("", entries, sent)
    assert complaints or (row.accepted, row.delivered, row.lost, row.owed, row.doubled) == (1, 1, 0, 0, 0)
    return complaints[0].partition(":")[0] if complaints else ""


def test_all_is_well() -> None:
    assert wrong([ENTRY], [SENT], posts(*FLOW)) == ""
    assert wrong([ENTRY], [SENT], posts("queued", "delivered")) == ""


@pytest.mark.parametrize(
    ("entries", "sent", "complaint"),
    [
        ([], [], "accepted, and nowhere"),
        ([ENTRY], [], "said to be sent, and not there"),
        ([ENTRY], [SENT, SENT], "sent 2 times"),
        ([ENTRY], [SENT, {**SENT, "user_data": "other"}], "sent, and the ledger has nothing of it"),
        ([ENTRY], [{**SENT, "message_sid": "other"}], "they disagree"),
        ([{**ENTRY, "status": "sent"}], [SENT], "they disagree"),
        ([{**ENTRY, "state": "sending"}], [SENT], "not decided"),
        ([{**ENTRY, "state": "undecided"}], [], "not decided"),
        ([{**ENTRY, "state": "refused", "status": "failed"}], [], "refused"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_ledger_and_carrierx_must_agree(entries: list[Row], sent: list[Row], complaint: str) -> None:
    assert wrong(entries, sent, posts(*FLOW)) == complaint


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        (posts("queued", "sent"), "the last word is missing"),
        (posts("sent", "delivered"), "queued is not first"),
        (posts("queued", "delivered", "sent", "delivered"), "posted again although no fault cut it off"),
        ([*posts(*FLOW), post(9, "delivered", delivery_id="other")], "not forward, or twice"),
        (posts("queued", "delivered", "sent"), "not forward, or twice"),
        (posts(*FLOW, path="/own/0"), "to the wrong page, or with the wrong ticket"),
        (posts(*FLOW, ticket="other"), "to the wrong page, or with the wrong ticket"),
        ([*posts(*FLOW), post(9, "queued", phone="1", delivery_id="x")], "a post about nothing that was sent"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_every_status_is_told_once_and_forward(told: list[Post], complaint: str) -> None:
    assert wrong([ENTRY], [SENT], told).startswith(complaint)


def test_again_only_where_a_fault_cut_it_off() -> None:
    again = [*posts(*FLOW), post(2.5, "delivered", attempt=2)]
    assert wrong([ENTRY], [SENT], again, faults=((2.1, 2.2),)) == ""
    assert wrong([ENTRY], [SENT], again, faults=((9.0, 9.1),)) == "posted again although no fault cut it off"
    same = [*posts(*FLOW), post(2.5, "delivered", attempt=1)]
    assert wrong([ENTRY], [SENT], same, faults=((2.1, 2.2),)) == "not a later attempt"


def test_texts_of_one_conversation_come_in_order() -> None:
    other = {**SENT, "message_sid": "second", "message": "", "user_data": "second", "to": PHONE}
    entries = [ENTRY, {**ENTRY, "id": 2, "send_id": "second", "custom_ticket": "other", "message_sid": "second"}]
    assert "out of order" in _all(entries, [other, SENT])
    assert "out of order" not in _all(entries, [SENT, other])
    assert "out of order" not in _all([{**ENTRY, "attempts_since_replay": 3}, entries[1]], [other, SENT])


def _all(entries: Sequence[Row], sent: Sequence[Row]) -> str:
    book = Book()
    book.call(Called(SID, (PHONE,), PAGE, TICKET))
    return "\n".join(book.balance("", entries, sent)[1])


@pytest.mark.parametrize(
    ("entries", "stray", "under_way", "is_even"),
    [
        ([ENTRY], [], "", True),
        ([], [], "", False),
        ([ENTRY], [{"state": "orphan"}], "", False),
        ([ENTRY], [], "1 posts", False),
    ],
    ids=["even", "not in the ledger", "an update of nothing", "under way"],
)
def test_a_fault_is_survived_only_where_the_books_agree(
    entries: list[Row], stray: list[Row], under_way: str, is_even: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sending, "entries", lambda self: entries)
    monkeypatch.setattr(Sending, "rows", lambda self, query: stray)
    monkeypatch.setattr(Sending, "under_way", lambda self: under_way)
    book = Book()
    book.call(Called(SID, (PHONE,), PAGE, TICKET))
    book.posts = posts(*FLOW)
    assert survives(book, [SENT]) == is_even


def test_a_fault_that_nothing_was_accepted_in_is_not_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("entries", "rows", "under_way"):
        monkeypatch.setattr(Sending, name, lambda *_: [])
    assert not survives(Book(), [])


def survives(book: Book, sent: list[Row]) -> bool:
    nobody: Any = None
    standin: Any = SimpleNamespace(sent=lambda: sent)
    rows: list[object] = []
    try:
        Sending(Path(), nobody, Ledger(), nobody, nobody, standin=standin, book=book).weigh("", rows.append)
    except AssertionError:
        return False
    finally:
        assert len(rows) == 1, "the table has a line for it, whatever came of it"
    return True
