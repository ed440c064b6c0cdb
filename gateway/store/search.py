"""The console's reading: the search for events, one event whole, settled deliveries, the overview. It never writes.

All take a reader's connection (``with store.reader() as conn``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import filterfalse
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, literal_column, or_, select

from gateway.config.model import STATUS_URLS, is_url
from gateway.store import events, schema
from gateway.store.statement import Statement, index_key, pairs_from_json, storable

MAX_OFFSET = 10**9
MAX_RESULTS = 500  # rows on one page
PREVIEW_BYTES = 2048  # of each body in a list: whole, fifty of them might be fifty megabytes
MAX_ID = 2**63 - 1  # no database has an id above it, nor lets it be asked for

# Pending deliveries stand in one of three small indices: due for the first time, due again, behind one of those.
# They are counted along each, and then the first of each endpoint is read: with thousands of endpoints, a query for
# each would take most of the time.
PENDING = Statement("""
    SELECT counted.endpoint, counted.many, deliveries.created_at FROM (
        SELECT endpoint, count(*) AS many, min(id) AS first FROM deliveries
         WHERE due IS NOT NULL AND attempts_since_replay = 0 GROUP BY endpoint
        UNION ALL
        SELECT endpoint, count(*), min(id) FROM deliveries WHERE due IS NOT NULL AND attempts_since_replay > 0
         GROUP BY endpoint
        UNION ALL
        SELECT endpoint, count(*), min(id) FROM deliveries WHERE queue_position = 'behind' GROUP BY endpoint
    ) AS counted JOIN deliveries ON deliveries.id = counted.first
""")
DEAD = Statement(
    "SELECT endpoint, count(*) FROM deliveries WHERE state = 'dead' AND settled_at IS NOT NULL GROUP BY endpoint"
)
LAST = Statement("""
    SELECT finished_at, outcome, times FROM attempts
     WHERE endpoint = :endpoint AND finished_at IS NOT NULL ORDER BY started_at DESC LIMIT 1
""")
FAILED = Statement("""
    SELECT finished_at, sentence FROM attempts
     WHERE endpoint = :endpoint AND outcome IN ('again', 'dead') ORDER BY started_at DESC LIMIT 1
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Conditions that must all hold; an empty one, or None, is not asked for. Numbers as stored: digits, no ``+``."""

    phone: str = ""
    number: str = ""
    ticket: str = ""
    message_sid: str = ""
    state: str = ""
    since: float | None = None  # received, or asked for, at this time or later
    until: float | None = None  # before this time


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSearch(Search):
    """Conditions for events. `ticket`: the platform's, or the customer's own."""

    keyword: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """An event, its body cut to `PREVIEW_BYTES`, and how many of its deliveries are in which state."""

    event: events.Event
    deliveries: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class EventPage:
    found: tuple[FoundEvent, ...]
    more: bool  # there are older ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One POST of a delivery, in flight where `outcome` is None. `schema.attempts` says what each field is."""

    number: int
    endpoint: str
    owner: str
    started_at: float
    finished_at: float | None = None
    outcome: str | None = None
    sentence: str | None = None
    status: int | None = None
    answer_headers: tuple[tuple[str, str], ...] = ()
    answer_body: bytes = field(default=b"", repr=False)
    times: Mapping[str, float] = field(default_factory=dict)
    diagnosis: tuple[str, ...] = ()
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One body owed to one endpoint. In a list `body` and `attempts` are empty. See `schema.deliveries`."""

    id: int
    delivery_id: str
    event_id: int
    endpoint: str
    wire_format: str
    ordering_key: str
    state: str
    queue_position: str | None
    due: float | None
    owner: str | None
    attempts_made: int
    attempts_since_replay: int
    content_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(default=b"", repr=False)
    notes: tuple[str, ...]
    last_error: str | None
    created_at: float
    settled_at: float | None
    replies: bool | None = None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class EventDetail:
    """One event, its deliveries and every attempt."""

    event: events.Event
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class EndpointState:
    """Times are epoch seconds; None: there is none, or not any more."""

    endpoint: str
    pending: int = 0
    oldest: float | None = None  # when the oldest pending delivery was owed
    dead: int = 0
    last_at: float | None = None
    last_outcome: str | None = None
    last_latency: float | None = None  # milliseconds that the last attempt took in all
    last_error: str | None = None
    last_error_at: float | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    events: Mapping[str, int]  # state → how many were received since the time asked for
    endpoints: tuple[EndpointState, ...]

    @property
    def owed(self) -> int:
        return sum(endpoint.pending for endpoint in self.endpoints)

    @property
    def dead(self) -> int:
        return sum(endpoint.dead for endpoint in self.endpoints)

    @property
    def oldest(self) -> float | None:
        return min((endpoint.oldest for endpoint in self.endpoints if endpoint.oldest is not None), default=None)


def search_events(conn: Connection, search: EventSearch, *, limit: int = 50, offset: int = 0) -> EventPage:
    """Returns the newest events found. To count them would be to read them all: `more` says whether to go on."""
    column, delivery = schema.events.c, schema.deliveries.c
    ticket = or_(has_key(column.ticket, search.ticket), has_key(column.custom_ticket, search.ticket))
    conditions = [
        (search.phone, column.phone == index_key(search.phone)),
        (search.number, column.number == index_key(search.number)),
        (search.keyword, has_key(column.keyword, search.keyword)),
        (search.ticket, ticket),
        (search.message_sid, has_key(column.message_sid, search.message_sid)),
        (search.state, column.state == storable(search.state)),
        (search.state not in ("", "accepted"), column.state != literal_column("'accepted'")),
        (search.source, column.source == storable(search.source)),
        (search.since is not None, column.received_at >= (search.since or 0.0)),
        (search.until is not None, column.received_at < (search.until or 0.0)),
    ]
    body = func.substr(column.body, 1, PREVIEW_BYTES).label("body")
    query = select(*[each for each in column if each.name != "body"], body)
    query = query.where(*[condition for is_asked, condition in conditions if is_asked])
    rows, more = fetch_page(conn, query.order_by(column.received_at.desc(), column.id.desc()), limit, offset)
    found = [events.event_from_row(row._mapping) for row in rows]
    counted = select(delivery.event_id, delivery.state, func.count())
    counted = counted.where(delivery.event_id.in_([event.id for event in found]))
    counts: dict[int, dict[str, int]] = {}
    for event_id, state, count in conn.execute(counted.group_by(delivery.event_id, delivery.state)):
        counts.setdefault(event_id, {})[state] = count
    return EventPage(tuple(FoundEvent(event, counts.get(event.id, {})) for event in found), more)


def fetch_page(conn: Connection, query: Select[Any], limit: int, offset: int) -> tuple[Sequence[Row[Any]], bool]:
    """Returns the rows of one page, and True if there are more behind it."""
    limit = min(max(limit, 1), MAX_RESULTS)
    rows = conn.execute(query.limit(limit + 1).offset(min(max(offset, 0), MAX_OFFSET))).all()
    return rows[:limit], len(rows) > limit


def has_key(column: ColumnElement[str], value: str) -> ColumnElement[bool]:
    """Tests for equal and not empty: so the planner sees that the partial index on non-empty values will do."""
    return and_(column == index_key(value), column != literal_column("''"))


def load_event(conn: Connection, event_id: int) -> EventDetail | None:
    """Returns one event with everything that belongs to it; None: there is none, or not any more."""
    if not 0 < event_id <= MAX_ID:
        return None
    row = conn.execute(select(schema.events).where(schema.events.c.id == event_id)).mappings().one_or_none()
    if row is None:
        return None
    return EventDetail(events.event_from_row(row), _deliveries(conn, schema.deliveries.c.event_id == event_id))


def load_delivery(conn: Connection, delivery_id: str) -> Delivery | None:
    """Returns one delivery with its attempts, by the id that its receiver saw."""
    found = _deliveries(conn, schema.deliveries.c.delivery_id == storable(delivery_id))
    return found[0] if found else None


def settled_deliveries(
    conn: Connection, state: str, endpoint: str | None = None, *, limit: int = 50, offset: int = 0
) -> list[Delivery]:
    """Returns deliveries that are ``dead`` or ``succeeded``, of one endpoint or all, those settled last first."""
    column = schema.deliveries.c
    query = select(*[each for each in column if each.name != "body"])
    query = query.where(column.state == storable(state), column.settled_at.is_not(None))
    if endpoint is not None:
        query = query.where(column.endpoint == storable(endpoint))
    rows, _ = fetch_page(conn, query.order_by(column.settled_at.desc(), column.id.desc()), limit, offset)
    return [_delivery(row, ()) for row in rows]


def _deliveries(conn: Connection, condition: ColumnElement[bool]) -> tuple[Delivery, ...]:
    rows = conn.execute(select(schema.deliveries).where(condition).order_by(schema.deliveries.c.id)).all()
    column = schema.attempts.c
    query = select(schema.attempts).where(column.delivery_id.in_([row.id for row in rows]))
    attempts: dict[int, list[Attempt]] = {row.id: [] for row in rows}
    for row in conn.execute(query.order_by(column.delivery_id, column.number)):
        values = dict(row._mapping) | {"times": json.loads(row.times), "diagnosis": tuple(json.loads(row.diagnosis))}
        values["answer_headers"] = pairs_from_json(row.answer_headers)
        attempts[values.pop("delivery_id")].append(Attempt(**values))
    for row in rows:
        if row.owner is not None:  # the attempt in flight is in the delivery's own row, from its claim to its end
            attempts[row.id].append(
                Attempt(number=row.attempts, endpoint=row.endpoint, owner=row.owner, started_at=row.started_at)
            )
    return tuple(_delivery(row, attempts[row.id]) for row in rows)


def _delivery(row: Row[Any], attempts: Sequence[Attempt]) -> Delivery:
    values = dict(row._mapping) | {"headers": pairs_from_json(row.headers), "notes": tuple(json.loads(row.notes))}
    del values["started_at"]
    return Delivery(**values | {"attempts_made": row.attempts, "attempts": tuple(attempts)})


def overview(conn: Connection, since: float, configured: Iterable[str] = ()) -> Overview:
    """Returns the state of `configured` endpoints, and of whatever else has something owed or dead: an endpoint that
    was taken out of the configuration, say.

    Callers may name any number of URLs (`status_url`): they are one together.
    """
    owed, dead = pending(conn), dict(DEAD.run(conn).fetchall())
    names, states = sorted({*configured, *owed, *dead}), []
    for name in filterfalse(is_url, names):
        last_at, outcome, times = LAST.run(conn, {"endpoint": name}).fetchone() or (None, None, "{}")
        error_at, error = FAILED.run(conn, {"endpoint": name}).fetchone() or (None, None)
        (count, oldest), latency = owed.get(name, (0, None)), json.loads(times).get("total")
        dead_count = dead.get(name, 0)
        states.append(EndpointState(name, count, oldest, dead_count, last_at, outcome, latency, error, error_at))
    if urls := list(filter(is_url, names)):
        pairs = [owed[url] for url in urls if url in owed]
        first, dead_count = min((pair[1] for pair in pairs), default=None), sum(dead.get(url, 0) for url in urls)
        states.append(EndpointState(STATUS_URLS, sum(pair[0] for pair in pairs), first, dead_count))
    return Overview(_count_events(conn, since), tuple(states))


def pending(conn: Connection) -> dict[str, tuple[int, float]]:
    """Returns endpoint → how many deliveries are pending, and when the first of them was owed."""
    found: dict[str, tuple[int, float]] = {}
    for endpoint, count, created_at in PENDING.run(conn).fetchall():
        others, oldest = found.get(endpoint, (0, created_at))
        found[endpoint] = others + count, min(created_at, oldest)
    return found


def _count_events(conn: Connection, since: float) -> dict[str, int]:
    """Counts along two indices: all events, and those of each state that is not the usual one."""
    column = schema.events.c
    recent, unusual = column.received_at >= since, column.state != literal_column("'accepted'")
    query = select(column.state, func.count()).where(recent, unusual).group_by(column.state)
    counts = {row[0]: int(row[1]) for row in conn.execute(query)}
    total = conn.scalar(select(func.count()).select_from(schema.events).where(recent)) or 0
    return {"accepted": total - sum(counts.values())} | counts
