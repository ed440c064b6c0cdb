"""The wall clock may be set; due times and leases are times of that clock, and must not stall with it.

Where it is set back by an hour, what was due a moment ago is due in an hour. So the workers record the time that they
see. A worker that starts, or one that runs, and finds it earlier now than a worker has seen it, moves all that is to
come by as much as the clock was set. This is done once, whoever notices: it is recorded up to when it is done.

On PostgreSQL other machines may have other clocks. Leases of theirs are only touched where they would last longer than
any lease can by the clock of the server. A retry may come too early there by as much as clocks differ, never too late.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from gateway.store.leases import ClaimedDelivery
from gateway.store.outbox import due_endpoints
from gateway.store.statement import Statement

if TYPE_CHECKING:
    from gateway.store import Store

TOLERANCE_SECONDS = 2.0  # clocks of different machines differ by less, and corrections are smaller
RECORD_SECONDS = 5.0  # between two records of the time, at most as often as something is written anyway
MAX_DELIVERIES = 500  # moved in one transaction
MAX_ENDPOINTS = 50  # gone through in one transaction

RECORD = Statement("""
    INSERT INTO clock (id, seen, handled) VALUES (1, :now, 0)
    ON CONFLICT (id) DO UPDATE SET seen = excluded.seen
""")
SEEN = Statement("SELECT seen, handled FROM clock WHERE id = 1")
NEWEST = Statement("SELECT max(received_at) FROM events")
HANDLED = Statement("""
    INSERT INTO clock (id, seen, handled) VALUES (1, :now, :latest)
    ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, handled = excluded.handled
""")
_UPCOMING = """
    SELECT id, due FROM deliveries
     WHERE due IS NOT NULL AND attempts_since_replay {attempts} AND endpoint = :endpoint AND due > :now
       AND (due > :due OR (due = :due AND id > :id)) AND (owner IS NULL OR owner = :owner OR due > :longest)
     ORDER BY due, id LIMIT :most
"""
UPCOMING = Statement(_UPCOMING.format(attempts="= 0")), Statement(_UPCOMING.format(attempts="> 0"))
SHIFT = Statement("UPDATE deliveries SET due = due - :step WHERE id = :id")
EXTEND = Statement("UPDATE deliveries SET due = due + :step WHERE id = :id AND owner = :owner AND attempts = :number")
# Owed, and not replayed or put off: only then a delivery is due at the very moment at which it was owed.
LEFT_BEHIND = Statement("""
    UPDATE deliveries SET due = :now
     WHERE due IS NOT NULL AND attempts_since_replay = 0 AND due > :latest AND due = created_at AND owner IS NULL
""")
# How far the deliveries of an endpoint have been gone through: the due time of before, and the id, of the last one.
_Position = tuple[Statement, str, float, int]
SERVER = Statement("SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)")


def record_clock(conn: Connection, now: float) -> None:
    """Records the time that a worker sees."""
    RECORD.run(conn, {"now": now})


def shift_back(store: Store, owner: str, now: float, lease: float, was: float = 0.0) -> Iterator[float]:
    """Moves what is to come if the clock was set back; yields after each small step the seconds by which. `lease`: the
    longest that any worker takes. `was`: the time as the caller saw it before.

    Raises `StoreUnavailable`; it may be begun again then, and what was moved already comes that much too early.
    """
    with store.reader() as conn:
        step = seconds_behind(conn, now, was)
        endpoints = sorted(due_endpoints(conn)) if step else []
        server = SERVER.run(conn).fetchone()[0] if step and store.name == "postgresql" else now
    if not step:
        return
    # No lease ends later than this, unless by the clock of before.
    bounds = {"owner": owner, "now": now, "longest": max(now, server) + lease}
    # Recorded first: a worker that starts in the middle of it must not do it twice; a late retry is the lesser evil.
    store.writer.write(partial(HANDLED.run, values={"now": now, "latest": now + step}))
    yield step
    for first in range(0, len(endpoints), MAX_ENDPOINTS):
        names = endpoints[first : first + MAX_ENDPOINTS]
        left = [(statement, name, 0.0, 0) for name in names for statement in UPCOMING]
        while left:
            left = store.writer.write(partial(_shift, bounds=bounds, step=step, positions=left))
            yield step


def seconds_behind(conn: Connection, now: float, was: float = 0.0) -> float:
    """Reads. Returns by how much `now` is earlier than it has been; 0.0 where that is handled already."""
    seen, handled = SEEN.run(conn).fetchone() or (0.0, 0.0)
    newest = NEWEST.run(conn).fetchone()[0] or 0.0
    # Workers that share a clock see it set at about the same moment; the second of them finds it handled.
    is_recent = was > handled + 2 * TOLERANCE_SECONDS
    latest = max(seen, newest if newest > handled else 0.0, was if is_recent else 0.0)
    return float(latest - now) if latest > now + TOLERANCE_SECONDS else 0.0


def recover_left_behind(conn: Connection, now: float) -> int:
    """Makes due now what was owed by the clock of before and committed after the shift. Returns how many."""
    return LEFT_BEHIND.run(conn, {"now": now, "latest": now + TOLERANCE_SECONDS}).rowcount


def extend_leases(conn: Connection, owner: str, claimed: Sequence[ClaimedDelivery], step: float) -> None:
    """The clock was set forward: leases that are held last as long as they would have."""
    EXTEND.run_many(conn, [{"id": one.id, "owner": owner, "number": one.number, "step": step} for one in claimed])


def _shift(conn: Connection, bounds: dict[str, object], step: float, positions: Sequence[_Position]) -> list[_Position]:
    """Takes one step; returns the positions from which it goes on."""
    most = MAX_DELIVERIES
    for at, (upcoming, endpoint, due, id_) in enumerate(positions):
        rows = upcoming.run(conn, bounds | {"endpoint": endpoint, "due": due, "id": id_, "most": most}).fetchall()
        SHIFT.run_many(conn, [{"id": row[0], "step": step} for row in rows])
        most -= len(rows)
        if most <= 0:
            return [(upcoming, endpoint, rows[-1][1], rows[-1][0]), *positions[at + 1 :]]
    return []
