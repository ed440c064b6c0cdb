"""Small rows that are written again and again: can the store commit, which workers are alive, and which endpoints their
circuit breakers leave alone just now. They are for people and for metrics; no worker reads them.

Every worker has breaker rows of its own and writes them anew now and then. Rows of a worker that is gone do not count
after a while, and the next worker that writes sweeps them away.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection

from gateway.store.statement import Statement, storable

STORE, WORKER = 1, 2
"""Whose heartbeat: the store's own; any worker's, on whatever machine."""
HEARTBEAT_SECONDS = 10.0
"""Between two heartbeats of a worker."""
BREAKER_REFRESH_SECONDS = 30.0
"""After this time a worker writes its breaker rows again."""
BREAKER_STALE_SECONDS = 3 * BREAKER_REFRESH_SECONDS
"""After this time a row that was not written again does not count."""
_SEVERITY = {"ramp": 0, "half_open": 1, "open": 2}

BEAT = Statement("INSERT INTO heartbeat (id, at) VALUES (:who, :at) ON CONFLICT (id) DO UPDATE SET at = excluded.at")
LAST_BEAT = Statement("SELECT at FROM heartbeat WHERE id = :who")
RECORD_BREAKER = Statement("""
    INSERT INTO breakers (endpoint, owner, state, since, until, reason, failures, noted_at)
    VALUES (:endpoint, :owner, :state, :since, :until, :reason, :failures, :now)
    ON CONFLICT (endpoint, owner) DO UPDATE
       SET state = excluded.state, since = excluded.since, until = excluded.until, reason = excluded.reason,
           failures = excluded.failures, noted_at = excluded.noted_at
""")
DELETE_CLOSED = Statement("DELETE FROM breakers WHERE endpoint = :endpoint AND owner = :owner")
DELETE_WORKER = Statement("DELETE FROM breakers WHERE owner = :owner OR noted_at < :old")
DELETE_STALE = Statement("DELETE FROM breakers WHERE noted_at < :old")
CURRENT_BREAKERS = Statement(
    "SELECT endpoint, state, since, until, reason, failures FROM breakers WHERE noted_at >= :old AND noted_at <= :new"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """Times are epoch seconds."""

    endpoint: str
    state: str
    """``closed``, ``open``, ``half_open`` or ``ramp``."""
    since: float
    until: float
    """While it is open: when the endpoint is asked again."""
    reason: str
    """Why it opened last."""
    failures: int
    """In a row."""


def beat(conn: Connection, who: int = STORE) -> None:
    BEAT.run(conn, {"who": who, "at": time.time()})


def last_beat(conn: Connection, who: int) -> float | None:
    """Returns when the last heartbeat was written, epoch seconds."""
    row = LAST_BEAT.run(conn, {"who": who}).fetchone()
    return float(row[0]) if row else None


def record_breakers(conn: Connection, owner: str, states: Sequence[BreakerState], now: float) -> None:
    """Records how these breakers are now; a closed one has no row."""
    for breaker in states:
        if breaker.state == "closed":
            DELETE_CLOSED.run(conn, {"endpoint": breaker.endpoint, "owner": owner})
        else:
            values = {"reason": storable(breaker.reason), "owner": owner, "now": now}
            RECORD_BREAKER.run(conn, asdict(breaker) | values)
    DELETE_STALE.run(conn, {"old": now - BREAKER_STALE_SECONDS})


def forget_worker(conn: Connection, owner: str, now: float) -> None:
    """Deletes the breaker rows of a worker that ends."""
    DELETE_WORKER.run(conn, {"owner": owner, "old": now - BREAKER_STALE_SECONDS})


def current_breakers(conn: Connection, now: float) -> dict[str, BreakerState]:
    """Returns the breaker of every endpoint that is not closed. Where workers differ, the most severe state counts, and
    of equal ones the one that lasts longest."""
    found: dict[str, BreakerState] = {}
    # A row from the future was written before the clock was set back.
    values = {"old": now - BREAKER_STALE_SECONDS, "new": now + BREAKER_STALE_SECONDS}
    for endpoint, state, since, until, reason, failures in CURRENT_BREAKERS.run(conn, values).fetchall():
        known = found.get(endpoint)
        severity = _SEVERITY.get(state, -1), until
        if known is None or severity > (_SEVERITY.get(known.state, -1), known.until):
            found[endpoint] = BreakerState(
                endpoint=endpoint, state=state, since=since, until=until, reason=reason, failures=failures
            )
    return found
