"""The ledger: ticket ⇄ message_sid ⇄ status, on both databases."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from gateway.store import Store, ledger
from gateway.store.ledger import LedgerEntry, SendSearch
from tests.store_samples import NOW, SEND, add, entry_of, send

SID = "5f4c0b36-0a2c-4b39-8f0e-9e8f6b1c1f11"
WAIT = 600.0


def test_what_is_owed_is_found_by_everything_it_is_called(store: Store) -> None:
    send(store, send_id="one", ticket="0b6c…", ticket_number=7, custom_ticket="order-7")
    send(store, send_id="two", ticket="0b6c…", ticket_number=7, custom_ticket="order-7", phone="15551230000")
    with store.reader() as conn:
        found = ledger.of_send(conn, "one")
        assert found == LedgerEntry(
            **{name: getattr(SEND, name) for name in SEND.__dataclass_fields__}
            | {"send_id": "one", "ticket": "0b6c…", "ticket_number": 7, "custom_ticket": "order-7"},
            id=1, message_sid="", created_at=NOW, changed_at=NOW, uncertain_until=None, fetch_at=None, fetches=0,
        )  # fmt: skip
        for each in (
            ledger.of_ticket(conn, "0B6C…"),
            ledger.of_ticket(conn, " 7 "),
            ledger.of_event(conn, 7),
            ledger.of_custom_ticket(conn, "order-7"),
        ):
            assert [entry.send_id for entry in each] == ["one", "two"]
        assert ledger.of_send(conn, "three") is None
        assert (
            ledger.of_ticket(conn, "8") == ledger.of_ticket(conn, "9" * 40) == ledger.of_custom_ticket(conn, "x") == []
        )


def test_nothing_is_found_by_what_is_empty(store: Store) -> None:
    send(store)
    with store.reader() as conn:
        assert ledger.of_sid(conn, "") is None
        assert ledger.of_custom_ticket(conn, "") == []


def test_a_send_has_one_row(store: Store) -> None:
    send(store, send_id="one")
    with pytest.raises(Exception, match=r"(?i)unique"):
        send(store, send_id="one")


def test_on_its_way_and_there(store: Store) -> None:
    send(store, send_id="one")
    assert not in_flight(store)
    store.writer.write(partial(ledger.mark_submitting, send_id="one", now=NOW + 1, uncertain_until=NOW + 16))
    found = entry_of(store, "one")
    assert (found.state, found.uncertain_until, found.changed_at) == ("sending", NOW + 16, NOW + 1)
    assert in_flight(store)
    assert sent(store, "one")
    found = entry_of(store, "one")
    assert (found.state, found.message_sid, found.uncertain_until, found.fetch_at) == (
        "sent",
        SID,
        None,
        NOW + 2 + WAIT,
    )
    assert not in_flight(store)
    with store.reader() as conn:
        assert ledger.of_sid(conn, SID) == found


def test_a_message_sid_is_learnt_once(store: Store) -> None:
    send(store, send_id="one")
    assert sent(store, "one")
    assert not sent(store, "one", "another")
    assert not store.writer.write(partial(ledger.mark_refused, send_id="one", reason="no", now=NOW))
    assert not store.writer.write(partial(ledger.mark_undecided, send_id="one", reason="no", now=NOW))
    store.writer.write(partial(ledger.put_back_for_submission, send_id="one", now=NOW + 5))
    found = entry_of(store, "one")
    assert (found.state, found.message_sid) == ("sent", SID)


def test_an_answer_that_was_lost_and_a_request_that_never_left(store: Store) -> None:
    send(store, send_id="one")
    store.writer.write(partial(ledger.mark_submitting, send_id="one", now=NOW, uncertain_until=NOW + 15))
    store.writer.write(partial(ledger.mark_uncertain, send_id="one", now=NOW + 3, uncertain_until=NOW + 3))
    assert (entry_of(store, "one").state, entry_of(store, "one").uncertain_until) == ("sending", NOW + 3)
    store.writer.write(partial(ledger.put_back_for_submission, send_id="one", now=NOW + 4, reason="busy\0"))
    found = entry_of(store, "one")
    assert (found.state, found.uncertain_until, found.reason) == ("owed", None, "busy")


def test_refused_and_undecided(store: Store) -> None:
    send(store, send_id="one")
    send(store, send_id="two")
    assert store.writer.write(partial(ledger.mark_refused, send_id="one", reason="400", now=NOW + 1))
    assert store.writer.write(partial(ledger.mark_undecided, send_id="two", reason="lost", now=NOW + 2))
    one, two = entry_of(store, "one"), entry_of(store, "two")
    assert (one.state, one.status, one.reason, one.final) == ("refused", "failed", "400", True)
    assert (two.state, two.status, two.reason, two.final) == ("undecided", "", "lost", False)
    assert sent(store, "two"), "an update told after all"


def test_the_status_only_goes_forwards(store: Store) -> None:
    send(store, send_id="one")
    sent(store, "one")
    for word, known, missing in (
        ("queued", "queued", True),
        ("sent", "sent", True),
        ("queued", "sent", True),
        ("delivered", "delivered", False),
        ("sent", "delivered", False),
    ):
        entry = entry_of(store, "one")
        store.writer.write(partial(ledger.record_status, entry=entry, status=word, now=NOW + 9, missing_after=WAIT))
        found = entry_of(store, "one")
        assert (found.status, found.fetch_at) == (known, NOW + 9 + WAIT if missing else None)


def test_what_is_missing_is_asked_for_less_and_less_and_then_no_more(store: Store) -> None:
    send(store, send_id="one")
    sent(store, "one")
    assert missing(store, NOW + 2 + WAIT - 1) == []
    assert asking(store, NOW + 2 + WAIT) == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, None]


def test_word_of_a_message_begins_the_asking_anew(store: Store) -> None:
    send(store, send_id="one")
    sent(store, "one")
    asking(store, NOW + 2 + WAIT)
    work = partial(ledger.record_status, entry=entry_of(store, "one"), status="sent", now=NOW + 9, missing_after=WAIT)
    store.writer.write(work)
    assert asking(store, NOW + 9 + WAIT) == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, None]


def test_texts_that_no_column_takes(store: Store) -> None:
    odd = {"custom_ticket": "\ud800" + "x" * 300, "status_url": "https://example.com/\0", "reason": "\0"}
    store.writer.write(partial(ledger.add_send, new=replace(SEND, send_id="one", **odd), now=NOW))
    with store.reader() as conn:
        [found] = ledger.of_custom_ticket(conn, odd["custom_ticket"])
    assert (found.status_url, found.reason) == ("https://example.com/", "")


def in_flight(store: Store) -> bool:
    with store.reader() as conn:
        return ledger.is_in_flight(conn, SEND.number, SEND.phone)


def missing(store: Store, now: float) -> list[LedgerEntry]:
    with store.reader() as conn:
        return ledger.without_status(conn, now, 10)


def asking(store: Store, at: float) -> list[float | None]:
    """CarrierX is asked from then on, and has no news; how long until each next time, in multiples of `WAIT`."""
    gaps: list[float | None] = []
    while found := missing(store, at):
        store.writer.write(partial(ledger.record_poll, entry=found[0], now=at, missing_after=WAIT))
        again = entry_of(store, "one").fetch_at
        gaps.append(None if again is None else (again - at) / WAIT)
        at = again or at
    return gaps


def sent(store: Store, send_id: str, sid: str = SID) -> bool:
    work = partial(ledger.mark_sent, send_id=send_id, message_sid=sid, now=NOW + 2, fetch_at=NOW + 2 + WAIT)
    return store.writer.write(work)


def found(store: Store, **what: object) -> list[str]:
    with store.reader() as conn:
        return list(ledger.search_sends(conn, SendSearch(**what)).send_ids)  # type: ignore[arg-type]


def test_the_search(store: Store) -> None:
    send(store, NOW, send_id="a", ticket="t-1", ticket_number=11, custom_ticket="order 1", phone="1555")
    send(store, NOW + 1, send_id="b", ticket="t-1", ticket_number=11, phone="1666", state="refused", status="failed")
    send(store, NOW + 2, send_id="c", ticket="t-2", ticket_number=12, phone="1666", number="99", code="98")
    store.writer.write(partial(ledger.mark_sent, send_id="c", message_sid=SID, now=NOW, fetch_at=NOW))
    assert found(store) == ["c", "b", "a"], "the newest first"
    for what, expected in (
        ({"ticket": "T-1"}, ["b", "a"]),
        ({"ticket": "12"}, ["c"]),
        ({"ticket": "9" * 40}, []),
        ({"custom_ticket": "order 1"}, ["a"]),
        ({"phone": "1666"}, ["c", "b"]),
        ({"number": "99"}, ["c"]),
        ({"number": "98"}, ["c"]),
        ({"message_sid": SID}, ["c"]),
        ({"state": "sent"}, ["c"]),
        ({"state": "refused"}, ["b"]),
        ({"status": "failed"}, ["b"]),
        ({"since": NOW + 1}, ["c", "b"]),
        ({"until": NOW + 1}, ["a"]),
        ({"phone": "1666", "state": "refused"}, ["b"]),
        ({"phone": "\0\ud800"}, []),
    ):
        assert found(store, **what) == expected, what


def test_a_page_says_whether_there_are_older_ones(store: Store) -> None:
    for turn in range(5):
        send(store, NOW + turn, send_id=str(turn))
    with store.reader() as conn:
        assert ledger.search_sends(conn, SendSearch(), limit=2) == ledger.SendPage(("4", "3"), True)
        assert ledger.search_sends(conn, SendSearch(), limit=2, offset=2) == ledger.SendPage(("2", "1"), True)
        assert ledger.search_sends(conn, SendSearch(), limit=2, offset=4) == ledger.SendPage(("0",), False)
        assert ledger.search_sends(conn, SendSearch(), limit=0, offset=-1).more


def test_what_has_not_come_to_its_end_is_counted(store: Store) -> None:
    for state, many in (("owed", 3), ("sending", 1), ("undecided", 2), ("sent", 4), ("refused", 5)):
        for _ in range(many):
            send(store, state=state)
    add(store, state="waiting")
    add(store, state="orphan")
    with store.reader() as conn:
        assert ledger.open_sends(conn) == ledger.OpenSends({"owed": 3, "sending": 1, "undecided": 2}, waiting=1)
