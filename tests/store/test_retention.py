"""What is old goes, on both databases; what is owed never."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import text

from gateway.store import Connection, Store, audit, leases, ledger, message_status, replay, retention
from tests.store_samples import NOW, SEND, add, claim, count, entry_of, letter, owe, owe_text, settle


def test_the_sweep_takes_what_is_old_and_settled_a_little_at_a_time(store: Store) -> None:
    for ordering_key in ("a", "b", "c"):
        owe(store, letter(ordering_key), now=NOW - 100)
    young = add(store, received_at=NOW)
    for each in claim(store, now=NOW - 100):
        settle(store, each, now=NOW - 100)
    store.writer.write(lambda conn: message_status.record_status(conn, "sid", "15551234567", "sent", NOW - 100))
    store.writer.write(
        partial(message_status.remember_custom_ticket, number="1", phone="2", custom_ticket="x", sent_at=NOW - 100)
    )
    sweep = partial(retention.sweep, before=NOW - 50, limit=2)
    assert store.writer.write(sweep) == retention.Swept(events=2, states=1, tickets=1)
    assert store.writer.write(sweep) == retention.Swept(events=1, states=0, tickets=0)
    assert not store.writer.write(sweep)
    assert [count(store, table) for table in ("deliveries", "attempts", "states", "tickets")] == [0, 0, 0, 0]
    with store.reader() as conn:
        assert list(conn.scalars(text("SELECT id FROM events"))) == [young]


def test_the_sweep_never_takes_what_is_owed(store: Store) -> None:
    owe(store, letter("a"), letter("b"), letter("b"), now=NOW - 100)
    [first, _second] = claim(store, now=NOW - 100)
    settle(store, first, now=NOW - 100)
    assert not store.writer.write(partial(retention.sweep, before=NOW))
    assert (count(store, "events"), count(store, "deliveries")) == (1, 3)


def test_the_dead_are_swept_with_their_event(store: Store) -> None:
    owe(store, letter(), now=NOW - 100)
    settle(store, claim(store, now=NOW)[0], "dead")
    assert store.writer.write(partial(retention.sweep, before=NOW)).events == 1
    assert replay.replay_all(store, replay.ReplayFilter(), NOW, 0.0) == 0


OLD = NOW - 100


def end_text(store: Store, outcome: leases.AttemptOutcome) -> None:
    """As the Sender does: the delivery is settled with the ledger."""
    for each in claim(store, ledger.ENDPOINT, now=OLD):
        settle(store, each, outcome, now=OLD)


def test_what_was_sent_goes_with_the_call_that_asked_for_it(store: Store) -> None:
    sent, refused = owe_text(store, OLD), owe_text(store, OLD, phone="15550000001")
    end_text(store, "succeeded")
    store.writer.write(partial(ledger.mark_sent, send_id=sent, message_sid="sid", now=OLD, fetch_at=OLD + 600))
    store.writer.write(partial(ledger.mark_refused, send_id=refused, reason="400", now=OLD))
    assert not store.writer.write(partial(retention.sweep, before=OLD))
    assert store.writer.write(partial(retention.sweep, before=NOW)).events == 2
    assert [count(store, table) for table in ("events", "deliveries", "attempts", "ledger")] == [0, 0, 0, 0]


@pytest.mark.parametrize("state", ["owed", "sending", "undecided"])
def test_a_send_that_has_not_come_to_its_end_stays_and_its_call_with_it(store: Store, state: str) -> None:
    """A second recipient of the same call was sent to: what became of that one stays with it."""
    send_id = owe_text(store, OLD)
    work = replace(SEND, send_id="other", ticket_number=entry_of(store, send_id).ticket_number)
    store.writer.write(partial(ledger.add_send, new=work, now=OLD))
    store.writer.write(partial(ledger.mark_sent, send_id="other", message_sid="sid", now=OLD, fetch_at=OLD))
    if state == "sending":
        store.writer.write(partial(ledger.mark_submitting, send_id=send_id, now=OLD, uncertain_until=OLD))
    if state == "undecided":
        end_text(store, "dead")
        store.writer.write(partial(ledger.mark_undecided, send_id=send_id, reason="lost", now=OLD))
    assert not store.writer.write(partial(retention.sweep, before=NOW))
    assert [count(store, table) for table in ("events", "deliveries", "ledger")] == [1, 1, 2]


def test_an_update_that_waits_stays_until_it_is_released(store: Store) -> None:
    add(store, state="waiting", received_at=OLD)
    assert not store.writer.write(partial(retention.sweep, before=NOW))
    store.writer.write(lambda conn: conn.execute(text("UPDATE events SET state = 'orphan'")))
    assert store.writer.write(partial(retention.sweep, before=NOW)).events == 1


def test_who_wants_no_texts_is_never_forgotten(store: Store) -> None:
    store.writer.write(partial(message_status.record_opt_out, number="1", phone="2", word="STOP", at=OLD, out=True))
    assert not store.writer.write(partial(retention.sweep, before=NOW))
    assert count(store, "opt_outs") == 1


def test_the_audit_trail_has_a_retention_of_its_own(store: Store) -> None:
    def record(conn: Connection) -> None:
        for at in (OLD, OLD + 1, NOW):
            audit.record(conn, audit.AuditEntry(at=at, who="alice", action="login"))

    store.writer.write(record)
    assert not store.writer.write(partial(retention.sweep, before=NOW))
    assert store.writer.write(partial(retention.sweep, before=OLD, audit_before=NOW)) == retention.Swept(audit=2)
    with store.reader() as conn:
        assert [entry.at for entry in audit.newest(conn, 9)] == [NOW]


def old_events(store: Store, count: int) -> None:
    for turn in range(count):
        add(store, received_at=NOW - 1000 + turn // 2)


def test_a_step_ends_by_the_clock_and_the_next_goes_on_from_there(store: Store) -> None:
    """Each step takes a chunk at least, or it would never come to an end."""
    old_events(store, 3 * retention.CHUNK_ROWS)
    first = store.writer.write(partial(retention.sweep, before=NOW, seconds=0.0))
    last = NOW - 1000 + (retention.CHUNK_ROWS - 1) // 2
    assert (first.events, first.reached) == (retention.CHUNK_ROWS, retention.SweepPosition(last, retention.CHUNK_ROWS))
    second = store.writer.write(
        partial(retention.sweep, before=NOW, after=first.reached or retention.BEGINNING, seconds=60.0)
    )
    assert (second.events, second.reached) == (2 * retention.CHUNK_ROWS, None)
    assert count(store) == 0


def test_what_is_owed_for_long_is_passed_by_once(store: Store) -> None:
    for turn in range(2 * retention.CHUNK_ROWS):
        owe(store, letter(f"crm|{turn}"), now=NOW - 100 + turn)
    add(store, received_at=NOW - 50)
    place, gone, reached = retention.BEGINNING, [], []
    for _ in range(3):
        swept = store.writer.write(partial(retention.sweep, before=NOW, after=place, seconds=0.0))
        gone.append(swept.events)
        place = swept.reached or retention.BEGINNING
        reached.append(place.at)
    assert gone == [0, 0, 1]
    assert reached == [NOW - 101 + retention.CHUNK_ROWS, NOW - 101 + 2 * retention.CHUNK_ROWS, 0.0]


def test_a_step_has_done_something_whatever_it_deleted() -> None:
    assert retention.Swept(events=1) and retention.Swept(states=1) and retention.Swept(tickets=1)
    assert retention.Swept(audit=1)
    assert not retention.Swept()


def test_a_step_deletes_no_more_of_each_kind_than_its_limit(store: Store) -> None:
    def many(conn: Connection) -> None:
        for turn in range(30):
            message_status.record_status(conn, f"sid-{turn}", "1", "sent", OLD)
            message_status.remember_custom_ticket(conn, "1", f"{turn}", "x", OLD)

    store.writer.write(many)
    swept = store.writer.write(partial(retention.sweep, before=NOW, limit=20, seconds=60.0))
    assert (swept.events, swept.states, swept.tickets) == (0, 20, 20)
    store.writer.write(lambda conn: conn.execute(text("DELETE FROM tickets")))
    swept = store.writer.write(partial(retention.sweep, before=NOW, limit=3, seconds=60.0))
    assert (swept.states, swept.tickets) == (3, 0)


def test_others_write_between_the_steps(store: Store, another: Callable[[], Store]) -> None:
    """The sweep holds the one lock of SQLite for a step at a time."""
    old_events(store, 10 * retention.CHUNK_ROWS)
    sweeper, left = another(), []

    def step() -> None:
        swept = sweeper.writer.write(partial(retention.sweep, before=NOW, seconds=0.0))
        left.append(swept.reached)

    with ThreadPoolExecutor(1) as pool:
        steps = [pool.submit(step) for _ in range(11)]
        for turn in range(11):
            add(store, received_at=NOW + turn)
        for one in steps:
            one.result(20)
    assert left[-1] is None
    assert None not in left[:9]
    assert count(store) == 11
