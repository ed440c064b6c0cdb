"""The outbox: deliveries still owed, and a delivery's life.

    owe ──▶ behind ──▶ head ──claim──▶ leased ──settle──▶ succeeded, dead
                        ▲                │ │                    │
                        ├────── again ◀──┘ └─▶ released         │
                        └───────────────── replay ◀─────────────┘

Behind, head, leased and released are all *pending*. A lane's head may be claimed, those behind it may not; settling
the head promotes the next. One that has failed twice is released: it waits on its own, its lane goes on without it.

Everything here is a piece of work for the store's writer: `conn` is its transaction. Who owes, settles or replays
names the lanes when handing in the work (``writer.submit(work, lanes=…)``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from gateway.store.lanes import hold
from gateway.store.leases import Claimed, Outcome, Settled, claim, give_back, let_go, settle
from gateway.store.replays import PACE, Replay, replay, replay_all
from gateway.store.spelling import key, packed, plain
from gateway.store.statement import Statement
from schemas.message import Body, CannotSay

__all__ = [
    "PACE",
    "Claimed",
    "Outcome",
    "Owed",
    "Replay",
    "Settled",
    "claim",
    "due_endpoints",
    "give_back",
    "let_go",
    "next_due",
    "owe",
    "replay",
    "replay_all",
    "settle",
]

OWE = Statement(
    """
    INSERT INTO deliveries (delivery_id, event_id, endpoint, kind, lane, state, standing, due, attempts, tries,
                            content_type, headers, body, notes, created_at)
    VALUES (:delivery_id, :event_id, :endpoint, :kind, :lane, 'pending',
            CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE standing = 'head' AND lane = :lane)
                 THEN 'behind' ELSE 'head' END,
            CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE standing = 'head' AND lane = :lane)
                 THEN NULL ELSE CAST(:now AS double precision) END,
            0, 0, :content_type, :headers, :body, :notes, :now)
    """
)
BURY = Statement(
    """
    INSERT INTO deliveries (delivery_id, event_id, endpoint, kind, lane, state, attempts, tries,
                            content_type, headers, body, notes, last_error, created_at, settled_at)
    VALUES (:delivery_id, :event_id, :endpoint, :kind, :lane, 'dead', 0, 0,
            '', :headers, :body, :notes, :error, :now, :now)
    """
)
# From endpoint to endpoint by the index, one look-up each: DISTINCT would read every delivery that is due.
_EACH_ENDPOINT = """
    WITH RECURSIVE each (endpoint) AS (
        SELECT (SELECT endpoint FROM deliveries WHERE due IS NOT NULL ORDER BY endpoint LIMIT 1)
        UNION ALL
        SELECT (SELECT d.endpoint FROM deliveries d WHERE d.due IS NOT NULL AND d.endpoint > each.endpoint
                 ORDER BY d.endpoint LIMIT 1)
          FROM each WHERE each.endpoint IS NOT NULL
    )
"""
_FIRST = "SELECT min(due) FROM deliveries d WHERE d.endpoint = each.endpoint AND d.due"
FIRST_DUE = Statement(
    f"""
    {_EACH_ENDPOINT}
    SELECT endpoint, first FROM (SELECT endpoint, ({_FIRST} <= :now) AS first FROM each WHERE endpoint IS NOT NULL) AS f
     WHERE first IS NOT NULL ORDER BY first
    """  # noqa: S608
)
NEXT_DUE = Statement(
    f"{_EACH_ENDPOINT} SELECT min(({_FIRST} > :now)) FROM each WHERE endpoint IS NOT NULL"  # noqa: S608
)
NO_BODY = Body(content_type="", data=b"")  # known by its empty content type


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """One body for one endpoint. What its format cannot say is dead from the start, and shown."""

    endpoint: str
    kind: str
    """The wire format's name."""
    lane: str
    """Deliveries of one lane go one after another: endpoint + conversation, or endpoint + message."""
    body: Body | CannotSay


def owe(conn: Connection, event_id: int, owed: Sequence[Owed], now: float) -> list[str]:
    """Puts deliveries into the outbox, in this order; their delivery_ids. One whose lane is free is due at once."""
    hold(conn, [one.lane for one in owed])
    rows = [_row(event_id, one, now) for one in owed]
    OWE.run_many(conn, [row for row in rows if row["error"] is None])
    BURY.run_many(conn, [row for row in rows if row["error"] is not None])
    return [str(row["delivery_id"]) for row in rows]


def due_endpoints(conn: Connection, now: float) -> list[str]:
    """Endpoints that have something to claim, the longest due first."""
    return [row[0] for row in FIRST_DUE.run(conn, {"now": now}).fetchall()]


def next_due(conn: Connection, now: float) -> float | None:
    """When something becomes claimable next (a retry, or a lease that runs out), after now; None: nothing will."""
    due = NEXT_DUE.run(conn, {"now": now}).fetchone()[0]
    return None if due is None else float(due)


def _row(event_id: int, owed: Owed, now: float) -> dict[str, object]:
    cannot, body = (owed.body, NO_BODY) if isinstance(owed.body, CannotSay) else (None, owed.body)
    return {
        "delivery_id": _uuid(now),
        "event_id": event_id,
        "endpoint": plain(owed.endpoint),  # never shortened: it may be a URL that is to be called
        "kind": owed.kind,
        "lane": key(owed.lane),
        "content_type": body.content_type,
        "headers": packed(body.headers),
        "body": body.data,
        "notes": packed(body.notes),
        "error": None if cannot is None else plain(str(cannot)),
        "now": now,
    }


def _uuid(now: float) -> str:
    """Version 7: in the order of time, so that the index on it grows at its end instead of everywhere."""
    digits = f"{max(int(now * 1000), 0) & (2**48 - 1):012x}{os.urandom(10).hex()}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
