"""What is old goes, a little at a time; never what is still owed.

While a step is taken nobody else writes to SQLite. So a step ends by the clock, not by a count: rows that go take the
longer the more there are, since each lies on a page of its own in the indices that are not in the order of time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, literal_column, select

from gateway.store.schema import deliveries
from gateway.store.statement import Statement

STEP = 0.001
"""Seconds of deleting in one step; committing it takes as long again."""
CHUNK = 8
"""Rows of each table between two looks at the clock."""

# By the index in the order of time, and past what another step has looked at: what is owed for ever is passed by once.
# An update that waits for its message stays, and a call of whose messages one is not sent yet, or undecided.
OLD = Statement(
    """
    SELECT id, received_at,
           state = 'waiting'
           OR EXISTS (SELECT 1 FROM deliveries WHERE event_id = events.id AND state = 'pending')
           OR EXISTS (SELECT 1 FROM ledger
                       WHERE ticket_number = events.id AND state IN ('owed', 'sending', 'undecided'))
           AS owed
      FROM events WHERE received_at < :before AND received_at >= :at AND (received_at > :at OR id > :id)
     ORDER BY received_at, id LIMIT :most
    """
)
# Locked: what was replayed since is not settled any more, and stays, and its event with it.
SETTLED = Statement(
    select(deliveries.c.id)
    .where(deliveries.c.event_id == bindparam("id"), deliveries.c.state != literal_column("'pending'"))
    .with_for_update()
)
FORGET_ATTEMPTS = Statement("DELETE FROM attempts WHERE delivery_id = :id")
FORGET_DELIVERY = Statement("DELETE FROM deliveries WHERE id = :id")
FORGET_EVENT = Statement(
    "DELETE FROM events WHERE id = :id AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event_id = :id)"
)
# What was sent goes with the call that asked for it.
FORGET_SENDS = Statement(
    "DELETE FROM ledger WHERE ticket_number = :id AND NOT EXISTS (SELECT 1 FROM events WHERE id = :id)"
)
FORGET_STATES = Statement(
    """
    DELETE FROM states WHERE (message_sid, recipient) IN
        (SELECT message_sid, recipient FROM states WHERE updated_at < :before ORDER BY updated_at LIMIT :most)
    """
)
FORGET_TICKETS = Statement(
    """
    DELETE FROM tickets WHERE (number, phone) IN
        (SELECT number, phone FROM tickets WHERE sent_at < :before ORDER BY sent_at LIMIT :most)
    """
)


@dataclass(frozen=True, slots=True)
class SweepPosition:
    """How far a sweep came through the events, the oldest first."""

    at: float = 0.0
    id: int = 0


BEGINNING = SweepPosition()


@dataclass(frozen=True, slots=True)
class Swept:
    """Rows that went."""

    events: int = 0
    states: int = 0
    tickets: int = 0
    reached: SweepPosition | None = field(default=None, compare=False)
    """Where the next step goes on; None: there is nothing older left."""

    def __bool__(self) -> bool:
        return bool(self.events or self.states or self.tickets)


def sweep(
    conn: Connection, before: float, limit: int = 500, *, after: SweepPosition = BEGINNING, seconds: float = STEP
) -> Swept:
    """One step: deletes events received before that time, with their deliveries and attempts and what was sent for
    them, and what is known of messages and tickets that old; up to `limit` of each, and no more than can be done in
    `seconds`.

    Call again, `after` what it reached, while it is true or has reached something.
    """
    until = time.monotonic() + seconds
    swept, more = Swept(reached=after), True
    while more and (most := min(CHUNK, limit - max(swept.events, swept.states, swept.tickets))) > 0:
        last, swept = swept, _chunk(conn, before, most, swept)
        more = time.monotonic() < until and (bool(swept != last) or swept.reached is not None)
    return swept


def _chunk(conn: Connection, before: float, most: int, so_far: Swept) -> Swept:
    old = {"before": before, "most": most}
    gone, reached = (0, None) if so_far.reached is None else _sweep_events(conn, before, most, so_far.reached)
    return Swept(
        events=so_far.events + gone,
        states=so_far.states + FORGET_STATES.run(conn, old).rowcount,
        tickets=so_far.tickets + FORGET_TICKETS.run(conn, old).rowcount,
        reached=reached,
    )


def _sweep_events(conn: Connection, before: float, most: int, after: SweepPosition) -> tuple[int, SweepPosition | None]:
    old = OLD.run(conn, {"before": before, "at": after.at, "id": after.id, "most": most}).fetchall()
    gone = sum(_forget(conn, id_) for id_, _, owed in old if not owed)
    return gone, SweepPosition(old[-1][1], old[-1][0]) if len(old) == most else None


def _forget(conn: Connection, event_id: int) -> int:
    settled = [{"id": row[0]} for row in SETTLED.run(conn, {"id": event_id}).fetchall()]
    FORGET_ATTEMPTS.run_many(conn, settled)
    FORGET_DELIVERY.run_many(conn, settled)
    gone = FORGET_EVENT.run(conn, {"id": event_id}).rowcount
    FORGET_SENDS.run(conn, {"id": event_id})
    return gone
