"""What people look at: the overview, the search, one event whole, the dead letters. Nothing here changes anything.

All take a reader's connection (``with store.reader() as conn``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select

from gateway.store import events
from gateway.store.overview import EndpointState, Overview, overview
from gateway.store.schema import attempts as attempts_table
from gateway.store.schema import deliveries as deliveries_table
from gateway.store.schema import events as events_table
from gateway.store.search import FARTHEST, MAX_RESULTS, PREVIEW, EventPage, EventSearch, FoundEvent, search_events
from gateway.store.statement import pairs_from_json, storable

__all__ = [
    "PREVIEW",
    "Attempt",
    "Delivery",
    "EndpointState",
    "FoundEvent",
    "Overview",
    "EventPage",
    "EventSearch",
    "EventDetail",
    "deliveries",
    "delivery",
    "overview",
    "search_events",
    "load_event",
]

LARGEST = 2**63 - 1
"""No database has an id above it, nor lets it be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One POST of a delivery. `outcome` None: in flight; ``unknown``: it was cut off, and may have arrived."""

    number: int
    endpoint: str
    owner: str
    started_at: float
    finished_at: float | None
    outcome: str | None
    sentence: str | None
    status: int | None
    answer_headers: tuple[tuple[str, str], ...]
    answer_body: bytes = field(repr=False)
    times: Mapping[str, float]
    """Milliseconds."""
    diagnosis: tuple[str, ...]
    late: bool
    """It ended after its lease: recorded, not applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One body owed to one endpoint. In a list `body` and `attempts` are empty."""

    id: int
    delivery_id: str
    event_id: int
    endpoint: str
    wire_format: str
    ordering_key: str
    state: str
    queue_position: str | None
    """``behind``, ``head`` or ``released``; None when settled."""
    due: float | None
    owner: str | None
    """Who has the lease: then an attempt is in flight until `due` at the latest."""
    attempts_made: int
    attempts_since_replay: int
    content_type: str
    """Empty: the format cannot say it, there is nothing to replay."""
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(default=b"", repr=False)
    notes: tuple[str, ...]
    last_error: str | None
    created_at: float
    settled_at: float | None
    replies: bool | None = None
    """What the endpoint answers is texted back."""
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class EventDetail:
    """What came in, what it became, and every attempt."""

    event: events.Event
    deliveries: tuple[Delivery, ...]


def load_event(conn: Connection, event_id: int) -> EventDetail | None:
    """One event with everything that belongs to it; None: there is none (any more)."""
    if not 0 < event_id <= LARGEST:
        return None
    row = conn.execute(select(events_table).where(events_table.c.id == event_id)).mappings().one_or_none()
    if row is None:
        return None
    return EventDetail(events.event_from_row(row), _deliveries(conn, deliveries_table.c.event_id == event_id))


def delivery(conn: Connection, delivery_id: str) -> Delivery | None:
    """One delivery with its attempts, by the id that its receiver saw."""
    found = _deliveries(conn, deliveries_table.c.delivery_id == storable(delivery_id))
    return found[0] if found else None


def deliveries(
    conn: Connection, state: str, endpoint: str | None = None, *, limit: int = 50, offset: int = 0
) -> list[Delivery]:
    """Settled deliveries (``dead``, ``succeeded``) of one endpoint or all, those settled last first."""
    columns = [column for column in deliveries_table.c if column.name != "body"]
    settled = deliveries_table.c.settled_at
    query = select(*columns).where(deliveries_table.c.state == storable(state), settled.is_not(None))
    if endpoint is not None:
        query = query.where(deliveries_table.c.endpoint == storable(endpoint))
    query = query.order_by(settled.desc(), deliveries_table.c.id.desc())
    rows = conn.execute(query.limit(min(max(limit, 1), MAX_RESULTS)).offset(min(max(offset, 0), FARTHEST)))
    return [_delivery(row, ()) for row in rows]


def _deliveries(conn: Connection, which: ColumnElement[bool]) -> tuple[Delivery, ...]:
    rows = conn.execute(select(deliveries_table).where(which).order_by(deliveries_table.c.id)).all()
    made = _attempts(conn, [row.id for row in rows])
    return tuple(_delivery(row, [*made.get(row.id, ()), *_in_flight(row)]) for row in rows)


def _attempts(conn: Connection, ids: Sequence[int]) -> dict[int, list[Attempt]]:
    table = attempts_table
    query = select(table).where(table.c.delivery_id.in_(ids)).order_by(table.c.delivery_id, table.c.number)
    made: dict[int, list[Attempt]] = {}
    for row in conn.execute(query):
        made.setdefault(row.delivery_id, []).append(_attempt(row))
    return made


def _delivery(row: Row[Any], made: Sequence[Attempt]) -> Delivery:
    values = dict(row._mapping)
    del values["started_at"]
    values |= {"headers": pairs_from_json(row.headers), "notes": tuple(json.loads(row.notes))}
    return Delivery(**values | {"attempts_made": row.attempts, "attempts": tuple(made)})


def _in_flight(row: Row[Any]) -> list[Attempt]:
    """The attempt that a delivery's own row tells of, from its claim to its end."""
    if row.owner is None:
        return []
    nothing: dict[str, Any] = dict.fromkeys(("finished_at", "outcome", "sentence", "status"))
    nothing |= {"answer_headers": (), "answer_body": b"", "times": {}, "diagnosis": (), "late": False}
    began = {"number": row.attempts, "owner": row.owner, "started_at": row.started_at}
    return [Attempt(endpoint=row.endpoint, **began, **nothing)]


def _attempt(row: Row[Any]) -> Attempt:
    values = dict(row._mapping)
    del values["delivery_id"]
    values |= {"times": json.loads(row.times), "diagnosis": tuple(json.loads(row.diagnosis))}
    return Attempt(**values | {"answer_headers": pairs_from_json(row.answer_headers)})
