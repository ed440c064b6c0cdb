"""The outbox: deliveries still owed, and a delivery's life.

    owe ──▶ behind ──▶ head ──claim──▶ leased ──settle──▶ succeeded, dead
                        ▲                │ │                    │
                        ├────── again ◀──┘ └─▶ released         │
                        └───────────────── replay ◀─────────────┘

Behind, head, leased and released are all *pending*. An ordering key's head may be claimed, those behind it may not;
settling the head promotes the next. One that has failed twice is released: it waits on its own, its ordering key goes
on without it.

Everything here is a piece of work for the store's writer: `conn` is its transaction. Who owes, settles or replays
names the ordering keys when handing in the work (``writer.submit(work, lanes=…)``).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from gateway.store import notices
from gateway.store.leases import ClaimedDelivery, ClaimLimit, claim, release_interrupted, release_unattempted
from gateway.store.ordering import hold
from gateway.store.replay import REPLAYS_PER_SECOND, ReplayFilter, replay, replay_all
from gateway.store.settling import AttemptOutcome, SettledDelivery, settle, settle_all
from gateway.store.statement import Statement, index_key, pairs_to_json, storable, texts_to_json
from schemas.message import Body, CannotSay

__all__ = [
    "REPLAYS_PER_SECOND",
    "ClaimedDelivery",
    "AttemptOutcome",
    "OwedDelivery",
    "ReplayFilter",
    "ClaimLimit",
    "SettledDelivery",
    "due_endpoints",
    "claim",
    "release_unattempted",
    "release_interrupted",
    "new_id",
    "next_due",
    "owe",
    "replay",
    "replay_all",
    "settle",
    "settle_all",
]

OWE = Statement(
    """
    INSERT INTO deliveries (delivery_id, event_id, endpoint, wire_format, ordering_key, state, queue_position, due,
                            attempts, attempts_since_replay,
                            content_type, headers, body, notes, created_at, replies)
    VALUES (:delivery_id, :event_id, :endpoint, :wire_format, :ordering_key, 'pending',
            CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE queue_position = 'head' AND ordering_key = :ordering_key)
                 THEN 'behind' ELSE 'head' END,
            CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE queue_position = 'head' AND ordering_key = :ordering_key)
                 THEN NULL ELSE CAST(:now AS double precision) END,
            0, 0, :content_type, :headers, :body, :notes, :now, :replies)
    """
)
BURY = Statement(
    """
    INSERT INTO deliveries (delivery_id, event_id, endpoint, wire_format, ordering_key, state, attempts,
                            attempts_since_replay,
                            content_type, headers, body, notes, last_error, created_at, settled_at)
    VALUES (:delivery_id, :event_id, :endpoint, :wire_format, :ordering_key, 'dead', 0, 0,
            '', :headers, :body, :notes, :error, :now, :now)
    """
)
# From endpoint to endpoint by the index, two look-ups each: DISTINCT would read every delivery that is due.
_EACH = """
    WITH RECURSIVE each (endpoint) AS (
        SELECT (SELECT endpoint FROM deliveries WHERE {these} ORDER BY endpoint LIMIT 1)
        UNION ALL
        SELECT (SELECT d.endpoint FROM deliveries d WHERE {these} AND d.endpoint > each.endpoint
                 ORDER BY d.endpoint LIMIT 1)
          FROM each WHERE each.endpoint IS NOT NULL
    )
    SELECT endpoint, (SELECT min(due) FROM deliveries d WHERE d.endpoint = each.endpoint AND {these})
      FROM each WHERE endpoint IS NOT NULL
"""
AGENDA = (
    Statement(_EACH.format(these="due IS NOT NULL AND attempts_since_replay = 0")),
    Statement(_EACH.format(these="due IS NOT NULL AND attempts_since_replay > 0")),
)
_NEXT = "SELECT min(due) FROM deliveries WHERE endpoint = :endpoint AND due IS NOT NULL AND "
NEXT = Statement(_NEXT + "attempts_since_replay = 0"), Statement(_NEXT + "attempts_since_replay > 0")
NO_BODY = Body(content_type="", data=b"")  # known by its empty content type


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedDelivery:
    """One body for one endpoint. What its format cannot say is dead from the start, and shown."""

    endpoint: str
    wire_format: str
    """The wire format's name."""
    ordering_key: str
    """Deliveries of one ordering key go one after another: endpoint + conversation, or endpoint + message."""
    body: Body | CannotSay
    delivery_id: str = ""
    """A UUID that is known already; empty: a new one."""
    replies: bool | None = None
    """What the endpoint answers is texted back."""


def owe(conn: Connection, event_id: int, owed: Sequence[OwedDelivery], now: float) -> list[str]:
    """Puts deliveries into the outbox, in this order; their delivery_ids. One whose ordering key is free is due at
    once."""
    hold(conn, [one.ordering_key for one in owed])
    notices.mark_due(conn, [one.endpoint for one in owed])
    return [_put(conn, _row(event_id, one, now)) for one in owed]


def due_endpoints(conn: Connection) -> dict[str, float]:
    """Every endpoint that has something to claim, now or later, and when the first of it is due, epoch seconds."""
    when: dict[str, float] = {}
    for each in AGENDA:
        for endpoint, due in each.run(conn).fetchall():
            when[endpoint] = min(due, when.get(endpoint, due))
    return when


def next_due(conn: Connection, endpoint: str) -> float | None:
    """Reads. When the first of what is owed to it is due, epoch seconds; None: nothing is."""
    found = [each.run(conn, {"endpoint": endpoint}).fetchone()[0] for each in NEXT]
    return min([due for due in found if due is not None], default=None)


def _put(conn: Connection, row: dict[str, object]) -> str:
    (OWE if row["error"] is None else BURY).run(conn, row)
    return str(row["delivery_id"])


def _row(event_id: int, owed: OwedDelivery, now: float) -> dict[str, object]:
    cannot, body = (owed.body, NO_BODY) if isinstance(owed.body, CannotSay) else (None, owed.body)
    return {
        "delivery_id": owed.delivery_id or new_id(now),
        "event_id": event_id,
        "endpoint": storable(owed.endpoint),  # never shortened: it may be a URL that is to be called
        "wire_format": owed.wire_format,
        "ordering_key": index_key(owed.ordering_key),
        "content_type": body.content_type,
        "headers": pairs_to_json(body.headers),
        "body": body.data,
        "notes": texts_to_json(body.notes),
        "error": None if cannot is None else storable(str(cannot)),
        "replies": owed.replies,
        "now": now,
    }


def new_id(now: float) -> str:
    """A UUID of version 7: in the order of time, so that the index on it grows at its end instead of everywhere.

    It keeps no secret, so its dice need not ask the system each time; after a fork they are cast anew by themselves.
    """
    time, dice = max(int(now * 1000), 0) & (2**48 - 1), random.getrandbits(74)
    low, rest = 0x8000 | dice & 0x3FFF, dice >> 14
    return f"{time >> 16:08x}-{time & 0xFFFF:04x}-7{rest >> 48:03x}-{low:04x}-{rest & (2**48 - 1):012x}"
