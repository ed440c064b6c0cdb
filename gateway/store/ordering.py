"""Deliveries of one ordering key go in the order in which they were owed: only the head of the key may be claimed, and
settling it promotes the next.

Owing asks "is there a head?", settling says "there is none now; which is next?". Two machines that do both at once must
not miss each other, or the key would wait for ever with nothing at its head. So whoever owes or settles holds the key's
lock until the commit. SQLite has one writer at a time and needs no such lock.

A transaction takes the locks of all its keys at once, in the order of their numbers: two transactions that take several
in different orders would wait for each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import blake2b

from sqlalchemy import Connection

from gateway.store.statement import Statement, index_key

MAX_KEYS_PER_TRANSACTION = 256
"""Ordering keys that one transaction may hold: PostgreSQL as shipped has room for 6,400 locks in all."""

LOCK = "SELECT pg_advisory_xact_lock(n) FROM unnest(CAST(%(numbers)s AS bigint[])) AS n"

# Does nothing where there is a head, or nothing is behind it; so it may be run at any time.
PROMOTE = Statement("""
    UPDATE deliveries SET queue_position = 'head', due = :now
     WHERE id = (SELECT min(id) FROM deliveries WHERE queue_position = 'behind' AND endpoint = :endpoint
                   AND ordering_key = :ordering_key)
       AND NOT EXISTS (SELECT 1 FROM deliveries WHERE queue_position = 'head' AND ordering_key = :ordering_key)
""")
# On PostgreSQL all in one round trip. Each key is there once, so no update meets another's.
PROMOTE_ALL = Statement("""
    UPDATE deliveries SET queue_position = 'head', due = :now
      FROM unnest(CAST(:endpoints AS text[]), CAST(:ordering_keys AS text[])) AS freed (endpoint, ordering_key)
     CROSS JOIN LATERAL (SELECT id FROM deliveries
                          WHERE queue_position = 'behind' AND endpoint = freed.endpoint
                            AND ordering_key = freed.ordering_key
                          ORDER BY id LIMIT 1) AS next
     WHERE deliveries.id = next.id
       AND NOT EXISTS (SELECT 1 FROM deliveries h
                        WHERE h.queue_position = 'head' AND h.ordering_key = freed.ordering_key)
""")


def hold_first(conn: Connection, ordering_keys: Iterable[str]) -> None:
    """Takes the locks of all these keys as a transaction begins, and remembers that it has them."""
    if conn.dialect.name != "sqlite":
        numbers = _numbers(ordering_keys)
        _lock(conn, numbers)
        conn.info["ordering_keys"] = (conn.get_transaction(), numbers)


def hold(conn: Connection, ordering_keys: Iterable[str]) -> None:
    """Takes the locks that `hold_first` did not. They are not remembered: the rollback of a savepoint may drop them."""
    if conn.dialect.name != "sqlite":
        transaction, held = conn.info.get("ordering_keys", (None, frozenset()))
        numbers = _numbers(ordering_keys)
        _lock(conn, numbers - held if transaction is conn.get_transaction() else numbers)


def promote(conn: Connection, freed: Collection[tuple[str, str]], now: float) -> None:
    """Makes the next delivery of each (endpoint, ordering key) its head, where there is a next one, and no head."""
    if conn.dialect.name == "postgresql":
        keys = sorted(set(freed))
        values = {"endpoints": [endpoint for endpoint, _ in keys], "ordering_keys": [key for _, key in keys]}
        PROMOTE_ALL.run(conn, values | {"now": now})
    else:
        PROMOTE.run_many(conn, [{"endpoint": endpoint, "ordering_key": key, "now": now} for endpoint, key in freed])


def _numbers(ordering_keys: Iterable[str]) -> frozenset[int]:
    """Returns the numbers of their locks. Two keys that share a number wait for each other, and that is all."""
    digests = (blake2b(index_key(key).encode(), digest_size=8).digest() for key in ordering_keys)
    return frozenset(int.from_bytes(digest, "big", signed=True) for digest in digests)


def _lock(conn: Connection, numbers: frozenset[int]) -> None:
    if numbers:
        conn.exec_driver_sql(LOCK, {"numbers": sorted(numbers)})
