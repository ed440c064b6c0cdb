"""Leases that a worker has without knowing it: the database went away in the midst of the commit, which came to be all
the same, and the claim's answer was lost. Nothing was sent, so they are given back, and need not run out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection

from gateway.store.statement import Statement

MINE = Statement(
    """
    SELECT id, attempts FROM deliveries
     WHERE due IS NOT NULL AND attempts_since_replay > 0 AND endpoint = :endpoint AND due > :now AND owner = :owner
    """
)
UNCOUNT = Statement(
    """
    UPDATE deliveries SET due = :now, owner = NULL, attempts = attempts - 1,
           attempts_since_replay = attempts_since_replay - 1
     WHERE id = :id AND owner = :owner AND attempts = :number
    """
)


def reclaim_uncertain(
    conn: Connection, owner: str, endpoints: Iterable[str], known: Collection[int], now: float
) -> int:
    """All leases of the owner at these endpoints, but those on deliveries that are `known` (ids). How many."""
    given = 0
    for endpoint in endpoints:
        rows = MINE.run(conn, {"endpoint": endpoint, "owner": owner, "now": now}).fetchall()
        lost = [{"id": row[0], "number": row[1], "owner": owner, "now": now} for row in rows if row[0] not in known]
        UNCOUNT.run_many(conn, lost)
        given += len(lost)
    return given
