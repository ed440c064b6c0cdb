"""The outbox: deliveries still owed, and a delivery's life.

    owe ──▶ behind ──▶ head ──claim──▶ leased ──settle──▶ succeeded, dead
                        ▲                │ │                    │
                        ├────── again ◀──┘ └─▶ released         │
                        └───────────────── replay ◀─────────────┘

Behind, head, leased and released are all *pending*. An ordering key's head may be claimed, deliveries behind it may
not; settling the head promotes the next (`gateway.store.ordering`). A delivery that has failed twice is released: it
waits on its own, and its ordering key goes on without it. `gateway.store.leases` claims and settles,
`gateway.store.replay` replays.

Functions that write run in the store's writer: `conn` is its transaction. An operation that owes, settles or replays is
handed in with the ordering keys that it touches (``writer.submit(work, ordering_keys=…)``).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from gateway.store.ordering import hold
from gateway.store.statement import Statement, index_key, pairs_to_json, storable, texts_to_json
from gateway.store.wakeup import mark_due
from schemas.message import Body, CannotSay

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
BURY = Statement("""
    INSERT INTO deliveries (delivery_id, event_id, endpoint, wire_format, ordering_key, state, attempts,
                            attempts_since_replay,
                            content_type, headers, body, notes, last_error, created_at, settled_at)
    VALUES (:delivery_id, :event_id, :endpoint, :wire_format, :ordering_key, 'dead', 0, 0,
            '', :headers, :body, :notes, :error, :now, :now)
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
DUE_ENDPOINTS = (
    Statement(_DUE_ENDPOINTS.format(condition="due IS NOT NULL AND attempts_since_replay = 0")),
    Statement(_DUE_ENDPOINTS.format(condition="due IS NOT NULL AND attempts_since_replay > 0")),
)
_NEXT_DUE = "SELECT min(due) FROM deliveries WHERE endpoint = :endpoint AND due IS NOT NULL AND "
NEXT_DUE = Statement(_NEXT_DUE + "attempts_since_replay = 0"), Statement(_NEXT_DUE + "attempts_since_replay > 0")
_NO_BODY = Body(content_type="", data=b"")  # known by its empty content type


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedDelivery:
    """One body for one endpoint. A body that its format cannot say is dead from the start, and shown."""

    endpoint: str
    wire_format: str
    """The wire format's name."""
    ordering_key: str
    """Deliveries of one ordering key go one after another: endpoint + conversation, or endpoint + message."""
    body: Body | CannotSay
    delivery_id: str = ""
    """A UUID that is known already; empty: a new one."""
    replies: bool | None = None
    """The endpoint's answer is texted back."""


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
        (OWE if cannot is None else BURY).run(conn, values)
    return delivery_ids


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
    fork.
    """
    time, bits = max(int(now * 1000), 0) & (2**48 - 1), random.getrandbits(74)
    low, rest = 0x8000 | bits & 0x3FFF, bits >> 14
    return f"{time >> 16:08x}-{time & 0xFFFF:04x}-7{rest >> 48:03x}-{low:04x}-{rest & (2**48 - 1):012x}"
