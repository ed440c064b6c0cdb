"""What is known of a message's way, on both databases: nothing goes out twice, nothing goes backwards."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlalchemy import text

from gateway.store import Connection, Store, message_status, tickets
from tests.store_samples import NOW


def note(store: Store, status: str, sid: str = "sid-1", recipient: str = "15551234567", now: float = NOW) -> str:
    return store.writer.write(lambda conn: message_status.record_status(conn, sid, recipient, status, now))


def test_each_status_goes_out_once(store: Store) -> None:
    told = [note(store, status) for status in ("queued", "queued", "sent", "queued", "sent", "delivered", "sent")]
    assert told == ["new", "duplicate", "new", "duplicate", "duplicate", "new", "duplicate"]


def test_nothing_goes_backwards(store: Store) -> None:
    told = [note(store, status) for status in ("delivered", "sent", "sent", "queued")]
    assert told == ["new", "stale", "duplicate", "stale"]


def test_an_unknown_word_does_not_hide_what_was_known_before_it(store: Store) -> None:
    told = [note(store, status) for status in ("sent", "on its way", "queued", "delivered", "nearly there")]
    assert told == ["new", "new", "stale", "new", "stale"]


def test_recipients_and_messages_are_apart(store: Store) -> None:
    assert note(store, "delivered", "a", "1") == "new"
    assert note(store, "sent", "a", "2") == "new"
    assert note(store, "sent", "b", "1") == "new"


def test_statuses_without_end_do_not_grow_a_row_without_end(store: Store) -> None:
    note(store, "delivered")

    def many(conn: Connection) -> None:
        for turn in range(200):
            message_status.record_status(conn, "sid-1", "15551234567", f"word {turn}", NOW)

    store.writer.write(many)
    with store.reader() as conn:
        assert len(conn.execute(text("SELECT seen FROM states")).scalar_one()) < 64 * 16
    assert note(store, "sent") == "stale"


def test_told_on_several_machines_at_once_it_is_new_on_one(store: Store, another: Callable[[], Store]) -> None:
    machines = [store, another(), another(), another()]
    for turn in range(20):
        work = partial(said, sid=f"sid-{turn}")
        futures = [each.writer.submit(work) for each in machines]
        assert sorted(future.result(20) for future in futures) == ["duplicate", "duplicate", "duplicate", "new"]


def said(conn: Connection, sid: str) -> str:
    return message_status.record_status(conn, sid, "15551234567", "delivered", NOW)


def test_the_last_ticket_is_the_one_sent_last_whoever_tells_first(store: Store) -> None:
    for ticket, at in (("second", 20.0), ("first", 10.0), ("third", 20.0)):
        store.writer.write(
            partial(tickets.remember_custom_ticket, number="1", phone="2", custom_ticket=ticket, sent_at=at)
        )
    with store.reader() as conn:
        assert tickets.last_custom_ticket(conn, "1", "2") == "third"
        assert tickets.last_custom_ticket(conn, "2", "1") == ""
