"""The outbox: deliveries still owed, and a delivery's life.

    owe ──▶ behind ──▶ head ──claim──▶ leased ──settle──▶ succeeded, dead
                        ▲                │ │                    │
                        ├────── again ◀──┘ └─▶ released         │
                        └───────────────── replay ◀─────────────┘

Behind, head, leased and released are all *pending*. An ordering key's head may be claimed, deliveries behind it may
not; settling the head promotes the next (`promote`). A delivery that has failed twice is released: it waits on its own,
and its ordering key goes on without it. `gateway.store.leases` claims and settles, `gateway.store.replay` replays.

Owing asks "is there a head?", settling says "there is none now; which is next?". Two machines that do both at once must
not miss each other, or the key would wait for ever with nothing at its head. So whoever owes or settles holds the key's
lock until the commit; SQLite has one writer at a time and needs no such lock. A transaction takes the locks of all its
keys at once, in the order of their numbers: two that take several in different orders would wait for each other.

Functions that write run in the store's writer: `conn` is its transaction. An operation that owes, settles or replays is
handed in with the ordering keys that it touches (``writer.submit(work, ordering_keys=…)``).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from sqlalchemy import Connection

from gateway.store.statement import Statement, index_key, pairs_to_json, storable, texts_to_json
from gateway.store.wakeup import mark_due
from schemas.message import Body, CannotSay

MAX_KEYS_PER_TRANSACTION = 256
"""Ordering keys that one transaction may hold: PostgreSQL as shipped has room for 6,400 locks in all."""

LOCK = "SELECT pg_advisory_xact_lock(n) FROM unnest(CAST(%(numbers)s AS bigint[])) AS n"

OWE = Statement("""
    INSERT INTO deliveries (delivery_id, event_id, endpoint, wire_format, ordering_key, state, queue_position, due,
                            attempts, attempts_since_replay,
                            content_type, headers, body, notes, created_at, replies)
    VALUES (:delivery_id, :event_id, :endpoint, :wire_format, :ordering_key, 'pending',
            CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE queue_position = 'head' AND ordering_key = :ordering_key)
                 THEN 'behind' ELSE 'head' END,
            CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE queue_position = 'head' AND ordering_key = :ordering_key)
                 THEN NULL ELSE CAST(:now AS double precision) END,
            0, 0, :content_type, :headers, :body, :notes, :now, :replies)
""")
OWE_DEAD = Statement("""
    INSERT INTO deliveries (delivery_id, event_id, endpoint, wire_format, ordering_key, state, attempts,
                            attempts_since_replay,
                            content_type, headers, body, notes, last_error, created_at, settled_at)
    VALUES (:delivery_id, :event_id, :endpoint, :wire_format, :ordering_key, 'dead', 0, 0,
            '', :headers, :body, :notes, :error, :now, :now)
""")
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
# From endpoint to endpoint along the index, two look-ups each: DISTINCT would read every delivery that is due.
_DUE_ENDPOINTS = """
    WITH RECURSIVE each (endpoint) AS (
        SELECT (SELECT endpoint FROM deliveries WHERE {condition} ORDER BY endpoint LIMIT 1)
        UNION ALL
        SELECT (SELECT d.endpoint FROM deliveries d WHERE {condition} AND d.endpoint > each.endpoint
                 ORDER BY d.endpoint LIMIT 1)
          FROM each WHERE each.endpoint IS NOT NULL
    )
    SELECT endpoint, (SELECT min(due) FROM deliveries d WHERE d.endpoint = each.endpoint AND {condition})
      FROM each WHERE endpoint IS NOT NULL
"""
_DUE = "due IS NOT NULL AND attempts_since_replay = 0", "due IS NOT NULL AND attempts_since_replay > 0"
DUE_ENDPOINTS = [Statement(_DUE_ENDPOINTS.format(condition=each)) for each in _DUE]
_NEXT_DUE = "SELECT min(due) FROM deliveries WHERE endpoint = :endpoint AND "
NEXT_DUE = [Statement(_NEXT_DUE + each) for each in _DUE]
_NO_BODY = Body(content_type="", data=b"")  # known by its empty content type


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedDelivery:
    """One body for one endpoint. A body that its format cannot say is dead from the start, and shown."""

    endpoint: str
    wire_format: str  # the wire format's name
    ordering_key: str
    """Deliveries of one ordering key go one after another: endpoint + conversation, or endpoint + message."""
    body: Body | CannotSay
    delivery_id: str = ""  # a UUID that is known already; empty: a new one
    replies: bool | None = None


def owe(conn: Connection, event_id: int, owed: Sequence[OwedDelivery], now: float) -> list[str]:
    """Puts deliveries into the outbox, in this order; due at once if the key is free. Returns their delivery_ids."""
    hold(conn, [delivery.ordering_key for delivery in owed])
    mark_due(conn, [delivery.endpoint for delivery in owed])
    delivery_ids = []
    for delivery in owed:
        cannot, body = (delivery.body, _NO_BODY) if isinstance(delivery.body, CannotSay) else (None, delivery.body)
        delivery_ids.append(delivery.delivery_id or new_id(now))
        values = {
            "delivery_id": delivery_ids[-1],
            "event_id": event_id,
            "endpoint": storable(delivery.endpoint),  # never shortened: it may be a URL that is to be called
            "wire_format": delivery.wire_format,
            "ordering_key": index_key(delivery.ordering_key),
            "content_type": body.content_type,
            "headers": pairs_to_json(body.headers),
            "body": body.data,
            "notes": texts_to_json(body.notes),
            "error": None if cannot is None else storable(str(cannot)),
            "replies": delivery.replies,
            "now": now,
        }
        (OWE if cannot is None else OWE_DEAD).run(conn, values)
    return delivery_ids


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


def due_endpoints(conn: Connection) -> dict[str, float]:
    """Reads. Returns endpoint → when its first delivery to claim is due, now or later, epoch seconds."""
    first: dict[str, float] = {}
    for statement in DUE_ENDPOINTS:
        for endpoint, due in statement.run(conn).fetchall():
            first[endpoint] = min(due, first.get(endpoint, due))
    return first


def next_due(conn: Connection, endpoint: str) -> float | None:
    """Reads. Returns when the first delivery that is owed to this endpoint is due, epoch seconds; None: none is."""
    found = [statement.run(conn, {"endpoint": endpoint}).fetchone()[0] for statement in NEXT_DUE]
    return min([due for due in found if due is not None], default=None)


def new_id(now: float) -> str:
    """Returns a UUID of version 7: it grows with time, so that the index on it grows at its end instead of everywhere.
    It keeps no secret, so its random bits need not come from the system each time; `random` seeds itself anew after a
    fork."""
    time, bits = max(int(now * 1000), 0) & (2**48 - 1), random.getrandbits(74)
    low, rest = 0x8000 | bits & 0x3FFF, bits >> 14
    return f"{time >> 16:08x}-{time & 0xFFFF:04x}-7{rest >> 48:03x}-{low:04x}-{rest & (2**48 - 1):012x}"
