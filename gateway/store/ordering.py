"""Deliveries of one ordering key go in the order owed: only the key's head may be claimed, settling it promotes the
next.

Owing asks "is there a head?", settling says "there is none now; who is next?". Between two machines these must never
miss each other, or a key would wait for ever behind nobody: so who does either holds the key's lock until the commit.
SQLite has one writer at a time and needs none.

Locks are taken in the order of their numbers, for all of a transaction's keys at once: two that take several in
different orders would wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Protocol

from sqlalchemy import Connection

from gateway.store.statement import Statement, index_key

MAX_KEYS_PER_TRANSACTION = 256
"""Lanes that one transaction may hold: PostgreSQL's table of locks has room for 6,400 in all, as it is shipped."""

LOCK = "SELECT pg_advisory_xact_lock(n) FROM unnest(CAST(%(numbers)s AS bigint[])) AS n"

# Also does nothing where there is a head, or nobody is behind; so it may be run at any time.
PROMOTE = Statement(
    """
    UPDATE deliveries SET queue_position = 'head', due = :now
     WHERE id = (SELECT min(id) FROM deliveries WHERE queue_position = 'behind' AND endpoint = :endpoint
                   AND ordering_key = :ordering_key)
       AND NOT EXISTS (SELECT 1 FROM deliveries WHERE queue_position = 'head' AND ordering_key = :ordering_key)
    """
)


# On PostgreSQL all in one journey. No ordering key has two of these, so no update meets another's.
PROMOTE_ALL = Statement(
    """
    UPDATE deliveries SET queue_position = 'head', due = :now
      FROM unnest(CAST(:endpoints AS text[]), CAST(:ordering_keys AS text[])) AS freed (endpoint, ordering_key)
     CROSS JOIN LATERAL (SELECT id FROM deliveries
                          WHERE queue_position = 'behind' AND endpoint = freed.endpoint
                            AND ordering_key = freed.ordering_key
                          ORDER BY id LIMIT 1) AS next
     WHERE deliveries.id = next.id
       AND NOT EXISTS (SELECT 1 FROM deliveries h
                        WHERE h.queue_position = 'head' AND h.ordering_key = freed.ordering_key)
    """
)


class InLane(Protocol):
    @property
    def endpoint(self) -> str: ...

    @property
    def ordering_key(self) -> str: ...


def hold_first(conn: Connection, ordering_keys: Iterable[str]) -> None:
    """Takes all the locks of a transaction that begins, and remembers that it has them."""
    numbers = _numbers(conn, ordering_keys)
    _lock(conn, numbers)
    conn.info["ordering_keys"] = (conn.get_transaction(), numbers)


def hold(conn: Connection, ordering_keys: Iterable[str]) -> None:
    """Takes those locks that `hold_first` was not told of. They are not remembered: a savepoint may drop them."""
    if conn.dialect.name != "sqlite" and (numbers := _numbers(conn, ordering_keys)):
        transaction, held = conn.info.get("ordering_keys", (None, frozenset()))
        _lock(conn, numbers - held if transaction is conn.get_transaction() else numbers)


def promote(conn: Connection, settled: Sequence[InLane], now: float) -> None:
    """The next in the ordering keys of these, where there is one, and no head."""
    if conn.dialect.name == "postgresql":
        ordering_keys = sorted({(one.endpoint, one.ordering_key) for one in settled})
        values = {
            "endpoints": [endpoint for endpoint, _ in ordering_keys],
            "ordering_keys": [ordering_key for _, ordering_key in ordering_keys],
            "now": now,
        }
        PROMOTE_ALL.run(conn, values)
    else:
        PROMOTE.run_many(
            conn, [{"endpoint": one.endpoint, "ordering_key": one.ordering_key, "now": now} for one in settled]
        )


def _numbers(conn: Connection, ordering_keys: Iterable[str]) -> frozenset[int]:
    if conn.dialect.name == "sqlite":
        return frozenset()
    return frozenset(_number(index_key(ordering_key)) for ordering_key in ordering_keys)


def _number(ordering_key: str) -> int:
    """Two ordering keys with one number only wait for each other."""
    return int.from_bytes(blake2b(ordering_key.encode(), digest_size=8).digest(), "big", signed=True)


def _lock(conn: Connection, numbers: frozenset[int]) -> None:
    if numbers:
        conn.exec_driver_sql(LOCK, {"numbers": sorted(numbers)})
