"""Deliveries in one lane go in the order owed: only the lane's head may be claimed, settling it promotes the next.

Owing asks "is there a head?", settling says "there is none now; who is next?". Between two machines these must never
miss each other, or a lane would wait for ever behind nobody: so who does either holds the lane's lock until the
commit. SQLite has one writer at a time and needs none.

Locks are taken in the order of their numbers, for all of a transaction's lanes at once: two that take several in
different orders would wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Protocol

from sqlalchemy import Connection

from gateway.store.spelling import index_key
from gateway.store.statement import Statement

MAX_KEYS_PER_TRANSACTION = 256
"""Lanes that one transaction may hold: PostgreSQL's table of locks has room for 6,400 in all, as it is shipped."""

LOCK = "SELECT pg_advisory_xact_lock(n) FROM unnest(CAST(%(numbers)s AS bigint[])) AS n"

# Also does nothing where there is a head, or nobody is behind; so it may be run at any time.
PROMOTE = Statement(
    """
    UPDATE deliveries SET standing = 'head', due = :now
     WHERE id = (SELECT min(id) FROM deliveries WHERE standing = 'behind' AND endpoint = :endpoint AND lane = :lane)
       AND NOT EXISTS (SELECT 1 FROM deliveries WHERE standing = 'head' AND lane = :lane)
    """
)


# On PostgreSQL all in one journey. No lane has two of these, so no update meets another's.
PROMOTE_ALL = Statement(
    """
    UPDATE deliveries SET standing = 'head', due = :now
      FROM unnest(CAST(:endpoints AS text[]), CAST(:lanes AS text[])) AS freed (endpoint, lane)
     CROSS JOIN LATERAL (SELECT id FROM deliveries
                          WHERE standing = 'behind' AND endpoint = freed.endpoint AND lane = freed.lane
                          ORDER BY id LIMIT 1) AS next
     WHERE deliveries.id = next.id
       AND NOT EXISTS (SELECT 1 FROM deliveries h WHERE h.standing = 'head' AND h.lane = freed.lane)
    """
)


class InLane(Protocol):
    @property
    def endpoint(self) -> str: ...

    @property
    def lane(self) -> str: ...


def hold_first(conn: Connection, lanes: Iterable[str]) -> None:
    """Takes all the locks of a transaction that begins, and remembers that it has them."""
    numbers = _numbers(conn, lanes)
    _lock(conn, numbers)
    conn.info["lanes"] = (conn.get_transaction(), numbers)


def hold(conn: Connection, lanes: Iterable[str]) -> None:
    """Takes those locks that `hold_first` was not told of. They are not remembered: a savepoint may drop them."""
    if conn.dialect.name != "sqlite" and (numbers := _numbers(conn, lanes)):
        transaction, held = conn.info.get("lanes", (None, frozenset()))
        _lock(conn, numbers - held if transaction is conn.get_transaction() else numbers)


def promote(conn: Connection, settled: Sequence[InLane], now: float) -> None:
    """The next in the lanes of these, where there is one, and no head."""
    if conn.dialect.name == "postgresql":
        lanes = sorted({(one.endpoint, one.lane) for one in settled})
        values = {"endpoints": [endpoint for endpoint, _ in lanes], "lanes": [lane for _, lane in lanes], "now": now}
        PROMOTE_ALL.run(conn, values)
    else:
        PROMOTE.run_many(conn, [{"endpoint": one.endpoint, "lane": one.lane, "now": now} for one in settled])


def _numbers(conn: Connection, lanes: Iterable[str]) -> frozenset[int]:
    if conn.dialect.name == "sqlite":
        return frozenset()
    return frozenset(_number(index_key(lane)) for lane in lanes)


def _number(lane: str) -> int:
    """Two lanes with one number only wait for each other."""
    return int.from_bytes(blake2b(lane.encode(), digest_size=8).digest(), "big", signed=True)


def _lock(conn: Connection, numbers: frozenset[int]) -> None:
    if numbers:
        conn.exec_driver_sql(LOCK, {"numbers": sorted(numbers)})
