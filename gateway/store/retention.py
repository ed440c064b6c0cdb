"""What is old goes, a little at a time; never what is still owed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, select, tuple_

from gateway.store.tables import attempts, deliveries, events, states, tickets

_OWED = exists().where(deliveries.c.event_id == events.c.id, deliveries.c.state == "pending")
_ANY = exists().where(deliveries.c.event_id == events.c.id)


@dataclass(frozen=True, slots=True)
class Swept:
    """Rows that went."""

    events: int
    states: int
    tickets: int

    def __bool__(self) -> bool:
        return bool(self.events or self.states or self.tickets)


def sweep(conn: Connection, before: float, limit: int = 500) -> Swept:
    """Deletes up to `limit` events received before that time, with their deliveries and attempts, and as many of what
    is known of messages and tickets that old. Call again while it is true."""
    return Swept(
        events=_sweep_events(conn, before, limit),
        states=_sweep_rows(conn, states, states.c.updated_at < before, limit),
        tickets=_sweep_rows(conn, tickets, tickets.c.sent_at < before, limit),
    )


def _sweep_events(conn: Connection, before: float, limit: int) -> int:
    old = select(events.c.id).where(events.c.received_at < before, ~_OWED).order_by(events.c.received_at).limit(limit)
    ids = list(conn.scalars(old))
    # Locked, and looked at again: what was replayed since stays, and its event with it.
    here = deliveries.c.event_id.in_(ids), deliveries.c.state != "pending"
    settled = list(conn.scalars(select(deliveries.c.id).where(*here).with_for_update()))
    conn.execute(delete(attempts).where(attempts.c.delivery_id.in_(settled)))
    conn.execute(delete(deliveries).where(deliveries.c.id.in_(settled)))
    return conn.execute(delete(events).where(events.c.id.in_(ids), ~_ANY)).rowcount


def _sweep_rows(conn: Connection, table: Table, old: ColumnElement[bool], limit: int) -> int:
    keys = tuple_(*table.primary_key.columns)
    return conn.execute(
        delete(table).where(keys.in_(select(*table.primary_key.columns).where(old).limit(limit)))
    ).rowcount
