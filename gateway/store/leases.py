"""Leases: a delivery is somebody's until a time. Who loses it (hung, dead, clock) may tell what became of the attempt,
but no longer decides anything.

The attempt is on disk before its request is made: the delivery's own row has its number, its owner and its beginning.
Its row among the attempts comes when it ends; after a crash the next claim writes it, and its outcome is *unknown*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection

from gateway.store.statement import Statement, pairs_from_json

# Two looks for each endpoint: at what was tried before, the lease that ran out among it, then at what never was.
_SEEN = """
    id, delivery_id, event_id, endpoint, wire_format, ordering_key, attempts, attempts_since_replay, content_type,
    headers, body, created_at, owner, started_at, replies
"""
TRIED = Statement(
    f"""
    SELECT {_SEEN} FROM deliveries WHERE endpoint = :endpoint AND due <= :now AND due IS NOT NULL
       AND attempts_since_replay > 0
     ORDER BY due LIMIT :most
    """  # noqa: S608
)
FIRST = Statement(
    f"""
    SELECT {_SEEN} FROM deliveries WHERE endpoint = :endpoint AND due <= :now AND due IS NOT NULL
       AND attempts_since_replay = 0
     ORDER BY due LIMIT :most
    """  # noqa: S608
)
# On PostgreSQL all in one journey, and past what another machine is taking just now.
_LATERAL = """
    SELECT d.* FROM unnest(CAST(:endpoints AS text[]), CAST(:most AS integer[])) AS wanted (endpoint, most)
     CROSS JOIN LATERAL (SELECT {seen} FROM deliveries
                          WHERE endpoint = wanted.endpoint AND due <= :now AND due IS NOT NULL AND {these}
                          ORDER BY due LIMIT wanted.most FOR UPDATE SKIP LOCKED) AS d
"""
TRIED_OF_ALL = Statement(_LATERAL.format(seen=_SEEN, these="attempts_since_replay > 0"))
FIRST_OF_ALL = Statement(_LATERAL.format(seen=_SEEN, these="attempts_since_replay = 0"))
_TAKE = "owner = :owner, attempts = attempts + 1, attempts_since_replay = attempts_since_replay + 1, started_at = :now"
TAKE = Statement(f"UPDATE deliveries SET due = :until, {_TAKE} WHERE id = :id")  # noqa: S608
TAKE_ALL = Statement(
    f"""
    UPDATE deliveries SET due = taken.until, {_TAKE}
      FROM unnest(CAST(:ids AS bigint[]), CAST(:untils AS double precision[])) AS taken (id, until)
     WHERE deliveries.id = taken.id
    """  # noqa: S608
)
LOST = Statement(
    """
    INSERT INTO attempts (delivery_id, number, endpoint, owner, started_at, outcome,
                          answer_headers, answer_body, times, diagnosis, late)
    SELECT id, attempts, endpoint, owner, started_at, 'unknown', '[]', :nothing, '{}', '[]', :late
      FROM deliveries WHERE id = :id
    """
)
# Whose lease it is. The owner alone does not tell: one may have lost it and have got it again.
_MINE = "WHERE id = :id AND owner = :owner AND attempts = :number"
UNCOUNT = Statement(
    f"""
    UPDATE deliveries SET due = :due, owner = NULL, attempts = attempts - 1,
           attempts_since_replay = attempts_since_replay - 1 {_MINE}
    """  # noqa: S608
)
HOLD = Statement(f"SELECT 1 FROM deliveries {_MINE}")  # noqa: S608
LET_GO = Statement(f"UPDATE deliveries SET due = :due, owner = NULL {_MINE}")  # noqa: S608
RENEW = Statement(f"UPDATE deliveries SET due = :until {_MINE}")  # noqa: S608


class ClaimLimit(NamedTuple):
    """How many more deliveries an endpoint may have in flight."""

    all: int
    first: int = 0
    """Places among them that are kept for first attempts; where there are none, these stay free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """A delivery that is ours to attempt, until its lease ends. Bodies and headers are the bytes of the event's day."""

    id: int
    delivery_id: str
    event_id: int
    endpoint: str
    wire_format: str
    ordering_key: str
    number: int
    """Of this attempt, from 1, counted over all replays."""
    attempts_since_replay: int
    """This one included, since it was owed or replayed last."""
    content_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    created_at: float
    started_at: float = 0.0
    """When the lease was taken: the attempt's beginning, as people see it."""
    replies: bool = False
    """What the endpoint answers is texted back."""

    @property
    def attempt_id(self) -> tuple[int, int]:
        return self.id, self.number


def claim(
    conn: Connection, owner: str, rooms: Mapping[str, ClaimLimit], now: float, leases: Mapping[str, float]
) -> list[ClaimedDelivery]:
    """Takes what is due, as much for each endpoint as it has room, the longest due first, for `leases` seconds.

    Where an earlier lease ran out, that attempt stays behind as ``unknown``: it may or may not have arrived.
    """
    here = {endpoint: room for endpoint, room in rooms.items() if room.all > 0}
    rows = _due_of_all(conn, here, now) if conn.dialect.name == "postgresql" else _due(conn, here, now)
    LOST.run_many(conn, [{"id": row[0], "nothing": b"", "late": False} for row in rows if row[12] is not None])
    _take(conn, owner, rows, now, leases)
    return [_claimed(row, now) for row in rows]


def extend(conn: Connection, owner: str, held: ClaimedDelivery, until: float) -> bool:
    """Makes a lease last until then. False: it is not ours any more."""
    return RENEW.run(conn, _of(held, owner) | {"until": until}).rowcount == 1


def release_unattempted(conn: Connection, owner: str, unbegun: Sequence[ClaimedDelivery], due: float) -> int:
    """Ends leases whose request was never begun, as if they had not been taken; claimable from `due` on. How many."""
    return sum(UNCOUNT.run(conn, _of(one, owner) | {"due": due}).rowcount for one in unbegun)


def release_interrupted(conn: Connection, owner: str, begun: Sequence[ClaimedDelivery], due: float) -> int:
    """Ends leases whose request was cut off: it may have arrived, so the attempt is ``unknown``, and counts."""
    return sum(_let_go(conn, _of(one, owner) | {"due": due, "nothing": b"", "late": False}) for one in begun)


def _let_go(conn: Connection, one: dict[str, object]) -> int:
    held = HOLD.run(conn, one).fetchone() is not None
    if held:
        LOST.run(conn, one)
        LET_GO.run(conn, one)
    return int(held)


def _due(conn: Connection, rooms: Mapping[str, ClaimLimit], now: float) -> list[Any]:
    rows: list[Any] = []
    for endpoint, room in rooms.items():
        here = {"endpoint": endpoint, "now": now}
        tried = TRIED.run(conn, here | {"most": room.all - room.first}).fetchall() if room.all > room.first else []
        rows += tried
        rows += FIRST.run(conn, here | {"most": room.all - len(tried)}).fetchall()
    return rows


def _due_of_all(conn: Connection, rooms: Mapping[str, ClaimLimit], now: float) -> list[Any]:
    left = {endpoint: room.all for endpoint, room in rooms.items()}
    here = {"endpoints": list(rooms), "most": [max(room.all - room.first, 0) for room in rooms.values()], "now": now}
    tried = TRIED_OF_ALL.run(conn, here).fetchall()
    for row in tried:
        left[row[3]] -= 1
    return tried + FIRST_OF_ALL.run(conn, here | {"most": list(left.values())}).fetchall()


def _take(conn: Connection, owner: str, rows: Sequence[Any], now: float, leases: Mapping[str, float]) -> None:
    untils = [now + leases[row[3]] for row in rows]
    if conn.dialect.name == "postgresql":
        ids = [row[0] for row in rows]
        TAKE_ALL.run(conn, {"owner": owner, "now": now, "ids": ids, "untils": untils})
        return
    taken = zip(rows, untils, strict=True)
    TAKE.run_many(conn, [{"owner": owner, "now": now, "id": row[0], "until": until} for row, until in taken])


def _claimed(row: Any, now: float) -> ClaimedDelivery:
    return ClaimedDelivery(
        id=row[0],
        delivery_id=row[1],
        event_id=row[2],
        endpoint=row[3],
        wire_format=row[4],
        ordering_key=row[5],
        number=row[6] + 1,
        attempts_since_replay=row[7] + 1,
        content_type=row[8],
        headers=pairs_from_json(row[9]),
        body=row[10],
        created_at=row[11],
        started_at=now,
        replies=bool(row[14]),
    )


def _of(claimed: ClaimedDelivery, owner: str) -> dict[str, object]:
    return {"id": claimed.id, "number": claimed.number, "owner": owner}
