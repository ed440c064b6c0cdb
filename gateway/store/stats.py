"""Figures for monitoring. Each is one look into an index, or a count along one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from gateway.store import health, ledger, message_status
from gateway.store.search import DEAD, pending
from gateway.store.statement import Statement, index_key

OLDEST_EVENT = Statement("SELECT min(received_at) FROM events")
NEWEST_OF_KEYWORD = Statement("""
    SELECT number, received_at FROM events
     WHERE keyword = :keyword AND keyword <> '' ORDER BY received_at DESC LIMIT :most
""")
MAX_TEXTS = 500
"""That are read of one keyword, where its newest belongs to another number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """Times are epoch seconds."""

    owed: Mapping[str, int]
    """Endpoint → deliveries."""
    oldest: Mapping[str, float]
    """Endpoint → when the oldest of them was owed."""
    dead: Mapping[str, int]
    oldest_event: float | None
    worker: float | None
    """The last heartbeat of any worker."""
    sends: ledger.OpenSends = field(default_factory=ledger.OpenSends)
    opt_outs: int = 0


def gauges(conn: Connection) -> Gauges:
    """Reads."""
    found = pending(conn)
    return Gauges(
        owed={name: count for name, (count, _) in found.items()},
        oldest={name: oldest for name, (_, oldest) in found.items()},
        dead=dict(DEAD.run(conn).fetchall()),
        oldest_event=OLDEST_EVENT.run(conn).fetchone()[0],
        worker=health.last_beat(conn, health.WORKER),
        sends=ledger.open_sends(conn),
        opt_outs=message_status.count_opt_outs(conn),
    )


@dataclass(frozen=True, slots=True)
class NewestTexts:
    """When the newest texts with one keyword were received, epoch seconds."""

    by_number: Mapping[str, float]
    horizon: float | None
    """A number that is not there has had none since then. None: it has none at all."""


def newest_texts(conn: Connection, spellings: Iterable[str], numbers: Iterable[str]) -> NewestTexts:
    """Reads. Returns the newest texts with a keyword in any of these spellings, to these numbers."""
    wanted, by_number, horizon = set(numbers), dict[str, float](), None
    for spelling in spellings:
        for most in (1, MAX_TEXTS):
            rows = NEWEST_OF_KEYWORD.run(conn, {"keyword": index_key(spelling), "most": most}).fetchall()
            if len(rows) < most or wanted <= {row[0] for row in rows}:
                break
        else:
            horizon = max(horizon or 0.0, rows[-1][1])
        for number, at in rows:
            by_number[number] = max(at, by_number.get(number, at))
    return NewestTexts(by_number, horizon)
