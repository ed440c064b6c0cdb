"""Settling: how an attempt ended is written down, and decides about its delivery if the lease still holds.

Several at once are cheaper: one statement for each of the three things that settling does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Connection

from gateway.store.leases import ClaimedDelivery
from gateway.store.ordering import hold, promote
from gateway.store.statement import Statement, pairs_to_json, storable, texts_to_json, to_json

AttemptOutcome = Literal["succeeded", "again", "dead"]

# Whose lease it is. The owner alone does not tell: one may have lost it and have got it again.
_MINE = "WHERE id = :id AND owner = :owner AND attempts = :number"
SETTLE = Statement(
    f"""
    UPDATE deliveries SET state = :outcome, queue_position = NULL, due = NULL, owner = NULL,
                          last_error = :sentence, settled_at = :now {_MINE}
    """  # noqa: S608
)
AGAIN = Statement(
    f"""
    UPDATE deliveries SET due = :due, owner = NULL, last_error = :sentence,
                          queue_position = CASE WHEN attempts_since_replay >= 2 THEN 'released'
                                                 ELSE queue_position END {_MINE}
    """  # noqa: S608
)
# On PostgreSQL all in one journey.
SETTLE_ALL = Statement(
    """
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
    """
)
ENDED = Statement(
    """
    INSERT INTO attempts (delivery_id, number, endpoint, owner, started_at, finished_at, outcome, sentence, status,
                          answer_headers, answer_body, times, diagnosis, late)
    VALUES (:id, :number, :endpoint, :owner, :started_at, :finished_at, :outcome, :sentence, :status,
            :answer_headers, :answer_body, :times, :diagnosis, :late)
    """
)
# Whoever took the lease has written that attempt down, as unknown. One that is known stays as it is: it may be our
# own, of a commit whose answer was lost.
LATE = Statement(
    """
    UPDATE attempts SET finished_at = :finished_at, outcome = :outcome, sentence = :sentence,
                        status = :status, late = :late,
                        answer_headers = :answer_headers, answer_body = :answer_body,
                        times = :times, diagnosis = :diagnosis
     WHERE delivery_id = :id AND number = :number AND owner = :owner AND outcome = 'unknown'
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledDelivery:
    """How an attempt ended."""

    claimed: ClaimedDelivery
    outcome: AttemptOutcome
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
    reply: str = ""
    """The text that the endpoint's answer is, where that is texted back."""

    def __post_init__(self) -> None:
        if (self.outcome == "again") != (self.due is not None):
            raise ValueError("a delivery is due again if it is to be tried again, and only then")

    @property
    def ordering_key(self) -> str:
        return self.claimed.ordering_key


def settle(conn: Connection, owner: str, settled: SettledDelivery, now: float) -> bool:
    """Applies an attempt's end. False if the lease was lost meanwhile: then it is recorded as late, and that is all."""
    return settle_all(conn, owner, (settled,), now)[0]


def settle_all(conn: Connection, owner: str, settled: Sequence[SettledDelivery], now: float) -> list[bool]:
    """The same for several; one answer for each."""
    hold(conn, [one.ordering_key for one in settled])
    ends = [_end(owner, one, now) for one in settled]
    applied = _apply_at_once(conn, ends) if conn.dialect.name == "postgresql" else _apply(conn, ends)
    for end, ours in zip(ends, applied, strict=True):
        end["late"] = not ours
    ENDED.run_many(conn, [end for end in ends if not end["late"]])
    LATE.run_many(conn, [end for end in ends if end["late"]])
    promote(conn, [one.claimed for one, ours in zip(settled, applied, strict=True) if ours], now)
    return applied


def _apply(conn: Connection, ends: Sequence[Mapping[str, object]]) -> list[bool]:
    return [(AGAIN if end["outcome"] == "again" else SETTLE).run(conn, end).rowcount == 1 for end in ends]


def _apply_at_once(conn: Connection, ends: Sequence[Mapping[str, object]]) -> list[bool]:
    """Each attempt once: had the same one ended twice, the second end would be the late one."""
    if not ends:
        return []
    columns = {f"{name}s": [end[name] for end in ends] for name in ("id", "number", "outcome", "due", "sentence")}
    who = {"owner": ends[0]["owner"], "now": ends[0]["now"]}
    applied = {tuple(row) for row in SETTLE_ALL.run(conn, columns | who).fetchall()}
    return [(end["id"], end["number"]) in applied for end in ends]


def _end(owner: str, settled: SettledDelivery, now: float) -> dict[str, object]:
    claimed = settled.claimed
    return {
        "id": claimed.id,
        "number": claimed.number,
        "owner": owner,
        "now": now,
        "endpoint": claimed.endpoint,
        "started_at": claimed.started_at,
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
