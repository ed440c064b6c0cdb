"""Blanks what people wrote once it is old, and deletes what is older, a little at a time; never what is still owed.

While a step is taken nobody else writes to SQLite. So a step ends by the clock, not by a count: the more rows there
are, the longer deleting one takes, since in the indices that are not in the order of time each lies on a page of its
own.

How far blanking came is kept in the store, so that an event is looked at once. One that something was owed for by then
is marked, and looked at again in every round until it is settled.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from operator import add
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, literal_column, select

from gateway.store import audit
from gateway.store.schema import deliveries
from gateway.store.statement import Statement

STEP_SECONDS = 0.001  # of deleting in one step; committing it takes as long again
CHUNK_ROWS = 8  # of each table, between two readings of the clock

OWED = """
    state = 'waiting'
    OR EXISTS (SELECT 1 FROM deliveries WHERE event_id = events.id AND state = 'pending')
    OR EXISTS (SELECT 1 FROM ledger WHERE ticket_number = events.id AND state IN ('owed', 'sending', 'undecided'))
"""
# Along the index in the order of time, and past what another step has looked at: an event that is owed for ever is
# passed over once. An update that waits for its message stays, and a call with a message not sent yet, or undecided.
OLD = Statement(f"""
    SELECT id, received_at, {OWED} AS owed
      FROM events WHERE received_at < :before AND received_at >= :at AND (received_at > :at OR id > :id)
     ORDER BY received_at, id LIMIT :most
""")  # noqa: S608
# Locked: a delivery that was replayed since is not settled any more, and stays, and its event with it.
SETTLED = Statement(
    select(deliveries.c.id)
    .where(deliveries.c.event_id == bindparam("id"), deliveries.c.state != literal_column("'pending'"))
    .with_for_update()
)
DELETE_ATTEMPTS = Statement("DELETE FROM attempts WHERE delivery_id = :id")
DELETE_DELIVERY = Statement("DELETE FROM deliveries WHERE id = :id")
DELETE_EVENT = Statement(
    "DELETE FROM events WHERE id = :id AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event_id = :id)"
)
# What was sent goes with the call that asked for it.
DELETE_SENDS = Statement(
    "DELETE FROM ledger WHERE ticket_number = :id AND NOT EXISTS (SELECT 1 FROM events WHERE id = :id)"
)
DELETE_STATES = Statement("""
    DELETE FROM states WHERE (message_sid, recipient) IN
        (SELECT message_sid, recipient FROM states WHERE updated_at < :before ORDER BY updated_at LIMIT :most)
""")
DELETE_TICKETS = Statement("""
    DELETE FROM tickets WHERE (number, phone) IN
        (SELECT number, phone FROM tickets WHERE sent_at < :before ORDER BY sent_at LIMIT :most)
""")
REACHED = Statement("SELECT at, event_id FROM blanking WHERE id = 1")
REACH = Statement("""
    INSERT INTO blanking (id, at, event_id) VALUES (1, :at, :event_id)
    ON CONFLICT (id) DO UPDATE SET at = excluded.at, event_id = excluded.event_id
""")
MARK = Statement("UPDATE events SET blanked_at = 0 WHERE id = :id AND (blanked_at IS NULL OR blanked_at > 0)")
MARKED = Statement(f"""
    SELECT id, received_at, {OWED} AS owed FROM events WHERE blanked_at = 0 AND id > :id ORDER BY id LIMIT :most
""")  # noqa: S608
# Locked: a delivery that is replayed at this moment is pending, and keeps its body. One without a body has no type.
BODIES = Statement(
    select(deliveries.c.id)
    .where(
        deliveries.c.event_id == bindparam("id"),
        deliveries.c.state != literal_column("'pending'"),
        deliveries.c.content_type != literal_column("''"),
        deliveries.c.endpoint != bindparam("but"),
    )
    .with_for_update()
)
BLANK_DELIVERY = Statement("UPDATE deliveries SET content_type = '', body = :nothing WHERE id = :id")
BLANK_ATTEMPTS = Statement("UPDATE attempts SET answer_headers = '[]', answer_body = :nothing WHERE delivery_id = :id")
# Replayed at this very moment: it is looked at again.
BLANK_EVENT = Statement("""
    UPDATE events
       SET body = :nothing,
           blanked_at = CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE event_id = :id AND state = 'pending'
                                            AND endpoint <> :but)
                             THEN 0 ELSE COALESCE(NULLIF(blanked_at, 0), :now) END
     WHERE id = :id
""")


class SweepPosition(NamedTuple):
    """How far a sweep came through the events, the oldest first."""

    at: float = 0.0
    id: int = 0


BEGINNING = SweepPosition()


@dataclass(frozen=True, slots=True)
class Swept:
    """How many rows were deleted."""

    events: int = 0
    states: int = 0
    tickets: int = 0
    audit: int = 0
    reached: SweepPosition | None = field(default=None, compare=False)
    """Where the next step goes on; None: there is nothing older left."""

    def __bool__(self) -> bool:
        return bool(self.events or self.states or self.tickets or self.audit)


def sweep(
    conn: Connection,
    before: float,
    limit: int = 500,
    *,
    after: SweepPosition = BEGINNING,
    seconds: float = STEP_SECONDS,
    audit_before: float = 0.0,
) -> Swept:
    """One step: deletes events received before that time, with their deliveries and attempts and what was sent for
    them, what is known of messages and tickets that old, and entries of the audit trail before `audit_before`; up to
    `limit` of each, and no more than can be done in `seconds`.

    Call again, `after` what it reached, while the result is true or has reached something.
    """
    until = time.monotonic() + seconds
    totals, more = [0, 0, 0, 0], True
    reached: SweepPosition | None = after
    while more and (most := min(CHUNK_ROWS, limit - max(totals))) > 0:
        values = {"before": before, "most": most}
        old = OLD.run(conn, reached._asdict() | values).fetchall() if reached is not None else []
        deleted = [
            sum(delete_event(conn, row[0]) for row in old if not row[2]),
            DELETE_STATES.run(conn, values).rowcount,
            DELETE_TICKETS.run(conn, values).rowcount,
            audit.sweep(conn, audit_before, most),
        ]
        totals = list(map(add, totals, deleted))
        reached = SweepPosition(old[-1][1], old[-1][0]) if len(old) == most else None
        more = time.monotonic() < until and (any(deleted) or reached is not None)
    events, states, tickets, entries = totals
    return Swept(events, states, tickets, entries, reached)


def delete_event(conn: Connection, event_id: int) -> int:
    """Deletes an event with all that belongs to it, but for what was replayed since. Returns how many: 0 or 1."""
    settled = [{"id": row[0]} for row in SETTLED.run(conn, {"id": event_id}).fetchall()]
    DELETE_ATTEMPTS.run_many(conn, settled)
    DELETE_DELIVERY.run_many(conn, settled)
    deleted = DELETE_EVENT.run(conn, {"id": event_id}).rowcount
    DELETE_SENDS.run(conn, {"id": event_id})
    return deleted


@dataclass(frozen=True, slots=True)
class Blanked:
    """The result of one step."""

    events: int
    marked_to: int | None  # the marked event that the next step goes on after; None: it goes on with what is not marked
    more: bool


def blank(
    conn: Connection, before: float, now: float, *, marked_to: int | None = None, seconds: float = STEP_SECONDS
) -> Blanked:
    """One step: blanks bodies of events received before that time, of their deliveries and of the answers to these; no
    more than can be done in `seconds`. Call again with its `marked_to` while there is `more`."""
    until = time.monotonic() + seconds
    row = REACHED.run(conn).fetchone()
    # A clock that was set back, or a longer retention: it begins once more, so that nothing is passed by.
    start = position = SweepPosition(*row) if row and row[0] < before else BEGINNING
    events, more = 0, True
    while more:
        if marked_to is None:
            found = OLD.run(conn, position._asdict() | {"before": before, "most": CHUNK_ROWS}).fetchall()
            position = SweepPosition(found[-1][1], found[-1][0]) if found else position
        else:
            found = MARKED.run(conn, {"id": marked_to, "most": CHUNK_ROWS}).fetchall()
        for event_id, _, is_owed in found:
            if is_owed:
                MARK.run(conn, {"id": event_id})
            else:
                blank_event(conn, event_id, now)
                events += 1
        if len(found) == CHUNK_ROWS:
            marked_to = None if marked_to is None else found[-1][0]
        else:
            marked_to, more = (0, True) if marked_to is None else (None, False)
        if time.monotonic() >= until:
            break
    if position != start:
        REACH.run(conn, {"at": position.at, "event_id": position.id})
    return Blanked(events, marked_to, more)


def blank_event(conn: Connection, event_id: int, now: float, but: str = "") -> None:
    """Blanks one event, and its settled deliveries to all endpoints but one."""
    bodies = [{"id": row[0], "nothing": b""} for row in BODIES.run(conn, {"id": event_id, "but": but}).fetchall()]
    BLANK_ATTEMPTS.run_many(conn, bodies)
    BLANK_DELIVERY.run_many(conn, bodies)
    BLANK_EVENT.run(conn, {"id": event_id, "now": now, "nothing": b"", "but": but})
