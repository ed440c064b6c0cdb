"""One small row, written to see whether the store can commit at all."""

from __future__ import annotations

import time

from sqlalchemy import Connection

from gateway.store.statement import Statement

BEAT = Statement("INSERT INTO heartbeat (id, at) VALUES (1, :at) ON CONFLICT (id) DO UPDATE SET at = excluded.at")


def beat(conn: Connection) -> None:
    BEAT.run(conn, {"at": time.time()})
