"""Statuses go out once and never backwards; the last custom_ticket; opt-outs. On both databases."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlalchemy import text

from gateway.store import Connection, Store, message_status
from gateway.store.message_status import (
    OptOut,
    count_opt_outs,
    has_opted_out,
    opt_out_of,
    opt_outs_after,
    opt_outs_of_number,
    opt_outs_of_phone,
    record_opt_out,
)
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
            partial(message_status.remember_custom_ticket, number="1", phone="2", custom_ticket=ticket, sent_at=at)
        )
    with store.reader() as conn:
        assert message_status.last_custom_ticket(conn, "1", "2") == "third"
        assert message_status.last_custom_ticket(conn, "2", "1") == ""


def say(store: Store, number: str, phone: str, word: str = "STOP", at: float = NOW, *, out: bool = True) -> bool:
    return store.writer.write(partial(record_opt_out, number=number, phone=phone, word=word, at=at, out=out))


def test_nobody_is_out_who_has_not_said_so(store: Store) -> None:
    with store.reader() as conn:
        assert opt_out_of(conn, "1", "2") is None
        assert not has_opted_out(conn, "1", "2")


def test_out_and_back(store: Store) -> None:
    assert say(store, "1", "2")
    with store.reader() as conn:
        assert opt_out_of(conn, "1", "2") == OptOut("1", "2", True, "STOP", NOW)
        assert has_opted_out(conn, "1", "2")
        assert not has_opted_out(conn, "1", "3") and not has_opted_out(conn, "3", "2"), "of this pair alone"
    assert say(store, "1", "2", "START", NOW + 1, out=False)
    with store.reader() as conn:
        assert opt_out_of(conn, "1", "2") == OptOut("1", "2", False, "START", NOW + 1)
        assert not has_opted_out(conn, "1", "2")


def test_the_last_word_counts_whichever_is_told_first(store: Store) -> None:
    say(store, "1", "2", "START", NOW + 1, out=False)
    assert not say(store, "1", "2", "STOP", NOW)
    with store.reader() as conn:
        assert not has_opted_out(conn, "1", "2")
    assert say(store, "1", "2", "STOP", NOW + 1), "said at the same time: the one told last"
    with store.reader() as conn:
        assert has_opted_out(conn, "1", "2")


def test_a_page_goes_on_where_the_last_one_ended(store: Store) -> None:
    pairs = [(number, phone) for number in ("1", "2", "3") for phone in ("10", "11", "12")]
    for number, phone in reversed(pairs):
        say(store, number, phone)
    found: list[tuple[str, str]] = []
    with store.reader() as conn:
        while page := opt_outs_after(conn, found[-1] if found else ("", ""), 2):
            found += [(one.number, one.phone) for one in page]
    assert found == pairs


def test_by_phone_by_number_and_how_many(store: Store) -> None:
    for number, phone in (("1", "10"), ("2", "10"), ("2", "11"), ("2", "12"), ("3", "12")):
        say(store, number, phone)
    say(store, "3", "12", "START", NOW + 1, out=False)
    with store.reader() as conn:
        assert [(one.number, one.out) for one in opt_outs_of_phone(conn, "12")] == [
            ("2", True),
            ("3", False),
        ]
        assert opt_outs_of_phone(conn, "99") == []
        assert [one.phone for one in opt_outs_of_number(conn, "2")] == ["10", "11", "12"]
        assert [one.phone for one in opt_outs_of_number(conn, "2", "10", 1)] == ["11"]
        assert count_opt_outs(conn) == 4


def test_no_table_no_search(store: Store) -> None:
    with store.reader() as conn:
        assert opt_outs_of_phone(conn, "1") == opt_outs_of_number(conn, "1") == opt_outs_after(conn) == []
        assert count_opt_outs(conn) == 0
