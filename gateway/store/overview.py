"""How things stand: what was taken in, and for each endpoint what is owed, what is dead, and how it answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, literal_column, select

from gateway.store.schema import events
from gateway.store.statement import Statement

STATUS_URLS = "@status_url"
"""The name for all pages that calls named, where they are counted together."""
# Pending deliveries stand in one of three small indices: due for the first time, due again, behind one of those.
# Counted along each, and then one look for the first of each endpoint: with thousands of them a look each by itself
# would be most of the time.
PENDING = Statement(
    """
    SELECT counted.endpoint, counted.many, deliveries.created_at FROM (
        SELECT endpoint, count(*) AS many, min(id) AS first FROM deliveries
         WHERE due IS NOT NULL AND attempts_since_replay = 0 GROUP BY endpoint
        UNION ALL
        SELECT endpoint, count(*), min(id) FROM deliveries WHERE due IS NOT NULL AND attempts_since_replay > 0
         GROUP BY endpoint
        UNION ALL
        SELECT endpoint, count(*), min(id) FROM deliveries WHERE queue_position = 'behind' GROUP BY endpoint
    ) AS counted JOIN deliveries ON deliveries.id = counted.first
    """
)
DEAD = Statement(
    "SELECT endpoint, count(*) FROM deliveries WHERE state = 'dead' AND settled_at IS NOT NULL GROUP BY endpoint"
)
LAST = Statement(
    """
    SELECT finished_at, outcome, times FROM attempts
     WHERE endpoint = :endpoint AND finished_at IS NOT NULL ORDER BY started_at DESC LIMIT 1
    """
)
FAILED = Statement(
    """
    SELECT finished_at, sentence FROM attempts
     WHERE endpoint = :endpoint AND outcome IN ('again', 'dead') ORDER BY started_at DESC LIMIT 1
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointState:
    """Times are epoch seconds; None: not yet, or not any more."""

    endpoint: str
    pending: int = 0
    oldest: float | None = None
    """When the oldest of the pending was owed."""
    dead: int = 0
    last_at: float | None = None
    last_outcome: str | None = None
    last_latency: float | None = None
    """Milliseconds that the last attempt took in all."""
    last_error: str | None = None
    last_error_at: float | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    events: Mapping[str, int]
    """State → how many were received since the time asked for."""
    endpoints: tuple[EndpointState, ...]

    @property
    def owed(self) -> int:
        return sum(one.pending for one in self.endpoints)

    @property
    def dead(self) -> int:
        return sum(one.dead for one in self.endpoints)

    @property
    def oldest(self) -> float | None:
        return min((one.oldest for one in self.endpoints if one.oldest is not None), default=None)


def overview(conn: Connection, since: float, configured: Iterable[str] = ()) -> Overview:
    """`configured` endpoints, and whatever else has something owed or dead (taken out of the file since, say).

    Callers may name any number of pages (`status_url`): those are one together.
    """
    owed, dead = pending(conn), {row[0]: row[1] for row in DEAD.run(conn).fetchall()}
    names = sorted({*configured, *owed, *dead})
    owing = {name: (*owed.get(name, (0, None)), dead.get(name, 0)) for name in names}
    each = [_endpoint(conn, name, *found) for name, found in owing.items() if not is_url(name)]
    return Overview(_events(conn, since), (*each, *_together([owing[name] for name in names if is_url(name)])))


def is_url(endpoint: str) -> bool:
    """One that no configuration knows by a name."""
    return "://" in endpoint


def _together(pages: Sequence[tuple[int, float | None, int]]) -> Iterator[EndpointState]:
    if pages:
        owed, oldest, dead = zip(*pages, strict=True)
        first = min((at for at in oldest if at is not None), default=None)
        yield EndpointState(endpoint=STATUS_URLS, pending=sum(owed), oldest=first, dead=sum(dead))


def _events(conn: Connection, since: float) -> dict[str, int]:
    """By two indices: how many in all, and how many of each state that is not the usual one."""
    column = events.c
    recent = column.received_at >= since
    unusual = column.state != literal_column("'accepted'")
    query = select(column.state, func.count()).where(recent, unusual).group_by(column.state)
    counts = {row[0]: int(row[1]) for row in conn.execute(query)}
    total = conn.scalar(select(func.count()).select_from(events).where(recent)) or 0
    return {"accepted": total - sum(counts.values())} | counts


def pending(conn: Connection) -> dict[str, tuple[int, float | None]]:
    """Endpoint → how many, and when the first of them was owed."""
    found: dict[str, tuple[int, float | None]] = {}
    for endpoint, count, created in PENDING.run(conn).fetchall():
        others, oldest = found.get(endpoint, (0, None))
        found[endpoint] = (others + count, created if oldest is None else min(created, oldest))
    return found


def _endpoint(conn: Connection, name: str, pending: int, oldest: float | None, dead: int) -> EndpointState:
    last_at, outcome, times = LAST.run(conn, {"endpoint": name}).fetchone() or (None, None, "{}")
    error_at, error = FAILED.run(conn, {"endpoint": name}).fetchone() or (None, None)
    return EndpointState(
        endpoint=name,
        pending=pending,
        oldest=oldest,
        dead=dead,
        last_at=last_at,
        last_outcome=outcome,
        last_latency=json.loads(times).get("total"),
        last_error=error,
        last_error_at=error_at,
    )
