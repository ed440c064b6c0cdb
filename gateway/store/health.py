"""Small rows that are written again and again: to see whether the store can commit at all, and who is alive."""

from __future__ import annotations

import time

from sqlalchemy import Connection

from gateway.store.statement import Statement

STORE, WORKER = 1, 2
"""Whose sign of life: of the store itself; of any worker, on whatever machine."""
EVERY = 10.0
"""Seconds between two signs of life of a worker."""

BEAT = Statement("INSERT INTO heartbeat (id, at) VALUES (:who, :at) ON CONFLICT (id) DO UPDATE SET at = excluded.at")
LAST = Statement("SELECT at FROM heartbeat WHERE id = :who")


def beat(conn: Connection, who: int = STORE) -> None:
    BEAT.run(conn, {"who": who, "at": time.time()})


def last(conn: Connection, who: int) -> float | None:
    """When it gave the last one, in seconds since 1970."""
    row = LAST.run(conn, {"who": who}).fetchone()
    return float(row[0]) if row else None
