"""Texts are blanked when their time is over, on both databases; what is owed keeps its bytes."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import text

from gateway.store import Store, events, ledger, replay, retention, search
from gateway.store.retention import Blanked, blank
from tests.store_samples import NOW, add, claim, count, entry_of, letter, owe, owe_text, settle

OLD = NOW - 100


def run(store: Store, before: float = NOW, now: float = NOW, marked_to: int | None = None) -> Blanked:
    """A whole round."""
    return store.writer.write(partial(blank, before=before, now=now, marked_to=marked_to, seconds=60.0))


def detail(store: Store, event_id: int) -> search.EventDetail:
    with store.reader() as conn:
        found = search.load_event(conn, event_id)
    assert found is not None
    return found


def settled(store: Store) -> int:
    """An old event with an answered delivery; its id."""
    owe(store, letter(), now=OLD)
    settle(store, claim(store, now=OLD)[0], "dead", now=OLD)
    with store.reader() as conn:
        return int(conn.execute(text("SELECT max(id) FROM events")).scalar_one())


def test_bodies_of_events_deliveries_and_answers_are_blanked_and_all_else_stays(store: Store) -> None:
    event_id, young = settled(store), add(store, received_at=NOW)
    before = detail(store, event_id)
    assert before.event.body and before.deliveries[0].body and before.deliveries[0].attempts[0].answer_body
    assert run(store) == Blanked(1, None, False)
    after = detail(store, event_id)
    delivery = after.deliveries[0]
    assert (after.event.body, after.event.blanked_at, delivery.body) == (b"", NOW, b"")
    assert (delivery.attempts[0].answer_body, delivery.attempts[0].answer_headers) == (b"", ())
    assert (after.event.phone, after.event.notes, delivery.last_error) == (
        before.event.phone,
        before.event.notes,
        "It answered 500.",
    )
    assert detail(store, young).event.body


def test_a_blanked_delivery_is_not_replayed(store: Store) -> None:
    event_id = settled(store)
    run(store)
    assert replay.replay_all(store, replay.ReplayFilter(), NOW, 0.0) == 0
    with store.reader() as conn:
        assert replay.count_blanked(conn, replay.ReplayFilter()) == 1
        assert replay.count_blanked(conn, replay.ReplayFilter(state="succeeded")) == 0
    (delivery,) = detail(store, event_id).deliveries
    put = partial(replay.put_back, id_=delivery.id, ordering_key=delivery.ordering_key, now=NOW)
    assert not store.writer.write(put, ordering_keys=[delivery.ordering_key])


def test_a_refused_text_is_not_owed_again_without_its_body(store: Store) -> None:
    send_id = owe_text(store, OLD)
    (claimed,) = claim(store, ledger.ENDPOINT, now=OLD)
    settle(store, claimed, "dead", now=OLD)
    store.writer.write(partial(ledger.mark_refused, send_id=send_id, reason="400", now=OLD))
    with store.reader() as conn:
        candidates = replay.load_candidates(conn, [claimed.id])
    run(store)
    work = partial(replay.replay, candidates=candidates, state="dead", now=NOW, interval_seconds=0.0)
    assert store.writer.write(work, ordering_keys=[claimed.ordering_key]) == 0
    assert entry_of(store, send_id).state == "refused"


def test_an_unrouted_event_that_is_blanked_is_not_routed(store: Store) -> None:
    event_id = add(store, state="unrouted", received_at=OLD)
    run(store)
    assert not store.writer.write(partial(events.mark_routed, event_id=event_id, keyword="JOIN", notes=()))


def test_what_is_owed_is_passed_by_once_and_blanked_when_it_is_settled(store: Store) -> None:
    owe(store, letter(), now=OLD)
    waiting = add(store, state="waiting", received_at=OLD)
    for _ in range(2):
        assert run(store) == Blanked(0, None, False)
    assert count(store, "events WHERE body <> '' AND blanked_at = 0") == 2
    assert replay.replay_all(store, replay.ReplayFilter(), NOW, 0.0) == 0
    settle(store, claim(store, now=OLD)[0], now=NOW)
    assert run(store, now=NOW + 5) == Blanked(1, None, False)
    assert detail(store, waiting).event.body
    store.writer.write(lambda conn: conn.execute(text("UPDATE events SET state = 'orphan'")))
    assert run(store, now=NOW + 5) == Blanked(1, None, False)
    assert detail(store, waiting).event.blanked_at == NOW + 5


@pytest.mark.parametrize("state", ["owed", "sending", "undecided"])
def test_a_text_that_has_not_come_to_its_end_is_kept(store: Store, state: str) -> None:
    send_id = owe_text(store, OLD)
    if state == "sending":
        store.writer.write(partial(ledger.mark_submitting, send_id=send_id, now=OLD, uncertain_until=OLD))
    if state == "undecided":
        settle(store, claim(store, ledger.ENDPOINT, now=OLD)[0], "dead", now=OLD)
        store.writer.write(partial(ledger.mark_undecided, send_id=send_id, reason="lost", now=OLD))
    assert run(store).events == 0
    assert count(store, "deliveries WHERE content_type <> ''") == 1


def test_an_event_is_looked_at_once(store: Store) -> None:
    """How far it came is in the store: a worker that starts does not begin at the oldest event of all."""
    for turn in range(3):
        add(store, received_at=OLD + turn)
    assert run(store).events == 3
    assert run(store).events == 0
    add(store, received_at=OLD + 2)
    assert run(store).events == 1, "one of the same time, that was committed later"


@pytest.mark.parametrize("before", [OLD, OLD - 5])
def test_a_clock_that_was_wrong_leaves_no_text_behind(store: Store, before: float) -> None:
    add(store, received_at=OLD)
    assert run(store).events == 1
    add(store, received_at=OLD - 50)
    assert run(store, before=before).events == 1
    assert count(store, "events WHERE blanked_at IS NULL") == 0


def test_a_step_ends_by_the_clock_and_the_next_goes_on_from_there(store: Store) -> None:
    for turn in range(2 * retention.CHUNK_ROWS):
        add(store, received_at=OLD + turn)
        owe(store, letter(f"crm|{turn}"), now=OLD + turn)
    step = partial(blank, before=NOW, now=NOW, seconds=0.0)
    steps, marked_to, more = [], None, True
    while more:
        done = store.writer.write(partial(step, marked_to=marked_to))
        steps.append(done.events)
        marked_to, more = done.marked_to, done.more
    half = retention.CHUNK_ROWS // 2
    assert steps == [half, half, half, half, 0, 0, 0, 0]
    assert count(store, "events WHERE blanked_at > 0") == 2 * retention.CHUNK_ROWS
    assert run(store).events == 0


def test_the_first_word_on_when_it_was_blanked_stays(store: Store) -> None:
    event_id = settled(store)
    run(store, now=NOW)
    store.writer.write(lambda conn: conn.execute(text("DELETE FROM blanking")))
    run(store, now=NOW + 9)
    assert detail(store, event_id).event.blanked_at == NOW
