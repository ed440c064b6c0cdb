"""What is old goes, on both databases; what is owed never."""

from __future__ import annotations

from functools import partial

from sqlalchemy import text

from gateway.store import Store, outbox, retention, states, tickets
from tests.store_samples import NOW, add, claim, count, letter, owe, settle


def test_the_sweep_takes_what_is_old_and_settled_a_little_at_a_time(store: Store) -> None:
    for lane in ("a", "b", "c"):
        owe(store, letter(lane), now=NOW - 100)
    young = add(store, received_at=NOW)
    for each in claim(store, now=NOW - 100):
        settle(store, each, now=NOW - 100)
    store.writer.write(lambda conn: states.note(conn, "sid", "15551234567", "sent", NOW - 100))
    store.writer.write(partial(tickets.note, number="1", phone="2", custom_ticket="x", sent_at=NOW - 100))
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
    assert outbox.replay_all(store, outbox.Replay(), NOW, 0.0) == 0
