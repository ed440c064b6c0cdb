"""The search for events: by what people know of a text, the newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, literal_column, or_, select

from gateway.store import events
from gateway.store.schema import deliveries
from gateway.store.schema import events as table
from gateway.store.statement import index_key, storable

FARTHEST = 10**9
MAX_RESULTS = 500
"""Events on one page."""
PREVIEW = 2048
"""Bytes of each body in a list: whole, fifty of them might be fifty megabytes."""

_EMPTY: ColumnElement[str] = literal_column("''")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSearch:
    """What is empty or None does not matter; the rest must all be so. Numbers as they are stored: digits, no ``+``."""

    phone: str = ""
    number: str = ""
    keyword: str = ""
    ticket: str = ""
    """The platform's, or the customer's own."""
    message_sid: str = ""
    state: str = ""
    source: str = ""
    since: float | None = None
    """Received at this time or later."""
    until: float | None = None
    """Received before this time."""


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """An event, its body cut to `PREVIEW` bytes, and how many of its deliveries are in which state."""

    event: events.Event
    deliveries: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class EventPage:
    found: tuple[FoundEvent, ...]
    more: bool
    """There are older ones."""


def search_events(conn: Connection, what: EventSearch, *, limit: int = 50, offset: int = 0) -> EventPage:
    """The newest events of these. Counting all there are would read all there are: `more` says whether to go on."""
    columns = [column for column in table.c if column.name != "body"]
    body = func.substr(table.c.body, 1, PREVIEW).label("body")
    query = select(*columns, body).where(*_conditions(what)).order_by(table.c.received_at.desc(), table.c.id.desc())
    limit = min(max(limit, 1), MAX_RESULTS)
    rows = conn.execute(query.limit(limit + 1).offset(min(max(offset, 0), FARTHEST))).mappings().all()
    kept = [events.event_from_row(row) for row in rows[:limit]]
    counts = _deliveries_of(conn, [event.id for event in kept])
    return EventPage(tuple(FoundEvent(event, counts.get(event.id, {})) for event in kept), len(rows) > limit)


def _conditions(what: EventSearch) -> list[ColumnElement[bool]]:
    column = table.c
    asked = [
        (what.phone, column.phone == index_key(what.phone)),
        (what.number, column.number == index_key(what.number)),
        (what.keyword, _given(column.keyword, what.keyword)),
        (what.ticket, or_(_given(column.ticket, what.ticket), _given(column.custom_ticket, what.ticket))),
        (what.message_sid, _given(column.message_sid, what.message_sid)),
        (what.state, column.state == storable(what.state)),
        (what.state not in ("", "accepted"), column.state != literal_column("'accepted'")),
        (what.source, column.source == storable(what.source)),
        (what.since is not None, column.received_at >= (what.since or 0.0)),
        (what.until is not None, column.received_at < (what.until or 0.0)),
    ]
    return [condition for wanted, condition in asked if wanted]


def _given(column: ColumnElement[str], value: str) -> ColumnElement[bool]:
    """Equal, and said so that the planner sees that the index on non-empty ones will do."""
    return and_(column == index_key(value), column != _EMPTY)


def _deliveries_of(conn: Connection, ids: Sequence[int]) -> dict[int, dict[str, int]]:
    column = deliveries.c
    query = select(column.event_id, column.state, func.count()).where(column.event_id.in_(ids))
    counts: dict[int, dict[str, int]] = {}
    for event_id, state, count in conn.execute(query.group_by(column.event_id, column.state)):
        counts.setdefault(event_id, {})[state] = count
    return counts
