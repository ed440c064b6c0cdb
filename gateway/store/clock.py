"""The clock may be set. Due times and leases are times of the clock on the wall, and must not stall with it.

Where it is set back by an hour, what was due a moment ago is due in an hour. So the workers note the time that they
saw, and who finds that it is earlier now than somebody saw it, a worker that starts or one that runs, moves all that is
to come by as much as the clock was set. It is done once, whoever notices: it is noted up to when.

On PostgreSQL other machines may have other clocks. Leases of theirs are only touched where they would last longer than
any lease can by the clock of the server. A retry may come too early there by as much as clocks differ, never too late.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from gateway.store.leases import ClaimedDelivery
from gateway.store.outbox import due_endpoints
from gateway.store.statement import Statement

if TYPE_CHECKING:
    from gateway.store import Store

TOLERANCE = 2.0
"""Seconds. Clocks of different machines differ by less, and corrections are smaller."""
NOTE_EVERY = 5.0
"""Seconds between two notes of the time, at most as often as something is written anyway."""
STEP = 500
"""Deliveries in one transaction."""
LOOKS = 50
"""Endpoints that are looked through in one transaction."""

NOTE = Statement(
    """
    INSERT INTO clock (id, seen, handled) VALUES (1, :now, 0)
    ON CONFLICT (id) DO UPDATE SET seen = excluded.seen
    """
)
SEEN = Statement("SELECT seen, handled FROM clock WHERE id = 1")
NEWEST = Statement("SELECT max(received_at) FROM events")
HANDLED = Statement(
    """
    INSERT INTO clock (id, seen, handled) VALUES (1, :now, :latest)
    ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, handled = excluded.handled
    """
)
_COMING = """
    SELECT id, due FROM deliveries
     WHERE due IS NOT NULL AND attempts_since_replay {attempts_since_replay} AND endpoint = :endpoint AND due > :now
       AND (due > :due OR (due = :due AND id > :id)) AND (owner IS NULL OR owner = :owner OR due > :longest)
     ORDER BY due, id LIMIT :most
"""
COMING = tuple(
    Statement(_COMING.format(attempts_since_replay=attempts_since_replay)) for attempts_since_replay in ("= 0", "> 0")
)
SHIFT = Statement("UPDATE deliveries SET due = due - :step WHERE id = :id")
EXTEND = Statement("UPDATE deliveries SET due = due + :step WHERE id = :id AND owner = :owner AND attempts = :number")
# Owed, and not put back or off: only then it is due at the very moment in which it was owed.
LEFT_BEHIND = Statement(
    """
    UPDATE deliveries SET due = :now
     WHERE due IS NOT NULL AND attempts_since_replay = 0 AND due > :latest AND due = created_at AND owner IS NULL
    """
)
SERVER = Statement("SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The clock was set back to `now`, by `step` seconds. `lease`: the longest that anybody takes."""

    owner: str
    now: float
    step: float
    longest: float
    """No lease ends later than this, unless by the clock of before."""


def find_set_back(conn: Connection, now: float) -> int:
    """What was owed by the clock of before, and committed when all else had been moved, is due now. How many."""
    return LEFT_BEHIND.run(conn, {"now": now, "latest": now + TOLERANCE}).rowcount


def record_clock(conn: Connection, now: float) -> None:
    """This is the time now, as a worker sees it."""
    NOTE.run(conn, {"now": now})


def behind(conn: Connection, now: float, was: float = 0.0) -> float:
    """Seconds by which `now` is earlier than it has been, 0.0 where that was seen to. `was`: as the caller saw it."""
    seen, handled = SEEN.run(conn).fetchone() or (0.0, 0.0)
    newest = NEWEST.run(conn).fetchone()[0] or 0.0
    # Those who share a clock see it set at about the same moment; the second of them finds it done.
    latest = max(seen, newest if newest > handled else 0.0, was if was > handled + 2 * TOLERANCE else 0.0)
    return float(latest - now) if latest > now + TOLERANCE else 0.0


def shift_back(store: Store, owner: str, now: float, lease: float, was: float = 0.0) -> Iterator[float]:
    """Moves what is to come if the clock was set back; after each small step, seconds by which. Raises
    `StoreUnavailable`; it may be begun again then, and what was moved already comes that much too early."""
    with store.reader() as conn:
        step = behind(conn, now, was)
        endpoints = sorted(due_endpoints(conn)) if step else []
        server = SERVER.run(conn).fetchone()[0] if step and store.name == "postgresql" else now
    if not step:
        return
    setting = Setting(owner=owner, now=now, step=step, longest=max(now, server) + lease)
    # Noted first: who starts anew in the middle of it must not do it twice, a retry that comes late is the lesser evil.
    store.writer.write(lambda conn: HANDLED.run(conn, {"now": now, "latest": now + step}) and None)
    yield step
    for first in range(0, len(endpoints), LOOKS):
        places: list[_Place] = [_Place(which, name) for name in endpoints[first : first + LOOKS] for which in (0, 1)]
        while places:
            places = store.writer.write(partial(_move, setting=setting, places=places))
            yield step


def extend(conn: Connection, owner: str, claimed: Sequence[ClaimedDelivery], step: float) -> None:
    """The clock was set forward: leases that are held last as long as they would have."""
    EXTEND.run_many(conn, [{"id": one.id, "owner": owner, "number": one.number, "step": step} for one in claimed])


@dataclass(frozen=True, slots=True)
class _Place:
    """How far the deliveries of an endpoint have been gone through, in the order of their times of before."""

    which: int
    endpoint: str
    due: float = 0.0
    id: int = 0


def _move(conn: Connection, setting: Setting, places: Sequence[_Place]) -> list[_Place]:
    """One step; the places that are still to be gone through."""
    left = STEP
    for at, place in enumerate(places):
        rows = _coming(conn, setting, place, left)
        SHIFT.run_many(conn, [{"id": row[0], "step": setting.step} for row in rows])
        left -= len(rows)
        if left <= 0:
            return [replace(place, due=rows[-1][1], id=rows[-1][0]), *places[at + 1 :]]
    return []


def _coming(conn: Connection, setting: Setting, place: _Place, most: int) -> list[tuple[int, float]]:
    who = {"owner": setting.owner, "now": setting.now, "longest": setting.longest}
    here = {"endpoint": place.endpoint, "due": place.due, "id": place.id, "most": most}
    return COMING[place.which].run(conn, who | here).fetchall()
