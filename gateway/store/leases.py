"""Leases: a delivery is somebody's until a time. Who loses it (hung, dead, clock) may tell what became of the attempt,
but no longer decides anything.

The attempt's row is written when the lease is taken, before the request is made: after a crash it is still there,
and its outcome is *unknown*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Connection, Row

from gateway.store.lanes import hold, promote
from gateway.store.spelling import packed, pairs, plain
from gateway.store.statement import Statement

Outcome = Literal["succeeded", "again", "dead"]

# One look for each endpoint; on PostgreSQL all in one journey, and past what another machine is taking just now.
DUE = Statement("SELECT * FROM deliveries WHERE endpoint = :endpoint AND due <= :now ORDER BY due LIMIT :slots")
DUE_OF_ALL = Statement(
    """
    SELECT d.* FROM unnest(CAST(:endpoints AS text[]), CAST(:slots AS integer[])) AS wanted (endpoint, slots)
     CROSS JOIN LATERAL (SELECT * FROM deliveries
                          WHERE endpoint = wanted.endpoint AND due <= :now
                          ORDER BY due LIMIT wanted.slots FOR UPDATE SKIP LOCKED) AS d
    """
)
TAKE = Statement(
    "UPDATE deliveries SET owner = :owner, due = :until, attempts = :number, tries = tries + 1 WHERE id = :id"
)
BEGUN = Statement(
    """
    INSERT INTO attempts (delivery_id, number, endpoint, owner, started_at,
                          answer_headers, answer_body, times, diagnosis, late)
    VALUES (:id, :number, :endpoint, :owner, :now, '[]', :nothing, '{}', '[]', :late)
    """
)
UNKNOWN = Statement(
    "UPDATE attempts SET outcome = 'unknown' WHERE delivery_id = :id AND number = :number AND outcome IS NULL"
)
# Whose lease it is. The owner alone does not tell: one may have lost it and have got it again.
_MINE = "WHERE id = :id AND owner = :owner AND attempts = :number"
SETTLE = Statement(
    f"""
    UPDATE deliveries SET state = :outcome, standing = NULL, due = NULL, owner = NULL,
                          last_error = :sentence, settled_at = :now {_MINE}
    """  # noqa: S608
)
AGAIN = Statement(
    f"""
    UPDATE deliveries SET due = :due, owner = NULL, last_error = :sentence,
                          standing = CASE WHEN tries >= 2 THEN 'released' ELSE standing END {_MINE}
    """  # noqa: S608
)
ENDED = Statement(
    """
    UPDATE attempts SET finished_at = :finished_at, outcome = :outcome, sentence = :sentence,
                        status = :status, late = :late,
                        answer_headers = :answer_headers, answer_body = :answer_body,
                        times = :times, diagnosis = :diagnosis
     WHERE delivery_id = :id AND number = :number AND owner = :owner
    """
)
UNCOUNT = Statement(
    f"UPDATE deliveries SET due = :due, owner = NULL, attempts = attempts - 1, tries = tries - 1 {_MINE}"  # noqa: S608
)
NEVER_BEGUN = Statement("DELETE FROM attempts WHERE delivery_id = :id AND number = :number AND owner = :owner")
LET_GO = Statement(f"UPDATE deliveries SET due = :due, owner = NULL {_MINE}")  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A delivery that is ours to attempt, until its lease ends. Bodies and headers are the bytes of the event's day."""

    id: int
    delivery_id: str
    event_id: int
    endpoint: str
    kind: str
    lane: str
    number: int
    """Of this attempt, from 1, counted over all replays."""
    tries: int
    """This one included, since it was owed or replayed last."""
    content_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    created_at: float

    @property
    def attempt_id(self) -> tuple[int, int]:
        return self.id, self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """How an attempt ended."""

    claimed: Claimed
    outcome: Outcome
    finished_at: float
    due: float | None = None
    """When to try again, epoch seconds; with ``again``, and only then."""
    sentence: str = ""
    """Why it did not succeed."""
    status: int | None = None
    answer_headers: Sequence[tuple[str, str]] = ()
    answer_body: bytes = field(default=b"", repr=False)
    times: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds: name, connect, tls, first_byte, total."""
    diagnosis: Sequence[str] = ()

    def __post_init__(self) -> None:
        if (self.outcome == "again") != (self.due is not None):
            raise ValueError("a delivery is due again if it is to be tried again, and only then")

    @property
    def lane(self) -> str:
        return self.claimed.lane


def claim(
    conn: Connection, owner: str, slots: Mapping[str, int], now: float, lease: Mapping[str, float]
) -> list[Claimed]:
    """Takes what is due, as many for each endpoint as it has slots, the longest due first, for `lease` seconds.

    Where an earlier lease ran out, that attempt stays behind as ``unknown``: it may or may not have arrived.
    """
    rows = _due(conn, {endpoint: free for endpoint, free in slots.items() if free > 0}, now)
    taken = [_lease(row, owner, now, now + lease[row.endpoint]) for row in rows]
    TAKE.run_many(conn, taken)
    UNKNOWN.run_many(conn, [{"id": row.id, "number": row.attempts} for row in rows if row.owner is not None])
    BEGUN.run_many(conn, taken)
    return [_claimed(row) for row in rows]


def settle(conn: Connection, owner: str, settled: Settled, now: float) -> bool:
    """Applies an attempt's end. False if the lease was lost meanwhile: then it is recorded as late, and that is all."""
    claimed = settled.claimed
    hold(conn, (settled.lane,))
    end = _end(owner, settled, now)
    applied = (AGAIN if settled.outcome == "again" else SETTLE).run(conn, end).rowcount == 1
    ENDED.run(conn, end | {"late": not applied})
    if applied:
        promote(conn, claimed.endpoint, claimed.lane, now)
    return applied


def give_back(conn: Connection, owner: str, unbegun: Sequence[Claimed], due: float) -> int:
    """Ends leases whose request was never begun, as if they had not been taken; claimable from `due` on. How many."""
    given = [one for one in unbegun if UNCOUNT.run(conn, _of(one, owner) | {"due": due}).rowcount]
    NEVER_BEGUN.run_many(conn, [_of(one, owner) for one in given])
    return len(given)


def let_go(conn: Connection, owner: str, begun: Sequence[Claimed], due: float) -> int:
    """Ends leases whose request was cut off: it may have arrived, so the attempt is ``unknown``, and counts."""
    gone = [one for one in begun if LET_GO.run(conn, _of(one, owner) | {"due": due}).rowcount]
    UNKNOWN.run_many(conn, [_of(one, owner) for one in gone])
    return len(gone)


def _due(conn: Connection, slots: Mapping[str, int], now: float) -> Sequence[Row[Any]]:
    if conn.dialect.name == "postgresql":
        return DUE_OF_ALL.rows(conn, {"endpoints": list(slots), "slots": list(slots.values()), "now": now})
    each = [{"endpoint": endpoint, "slots": free, "now": now} for endpoint, free in slots.items()]
    return [row for values in each for row in DUE.rows(conn, values)]


def _lease(row: Row[Any], owner: str, now: float, until: float) -> dict[str, object]:
    who = {"id": row.id, "endpoint": row.endpoint, "owner": owner, "number": row.attempts + 1}
    return who | {"now": now, "until": until, "nothing": b"", "late": False}


def _claimed(row: Row[Any]) -> Claimed:
    return Claimed(
        id=row.id,
        delivery_id=row.delivery_id,
        event_id=row.event_id,
        endpoint=row.endpoint,
        kind=row.kind,
        lane=row.lane,
        number=row.attempts + 1,
        tries=row.tries + 1,
        content_type=row.content_type,
        headers=pairs(row.headers),
        body=row.body,
        created_at=row.created_at,
    )


def _of(claimed: Claimed, owner: str) -> dict[str, object]:
    return {"id": claimed.id, "number": claimed.number, "owner": owner}


def _end(owner: str, settled: Settled, now: float) -> dict[str, object]:
    return _of(settled.claimed, owner) | {
        "now": now,
        "finished_at": settled.finished_at,
        "outcome": settled.outcome,
        "due": settled.due,
        "sentence": plain(settled.sentence) or None,
        "status": settled.status,
        "answer_headers": packed(settled.answer_headers),
        "answer_body": settled.answer_body,
        "times": packed(settled.times),
        "diagnosis": packed(settled.diagnosis),
    }
