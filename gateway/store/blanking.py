"""Blanks what people wrote once it is old, a little at a time; the rest of the event stays. Never what is still owed.

How far it came is kept in the store, so that an event is looked at once. One that something was owed for by then is
marked, and looked at again in every round until it is settled.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, literal_column, select

from gateway.store.retention import BEGINNING, CHUNK_ROWS, OLD, OWED, STEP_SECONDS, SweepPosition
from gateway.store.schema import deliveries
from gateway.store.statement import Statement

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
            where = {"before": before, "at": position.at, "id": position.id}
            found = OLD.run(conn, where | {"most": CHUNK_ROWS}).fetchall()
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
