"""Deletes what is old, a little at a time; never what is still owed.

While a step is taken nobody else writes to SQLite. So a step ends by the clock, not by a count: the more rows there
are, the longer deleting one takes, since in the indices that are not in the order of time each lies on a page of its
own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class SweepPosition:
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
    swept, more = Swept(reached=after), True
    while more and (most := min(CHUNK_ROWS, limit - max(swept.events, swept.states, swept.tickets, swept.audit))) > 0:
        last, swept = swept, _chunk(conn, before, most, swept, audit_before)
        more = time.monotonic() < until and (bool(swept != last) or swept.reached is not None)
    return swept


def delete_event(conn: Connection, event_id: int) -> int:
    """Deletes an event with all that belongs to it, but for what was replayed since. Returns how many: 0 or 1."""
    settled = [{"id": row[0]} for row in SETTLED.run(conn, {"id": event_id}).fetchall()]
    DELETE_ATTEMPTS.run_many(conn, settled)
    DELETE_DELIVERY.run_many(conn, settled)
    deleted = DELETE_EVENT.run(conn, {"id": event_id}).rowcount
    DELETE_SENDS.run(conn, {"id": event_id})
    return deleted


def _chunk(conn: Connection, before: float, most: int, so_far: Swept, audit_before: float) -> Swept:
    deleted, reached = 0, None
    if so_far.reached is not None:
        position = {"before": before, "at": so_far.reached.at, "id": so_far.reached.id, "most": most}
        old = OLD.run(conn, position).fetchall()
        deleted = sum(delete_event(conn, row[0]) for row in old if not row[2])
        reached = SweepPosition(old[-1][1], old[-1][0]) if len(old) == most else None
    return Swept(
        events=so_far.events + deleted,
        states=so_far.states + DELETE_STATES.run(conn, {"before": before, "most": most}).rowcount,
        audit=so_far.audit + audit.sweep(conn, audit_before, most),
        tickets=so_far.tickets + DELETE_TICKETS.run(conn, {"before": before, "most": most}).rowcount,
        reached=reached,
    )
