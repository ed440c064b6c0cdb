"""One phone's data is found and erased, on both databases; others' data, opt-outs and what is owed stay."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from sqlalchemy import text

from gateway.store import Store, ledger, message_status, outbox, person, retention, search
from gateway.store.person import PersonalData
from schemas.message import Body
from tests.store_samples import EVENT, NOW, SEND, add, claim, count, letter, owe, owe_text, settle

PHONE, OTHER, OURS = EVENT.phone, "15550000001", EVENT.number
TABLES = ("events", "deliveries", "attempts", "ledger", "states", "tickets", "opt_outs")


def counts(store: Store) -> dict[str, int]:
    return {table: count(store, table) for table in TABLES}


def deliver(store: Store, endpoint: str = "crm") -> None:
    for each in claim(store, endpoint):
        settle(store, each)


def know(store: Store, phone: str) -> None:
    """Keeps rows beside events: a status, a custom ticket, an opt-out."""
    store.writer.write(
        partial(message_status.record_status, message_sid="sid", recipient=phone, status="sent", now=NOW)
    )
    store.writer.write(
        partial(message_status.remember_custom_ticket, number=OURS, phone=phone, custom_ticket="x", sent_at=NOW)
    )
    store.writer.write(partial(message_status.record_opt_out, number=OURS, phone=phone, word="STOP", at=NOW, out=True))


def call_to_two(store: Store) -> tuple[int, str, str]:
    """A call of two recipients whose texts are sent, with a status post about each: its event, and the send_ids."""
    first = owe_text(store)
    with store.reader() as conn:
        event_id = int(conn.execute(text("SELECT max(id) FROM events")).scalar_one())
    store.writer.write(lambda conn: conn.execute(text(f"UPDATE events SET phone = '' WHERE id = {event_id}")))
    second = outbox.new_id(NOW)
    new = replace(SEND, send_id=second, ticket_number=event_id, phone=OTHER)
    store.writer.write(partial(ledger.add_send, new=new, now=NOW))
    body = Body(content_type="application/json", data=b'{"message": "to the other"}')
    out = letter(f"{ledger.ENDPOINT}/conversation/{OTHER}/{OURS}", ledger.ENDPOINT, body)
    owed = [replace(out, delivery_id=second), letter("crm|posts")]
    work = partial(outbox.owe, event_id=event_id, owed=owed, now=NOW)
    store.writer.write(work, ordering_keys=[each.ordering_key for each in owed])
    return event_id, first, second


def send(store: Store, *send_ids: str) -> None:
    deliver(store, ledger.ENDPOINT)
    for send_id in send_ids:
        mark = partial(ledger.mark_sent, send_id=send_id, message_sid=f"sid of {send_id}", now=NOW, fetch_at=NOW + 600)
        store.writer.write(mark)


def test_all_of_a_phone_goes_but_its_opt_outs_and_others_keep_theirs(store: Store) -> None:
    owe(store, letter("a"), letter("b"))
    sent = owe_text(store)
    send(store, sent)
    deliver(store)
    know(store, PHONE)
    add(store, phone=OTHER)
    send(store, owe_text(store, phone=OTHER))
    store.writer.write(lambda conn: conn.execute(text(f"UPDATE events SET phone = '{OTHER}' WHERE id = 4")))
    know(store, OTHER)
    found, left = person.erase(store, PHONE, NOW)
    assert (found.own, found.shared, found.sends, found.kept) == ([1, 2], [], [sent], {})
    assert (found.states, found.tickets) == (["sid"], [OURS])
    assert left == PersonalData({}, [], [], [], [], [])
    assert counts(store) == {
        **{"events": 2, "deliveries": 1, "attempts": 1, "ledger": 1},
        **{"states": 1, "tickets": 1, "opt_outs": 2},
    }


def test_of_a_call_to_several_its_own_part_goes(store: Store) -> None:
    event_id, first, second = call_to_two(store)
    send(store, first, second)
    deliver(store)
    found, left = person.erase(store, PHONE, NOW)
    assert (found.own, found.shared, found.kept) == ([], [event_id], {})
    assert not left.shared and not left.sends
    with store.reader() as conn:
        event = search.load_event(conn, event_id)
        assert ledger.of_send(conn, first) is None and ledger.of_send(conn, second) is not None
    assert event is not None and (event.event.body, event.event.blanked_at) == (b"", NOW)
    other, post = event.deliveries
    assert other.delivery_id == second and other.body == b'{"message": "to the other"}'
    assert (post.body, post.attempts[0].answer_body) == (b"", b"")


def test_what_is_owed_to_the_others_of_a_call_stays_and_goes_out(store: Store) -> None:
    event_id, first, second = call_to_two(store)
    deliver(store)
    [mine, theirs] = claim(store, ledger.ENDPOINT)
    settle(store, mine)
    store.writer.write(partial(ledger.mark_sent, send_id=first, message_sid="sid", now=NOW, fetch_at=NOW + 600))
    assert not person.erase(store, PHONE, NOW)[1].kept
    with store.reader() as conn:
        event = search.load_event(conn, event_id)
    assert event is not None and event.event.blanked_at == NOW
    (owed,) = [each for each in event.deliveries if each.state == "pending"]
    assert owed.delivery_id == second and owed.body == b'{"message": "to the other"}'
    assert settle(store, theirs)


def test_what_is_owed_undecided_or_waiting_stays_and_is_named(store: Store) -> None:
    owe(store, letter("a"))
    undecided = owe_text(store)
    deliver(store, ledger.ENDPOINT)
    store.writer.write(partial(ledger.mark_undecided, send_id=undecided, reason="lost", now=NOW))
    add(store, state="waiting", direction="outbound")
    call, first, second = call_to_two(store)
    know(store, PHONE)
    before = counts(store)
    found, left = person.erase(store, PHONE, NOW)
    assert (
        found.kept
        == left.kept
        == {
            1: [("delivery to", "crm")],
            2: [("text is", "undecided")],
            3: [("update is", "waiting")],
            call: [("delivery to", "crm"), ("text is", "owed")],
        }
    )
    assert counts(store) == before | {"tickets": 0}, "the last status keeps it from being posted twice"
    deliver(store)
    send(store, first, second, undecided)
    store.writer.write(lambda conn: conn.execute(text("UPDATE events SET state = 'orphan' WHERE state = 'waiting'")))
    store.writer.write(lambda conn: conn.execute(text("UPDATE ledger SET state = 'sent' WHERE state = 'undecided'")))
    assert person.erase(store, PHONE, NOW)[1] == PersonalData({}, [], [], [], [], [])
    assert counts(store) == {
        **{"events": 1, "deliveries": 2, "attempts": 2, "ledger": 1},
        **{"states": 0, "tickets": 0, "opt_outs": 1},
    }


def test_what_stays_does_not_keep_what_comes_after_it(store: Store) -> None:
    owe(store, letter("a"))
    add(store)
    assert list(person.erase(store, PHONE, NOW)[1].kept) == [1]
    assert count(store) == 1


def test_an_update_of_a_groups_message_is_blanked(store: Store) -> None:
    """Its event has the phone of one member; that it is about this one too stands in the statuses."""
    group = add(store, phone=OTHER, message_sid="sid", direction="outbound")
    another = add(store, phone=OTHER, message_sid="another", direction="outbound")
    know(store, PHONE)
    found, _ = person.erase(store, PHONE, NOW)
    assert (found.own, found.shared) == ([], [group])
    with store.reader() as conn:
        bodies = {row[0]: row[1] for row in conn.execute(text("SELECT id, length(body) FROM events"))}
    assert bodies[group] == 0 and bodies[another] > 0
    assert person.erase(store, PHONE, NOW)[0].shared == []


def test_others_write_while_a_phone_is_erased(store: Store, another: Callable[[], Store]) -> None:
    """A step is a few events: the one lock of SQLite is free between two of them."""
    for _ in range(6 * retention.CHUNK_ROWS):
        add(store)
    eraser, left = another(), []
    with ThreadPoolExecutor(1) as pool:
        erased = pool.submit(person.erase, eraser, PHONE, NOW)
        while not erased.done():
            add(store, phone=OTHER)
            left.append(count(store, f"events WHERE phone = '{PHONE}'"))
        erased.result(20)
    assert count(store, f"events WHERE phone = '{OTHER}'") == len(left) > 0
    assert count(store, f"events WHERE phone = '{PHONE}'") == 0
    assert all(each % retention.CHUNK_ROWS == 0 for each in left), "a whole chunk at a time"
