"""Everything that is kept of one phone: found by its number and by the ids of its messages, and erased in small steps.

Opt-outs stay, or the phone would be texted again. So does what is owed, undecided or waiting, with all that belongs to
it. An event of several people, such as a call with many recipients, is blanked, and the others' texts stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection

from gateway.store import events
from gateway.store.ledger import ENDPOINT
from gateway.store.retention import CHUNK_ROWS, DELETE_ATTEMPTS, DELETE_DELIVERY, blank_event, delete_event
from gateway.store.statement import Statement, index_key

if TYPE_CHECKING:
    from gateway.store import Store

OWN = Statement("SELECT id FROM events WHERE phone = :phone ORDER BY id")
SHARED = Statement("""
    SELECT id FROM events WHERE phone <> :phone AND id IN (SELECT ticket_number FROM ledger WHERE phone = :phone)
     UNION
    SELECT id FROM events WHERE phone <> :phone AND message_sid <> '' AND message_sid IN (
           SELECT message_sid FROM ledger WHERE phone = :phone
            UNION
           SELECT message_sid FROM states WHERE recipient = :phone)
     ORDER BY id
""")
SENDS = Statement("SELECT send_id FROM ledger WHERE phone = :phone ORDER BY id")
# No index has these by the phone: a reader goes through them all, so that the writer need not.
STATES = Statement("SELECT message_sid FROM states WHERE recipient = :phone")
TICKETS = Statement("SELECT number FROM tickets WHERE phone = :phone")
# The reasons why an event stays: a text that is owed to this phone, and every post that may be about it.
KEPT_FOR = Statement(f"""
    SELECT 'delivery to', endpoint FROM deliveries
     WHERE event_id = :id AND state = 'pending' AND endpoint <> '{ENDPOINT}'
     UNION ALL
    SELECT 'text is', state FROM ledger
     WHERE ticket_number = :id AND phone = :phone AND state IN ('owed', 'sending', 'undecided')
     UNION ALL
    SELECT 'update is', state FROM events WHERE id = :id AND state = 'waiting'
""")  # noqa: S608
TEXTS = Statement("""
    SELECT id FROM deliveries
     WHERE delivery_id IN (SELECT send_id FROM ledger WHERE ticket_number = :id AND phone = :phone)
""")
DELETE_SENDS = Statement("DELETE FROM ledger WHERE ticket_number = :id AND phone = :phone")
DELETE_STATE = Statement("DELETE FROM states WHERE message_sid = :key AND recipient = :phone")
DELETE_TICKET = Statement("DELETE FROM tickets WHERE number = :key AND phone = :phone")


class PersonalData(NamedTuple):
    """Ids of all that is kept of a phone."""

    kept: dict[int, list[tuple[str, str]]]
    """Events that stay, and what for: ``[("delivery to", "crm"), ("text is", "undecided")]``."""
    own: list[int]  # events of this phone alone
    shared: list[int]  # events of several people
    sends: list[str]
    states: list[str]
    tickets: list[str]


def find(conn: Connection, phone: str) -> PersonalData:
    """Reads. `phone`: digits, as it is kept."""
    values = {"phone": index_key(phone)}
    found = [[row[0] for row in each.run(conn, values).fetchall()] for each in (OWN, SHARED, SENDS, STATES, TICKETS)]
    kept = {id_: KEPT_FOR.run(conn, values | {"id": id_}).fetchall() for id_ in (*found[0], *found[1])}
    return PersonalData({id_: reasons for id_, reasons in kept.items() if reasons}, *found)


def erase(store: Store, phone: str, now: float) -> tuple[PersonalData, PersonalData]:
    """Erases what may be, a few events a transaction. Returns what there was, and what is left."""
    with store.reader() as conn:
        found = find(conn, phone)
    for event_ids in _chunks([*found.own, *found.shared]):
        store.writer.write(partial(_erase_events, phone=index_key(phone), event_ids=event_ids, now=now))
    # While something is owed, the last statuses keep it from being posted twice.
    for statement, keys in ((DELETE_TICKET, found.tickets), (DELETE_STATE, [] if found.kept else found.states)):
        for some in _chunks(keys):
            rows = [{"key": key, "phone": index_key(phone)} for key in some]
            store.writer.write(partial(statement.run_many, rows=rows))
    with store.reader() as conn:
        return found, find(conn, phone)


def _chunks(keys: Sequence[Any]) -> list[Sequence[Any]]:
    return [keys[start : start + CHUNK_ROWS] for start in range(0, len(keys), CHUNK_ROWS)]


def _erase_events(conn: Connection, phone: str, event_ids: Sequence[int], now: float) -> None:
    for event_id in event_ids:
        values = {"id": event_id, "phone": phone}
        parties = events.parties(conn, event_id)
        if parties is None or KEPT_FOR.run(conn, values).fetchone():
            continue
        if parties[1] == phone:
            delete_event(conn, event_id)
            continue
        texts = [{"id": row[0]} for row in TEXTS.run(conn, values).fetchall()]
        DELETE_ATTEMPTS.run_many(conn, texts)
        DELETE_DELIVERY.run_many(conn, texts)
        DELETE_SENDS.run(conn, values)
        blank_event(conn, event_id, now, but=ENDPOINT)
