"""The health of the gateway, for people and for metrics; no worker reads it.

Heartbeats tell whether the store can commit and which workers are alive, breaker rows which endpoints are left alone
just now. Every worker has breaker rows of its own and writes them anew now and then. Rows of a worker that is gone do
not count after a while, and the next worker that writes deletes them. Each gauge is one look-up in an index, or a count
along one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from sqlalchemy import Connection

from gateway.store import ledger, message_status
from gateway.store.search import DEAD, pending
from gateway.store.statement import Statement, index_key, storable

STORE, WORKER = 1, 2  # whose heartbeat: the store's own; any worker's, on whatever machine
HEARTBEAT_SECONDS = 10.0  # between two heartbeats of a worker
BREAKER_REFRESH_SECONDS = 30.0  # after this time a worker writes its breaker rows again
BREAKER_STALE_SECONDS = 3 * BREAKER_REFRESH_SECONDS  # after this time a row that was not written again does not count
MAX_TEXTS = 500  # with one keyword that are read, where the newest is to another number
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
OLDEST_EVENT = Statement("SELECT min(received_at) FROM events")
NEWEST_OF_KEYWORD = Statement("""
    SELECT number, received_at FROM events
     WHERE keyword = :keyword AND keyword <> '' ORDER BY received_at DESC LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class BreakerState:
    """The state of a breaker. Times are epoch seconds."""

    endpoint: str
    state: str  # ``closed``, ``open``, ``half_open`` or ``ramp``
    since: float
    until: float  # while it is open: when the endpoint is asked again
    reason: str  # why it opened last
    failures: int  # in a row


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
    # A row from the future was written before the clock was set back.
    values = {"old": now - BREAKER_STALE_SECONDS, "new": now + BREAKER_STALE_SECONDS}
    found = [BreakerState(*row) for row in CURRENT_BREAKERS.run(conn, values).fetchall()]
    found.sort(key=lambda breaker: (_SEVERITY.get(breaker.state, -1), breaker.until))
    return {breaker.endpoint: breaker for breaker in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """Times are epoch seconds."""

    owed: Mapping[str, int]  # endpoint → deliveries
    oldest: Mapping[str, float]  # endpoint → when the oldest of them was owed
    dead: Mapping[str, int]
    oldest_event: float | None
    worker: float | None  # the last heartbeat of any worker
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
        worker=last_beat(conn, WORKER),
        sends=ledger.open_sends(conn),
        opt_outs=message_status.count_opt_outs(conn),
    )


@dataclass(frozen=True, slots=True)
class NewestTexts:
    """When the newest texts with one keyword were received, epoch seconds."""

    by_number: Mapping[str, float]
    horizon: float | None  # a number that is not there has had none since then. None: it has none at all


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
