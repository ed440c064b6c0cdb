"""Leases: a claimed delivery is its worker's until a time. A worker that loses it (it hung, it died, its clock was set)
may still record what became of the attempt, but no longer decides anything.

The attempt is on disk before its request is made: the delivery's own row has its number, its owner and its beginning.
Its row among the attempts comes when it ends; after a crash the next claim writes that row, with the outcome *unknown*.

Settling writes down how an attempt ended, and decides about its delivery if the lease still holds. Several attempts are
settled together: one statement for each of the three things that settling does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from gateway.store.outbox import hold, promote
from gateway.store.statement import Statement, pairs_from_json, pairs_to_json, storable, texts_to_json, to_json

AttemptOutcome = Literal["succeeded", "again", "dead"]

# Each endpoint is looked up twice: what was tried before, leases that ran out among it, then what never was.
_CLAIMED_COLUMNS = """
    id, delivery_id, event_id, endpoint, wire_format, ordering_key, attempts + 1 AS number,
    attempts_since_replay + 1 AS since_replay, content_type, headers, body, created_at, replies, owner
"""
_DUE = """
    SELECT {columns} FROM deliveries WHERE endpoint = :endpoint AND due <= :now AND due IS NOT NULL AND {condition}
     ORDER BY due LIMIT :most
"""
TRIED = Statement(_DUE.format(columns=_CLAIMED_COLUMNS, condition="attempts_since_replay > 0"))
FIRST = Statement(_DUE.format(columns=_CLAIMED_COLUMNS, condition="attempts_since_replay = 0"))
# On PostgreSQL all endpoints in one round trip, passing over what another machine is claiming just now.
_DUE_OF_ALL = """
    SELECT d.* FROM unnest(CAST(:endpoints AS text[]), CAST(:most AS integer[])) AS wanted (endpoint, most)
     CROSS JOIN LATERAL (SELECT {columns} FROM deliveries
                          WHERE endpoint = wanted.endpoint AND due <= :now AND due IS NOT NULL AND {condition}
                          ORDER BY due LIMIT wanted.most FOR UPDATE SKIP LOCKED) AS d
"""
TRIED_OF_ALL = Statement(_DUE_OF_ALL.format(columns=_CLAIMED_COLUMNS, condition="attempts_since_replay > 0"))
FIRST_OF_ALL = Statement(_DUE_OF_ALL.format(columns=_CLAIMED_COLUMNS, condition="attempts_since_replay = 0"))
_TAKE = "owner = :owner, attempts = attempts + 1, attempts_since_replay = attempts_since_replay + 1, started_at = :now"
TAKE = Statement(f"UPDATE deliveries SET due = :until, {_TAKE} WHERE id = :id")  # noqa: S608
TAKE_ALL = Statement(f"""
    UPDATE deliveries SET due = taken.until, {_TAKE}
      FROM unnest(CAST(:ids AS bigint[]), CAST(:untils AS double precision[])) AS taken (id, until)
     WHERE deliveries.id = taken.id
""")  # noqa: S608
LOST = Statement("""
    INSERT INTO attempts (delivery_id, number, endpoint, owner, started_at, outcome,
                          answer_headers, answer_body, times, diagnosis, late)
    SELECT id, attempts, endpoint, owner, started_at, 'unknown', '[]', :nothing, '{}', '[]', :late
      FROM deliveries WHERE id = :id
""")
# The lease of this very attempt. The owner alone does not tell: it may have lost the lease and have got it again.
_MINE = "WHERE id = :id AND owner = :owner AND attempts = :number"
IS_MINE = Statement(f"SELECT 1 FROM deliveries {_MINE}")  # noqa: S608
EXTEND = Statement(f"UPDATE deliveries SET due = :until {_MINE}")  # noqa: S608
RELEASE = Statement(f"UPDATE deliveries SET due = :due, owner = NULL {_MINE}")  # noqa: S608
UNCOUNT = Statement(f"""
    UPDATE deliveries SET due = :due, owner = NULL, attempts = attempts - 1,
           attempts_since_replay = attempts_since_replay - 1 {_MINE}
""")  # noqa: S608
ALL_MINE = Statement("""
    SELECT id, attempts FROM deliveries
     WHERE due IS NOT NULL AND attempts_since_replay > 0 AND endpoint = :endpoint AND due > :now AND owner = :owner
""")
SETTLE = Statement(f"""
    UPDATE deliveries SET state = :outcome, queue_position = NULL, due = NULL, owner = NULL,
                          last_error = :sentence, settled_at = :now {_MINE}
""")  # noqa: S608
AGAIN = Statement(f"""
    UPDATE deliveries SET due = :due, owner = NULL, last_error = :sentence,
                          queue_position = CASE WHEN attempts_since_replay >= 2 THEN 'released'
                                                 ELSE queue_position END {_MINE}
""")  # noqa: S608
# On PostgreSQL all in one round trip.
SETTLE_ALL = Statement("""
    UPDATE deliveries d
       SET due = ended.due, owner = NULL, last_error = ended.sentence,
           state = CASE WHEN ended.outcome = 'again' THEN d.state ELSE ended.outcome END,
           queue_position = CASE WHEN ended.outcome <> 'again' THEN NULL
                           WHEN d.attempts_since_replay >= 2 THEN 'released' ELSE d.queue_position END,
           settled_at = CASE WHEN ended.outcome = 'again' THEN d.settled_at ELSE CAST(:now AS double precision) END
      FROM unnest(CAST(:ids AS bigint[]), CAST(:numbers AS integer[]), CAST(:outcomes AS text[]),
                  CAST(:dues AS double precision[]), CAST(:sentences AS text[]))
           AS ended (id, number, outcome, due, sentence)
     WHERE d.id = ended.id AND d.owner = :owner AND d.attempts = ended.number
    RETURNING d.id, d.attempts
""")
ENDED = Statement("""
    INSERT INTO attempts (delivery_id, number, endpoint, owner, started_at, finished_at, outcome, sentence, status,
                          answer_headers, answer_body, times, diagnosis, late)
    VALUES (:id, :number, :endpoint, :owner, :started_at, :finished_at, :outcome, :sentence, :status,
            :answer_headers, :answer_body, :times, :diagnosis, :late)
""")
# The worker that took the lease has recorded that attempt as unknown. An attempt with another outcome stays as it is:
# it may be our own, written by a commit whose answer was lost.
LATE = Statement("""
    UPDATE attempts SET finished_at = :finished_at, outcome = :outcome, sentence = :sentence,
                        status = :status, late = :late,
                        answer_headers = :answer_headers, answer_body = :answer_body,
                        times = :times, diagnosis = :diagnosis
     WHERE delivery_id = :id AND number = :number AND owner = :owner AND outcome = 'unknown'
""")


class ClaimLimit(NamedTuple):
    """How many more deliveries an endpoint may have in flight."""

    all: int
    first: int = 0  # places among them that are kept for first attempts, and stay free where there are none


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery that is ours to attempt until its lease ends. Its body and headers are those of when it was owed.
    Its fields stand in the order of `_CLAIMED_COLUMNS`."""

    id: int
    delivery_id: str
    event_id: int
    endpoint: str
    wire_format: str
    ordering_key: str
    number: int  # the number of this attempt, from 1, counted over all replays
    attempts_since_replay: int  # attempts since the delivery was owed or last replayed, this one included
    content_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    created_at: float
    started_at: float = 0.0  # when the lease was taken: the beginning of the attempt, as people see it
    replies: bool = False

    @property
    def attempt_id(self) -> tuple[int, int]:
        return self.id, self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledDelivery:
    """How an attempt ended."""

    claimed: ClaimedDelivery
    outcome: AttemptOutcome
    finished_at: float
    due: float | None = None  # when to try again, epoch seconds; with ``again``, and only then
    sentence: str = ""  # why it did not succeed
    status: int | None = None
    answer_headers: Sequence[tuple[str, str]] = ()
    answer_body: bytes = field(default=b"", repr=False)
    times: Mapping[str, float] = field(default_factory=dict)  # milliseconds: name, connect, tls, first_byte, total
    diagnosis: Sequence[str] = ()
    reply: str = ""  # the endpoint's answer as a text, where that is texted back

    def __post_init__(self) -> None:
        if (self.outcome == "again") != (self.due is not None):
            raise ValueError("a delivery is due again if it is to be tried again, and only then")


def claim(
    conn: Connection, owner: str, limits: Mapping[str, ClaimLimit], now: float, lease_seconds: Mapping[str, float]
) -> list[ClaimedDelivery]:
    """Takes what is due, the longest due first, at each endpoint up to its limit, for `lease_seconds`.
    Where an earlier lease ran out, that attempt is recorded as ``unknown``: it may or may not have arrived."""
    is_postgresql = conn.dialect.name == "postgresql"
    limits = {endpoint: limit for endpoint, limit in limits.items() if limit.all > 0}
    rows = _due_of_all(conn, limits, now) if is_postgresql else _due(conn, limits, now)
    LOST.run_many(conn, [{"id": row[0], "nothing": b"", "late": False} for row in rows if row[13] is not None])
    untils = [now + lease_seconds[row[3]] for row in rows]
    if is_postgresql:
        TAKE_ALL.run(conn, {"owner": owner, "now": now, "ids": [row[0] for row in rows], "untils": untils})
    else:
        taken = zip(rows, untils, strict=True)
        TAKE.run_many(conn, [{"owner": owner, "now": now, "id": row[0], "until": until} for row, until in taken])
    fields = ((*row[:9], pairs_from_json(row[9]), *row[10:12], now, bool(row[12])) for row in rows)
    return [ClaimedDelivery(*each) for each in fields]


def _due(conn: Connection, limits: Mapping[str, ClaimLimit], now: float) -> list[Any]:
    rows: list[Any] = []
    for endpoint, limit in limits.items():
        values, most = {"endpoint": endpoint, "now": now}, limit.all - limit.first
        tried = TRIED.run(conn, values | {"most": most}).fetchall() if most > 0 else []
        rows += tried + FIRST.run(conn, values | {"most": limit.all - len(tried)}).fetchall()
    return rows


def _due_of_all(conn: Connection, limits: Mapping[str, ClaimLimit], now: float) -> list[Any]:
    left = {endpoint: limit.all for endpoint, limit in limits.items()}
    most = [max(limit.all - limit.first, 0) for limit in limits.values()]
    tried = TRIED_OF_ALL.run(conn, {"endpoints": list(limits), "most": most, "now": now}).fetchall()
    for row in tried:
        left[row[3]] -= 1
    values = {"endpoints": list(limits), "most": list(left.values()), "now": now}
    return tried + FIRST_OF_ALL.run(conn, values).fetchall()


def extend(conn: Connection, owner: str, claimed: ClaimedDelivery, until: float) -> bool:
    """Makes a lease last until then. False: it is not ours any more."""
    return EXTEND.run(conn, _lease(claimed, owner) | {"until": until}).rowcount == 1


def release_unattempted(conn: Connection, owner: str, claimed: Sequence[ClaimedDelivery], due: float) -> int:
    """Ends leases whose request was never begun, as if they had not been taken; claimable from `due` on. Returns how
    many were still ours."""
    return sum(UNCOUNT.run(conn, _lease(one, owner) | {"due": due}).rowcount for one in claimed)


def release_interrupted(conn: Connection, owner: str, claimed: Sequence[ClaimedDelivery], due: float) -> int:
    """Ends leases whose request was cut off: it may have arrived, so the attempt counts, and is ``unknown``."""
    released = 0
    for one in claimed:
        values = _lease(one, owner) | {"due": due, "nothing": b"", "late": False}
        if IS_MINE.run(conn, values).fetchone() is not None:
            LOST.run(conn, values)
            RELEASE.run(conn, values)
            released += 1
    return released


def reclaim_uncertain(
    conn: Connection, owner: str, endpoints: Iterable[str], known: Collection[int], now: float
) -> int:
    """Gives back leases that the owner has without knowing it; returns how many. The connection was lost during
    a claim's commit, which succeeded all the same, and its answer was lost. Nothing was sent, so these leases need not
    run out.

    They are all leases of the owner at these endpoints, but those on deliveries that are `known` (ids).
    """
    reclaimed = 0
    for endpoint in endpoints:
        rows = ALL_MINE.run(conn, {"endpoint": endpoint, "owner": owner, "now": now}).fetchall()
        lost = [{"id": row[0], "number": row[1], "owner": owner, "due": now} for row in rows if row[0] not in known]
        UNCOUNT.run_many(conn, lost)
        reclaimed += len(lost)
    return reclaimed


def settle_all(conn: Connection, owner: str, settled: Sequence[SettledDelivery], now: float) -> list[bool]:
    """Applies how attempts ended, each of them once: a second end of the same attempt would be late. True: applied.
    False: the lease was lost meanwhile, so the end is recorded as late, and that is all."""
    hold(conn, [one.claimed.ordering_key for one in settled])
    ends = [_end(owner, one, now) for one in settled]
    if conn.dialect.name == "postgresql" and ends:
        columns = {f"{name}s": [end[name] for end in ends] for name in ("id", "number", "outcome", "due", "sentence")}
        rows = {tuple(row) for row in SETTLE_ALL.run(conn, columns | {"owner": owner, "now": now}).fetchall()}
        applied = [(end["id"], end["number"]) in rows for end in ends]
    else:
        applied = [(AGAIN if end["outcome"] == "again" else SETTLE).run(conn, end).rowcount == 1 for end in ends]
    for end, is_applied in zip(ends, applied, strict=True):
        end["late"] = not is_applied
    ENDED.run_many(conn, [end for end in ends if not end["late"]])
    LATE.run_many(conn, [end for end in ends if end["late"]])
    freed = [one.claimed for one, is_applied in zip(settled, applied, strict=True) if is_applied]
    promote(conn, [(claimed.endpoint, claimed.ordering_key) for claimed in freed], now)
    return applied


def _lease(claimed: ClaimedDelivery, owner: str) -> dict[str, object]:
    return {"id": claimed.id, "number": claimed.number, "owner": owner}


def _end(owner: str, settled: SettledDelivery, now: float) -> dict[str, object]:
    return _lease(settled.claimed, owner) | {
        "now": now,
        "endpoint": settled.claimed.endpoint,
        "started_at": settled.claimed.started_at,
        "finished_at": settled.finished_at,
        "outcome": settled.outcome,
        "due": settled.due,
        "sentence": storable(settled.sentence) or None,
        "status": settled.status,
        "answer_headers": pairs_to_json(settled.answer_headers),
        "answer_body": settled.answer_body,
        "times": to_json(settled.times),
        "diagnosis": texts_to_json(settled.diagnosis),
    }
