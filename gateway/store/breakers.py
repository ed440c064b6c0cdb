"""Which endpoints are left alone just now, as the workers see it: for people and for metrics, no worker reads it.

Every worker has rows of its own and writes them anew now and then. Those of a worker that is gone are passed over after
a while, and swept away by the next one that writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from gateway.store.statement import Statement, storable

REFRESH = 30.0
"""Seconds after which a worker writes its rows again."""
STALE = 3 * REFRESH
"""Seconds after which a row that was not written again counts no more."""
_GRAVEST = ("ramp", "half_open", "open")

NOTE = Statement(
    """
    INSERT INTO breakers (endpoint, owner, state, since, until, reason, failures, noted_at)
    VALUES (:endpoint, :owner, :state, :since, :until, :reason, :failures, :now)
    ON CONFLICT (endpoint, owner) DO UPDATE
       SET state = excluded.state, since = excluded.since, until = excluded.until, reason = excluded.reason,
           failures = excluded.failures, noted_at = excluded.noted_at
    """
)
CLOSED = Statement("DELETE FROM breakers WHERE endpoint = :endpoint AND owner = :owner")
GONE = Statement("DELETE FROM breakers WHERE owner = :owner OR noted_at < :old")
SWEEP = Statement("DELETE FROM breakers WHERE noted_at < :old")
CURRENT = Statement(
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


def record_breakers(conn: Connection, owner: str, states: Sequence[BreakerState], now: float) -> None:
    """Writes down how these are now; what is closed has no row."""
    for one in states:
        if one.state == "closed":
            CLOSED.run(conn, {"endpoint": one.endpoint, "owner": owner})
        else:
            NOTE.run(conn, _row(one) | {"owner": owner, "now": now})
    SWEEP.run(conn, {"old": now - STALE})


def forget_worker(conn: Connection, owner: str, now: float) -> None:
    """This worker ends."""
    GONE.run(conn, {"owner": owner, "old": now - STALE})


def current_breakers(conn: Connection, now: float) -> dict[str, BreakerState]:
    """Every endpoint that is not closed. Where workers differ: the gravest, of these the one that lasts longest."""
    found: dict[str, BreakerState] = {}
    # A row from the future was written before the clock was set back.
    for row in CURRENT.run(conn, {"old": now - STALE, "new": now + STALE}).fetchall():
        one = BreakerState(endpoint=row[0], state=row[1], since=row[2], until=row[3], reason=row[4], failures=row[5])
        known = found.get(one.endpoint)
        if known is None or _gravity(one) > _gravity(known):
            found[one.endpoint] = one
    return found


def _gravity(one: BreakerState) -> tuple[int, float]:
    return _GRAVEST.index(one.state) if one.state in _GRAVEST else -1, one.until


def _row(one: BreakerState) -> dict[str, object]:
    return {
        "endpoint": one.endpoint,
        "state": one.state,
        "since": one.since,
        "until": one.until,
        "reason": storable(one.reason),
        "failures": one.failures,
    }
