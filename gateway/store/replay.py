"""Replays: settled deliveries are put back into the outbox, each to its place in its ordering key, paced.

A reader finds them first, then the writer puts them back in small transactions: a hundred thousand dead letters must
not hold up the callbacks that come in meanwhile.

A text must not be sent a second time by a replay of whatever there is: of deliveries to CarrierX only refused ones are
put back, which were never sent, and only where they are asked for: their senders were told `failed`. About the others a
person decides one by one (`gateway.sender.settle`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, exists, func, literal_column, or_, select

from gateway.store import schema
from gateway.store.ledger import ENDPOINT, owe_refused
from gateway.store.outbox import hold
from gateway.store.statement import Statement, storable

if TYPE_CHECKING:
    from gateway.store import Store

MAX_PER_TRANSACTION = 200
REPLAY_INTERVAL_SECONDS = 0.02  # from one delivery to the next, usually: 50 a second leave room for today's texts
_COLUMN = schema.deliveries.c
_REFUSED_TEXT = and_(
    _COLUMN.state == literal_column("'dead'"),
    exists().where(
        schema.ledger.c.send_id == _COLUMN.delivery_id,
        schema.ledger.c.state == literal_column("'refused'"),
        schema.ledger.c.message_sid == literal_column("''"),
    ),
)

_HEAD = (
    "EXISTS (SELECT 1 FROM deliveries h WHERE h.queue_position = 'head' AND h.ordering_key = deliveries.ordering_key)"
)
# A delivery that has no body (its format cannot say it, or its time is over) has none to send.
PUT_BACK = Statement(f"""
    UPDATE deliveries SET state = 'pending', attempts_since_replay = 0, settled_at = NULL,
           queue_position = CASE WHEN {_HEAD} THEN 'behind' ELSE 'head' END,
           due = CASE WHEN {_HEAD} THEN NULL ELSE CAST(:due AS double precision) END
     WHERE id = :id AND state = :state AND content_type <> ''
""")  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFilter:
    """The settled deliveries to replay; a condition that is None is not asked for."""

    state: Literal["dead", "succeeded"] = "dead"
    endpoint: str | None = None
    since: float | None = None  # settled at this time or later
    delivery_ids: Sequence[str] | None = None  # as a person selects them: some hundreds at most


class ReplayCandidate(NamedTuple):
    id: int
    ordering_key: str
    delivery_id: str
    endpoint: str


def replay_all(
    store: Store, replayed: ReplayFilter, now: float, interval_seconds: float = REPLAY_INTERVAL_SECONDS
) -> int:
    """Puts these back in the order in which they were owed, due one interval after the other. Returns how many."""
    with store.reader() as conn:
        ids = find(conn, replayed)
    done = 0
    for start in range(0, len(ids), MAX_PER_TRANSACTION):
        with store.reader() as conn:
            candidates = load_candidates(conn, ids[start : start + MAX_PER_TRANSACTION])
        work = partial(replay, candidates=candidates, state=replayed.state, interval_seconds=interval_seconds)
        keys = [candidate.ordering_key for candidate in candidates]
        done += store.writer.write(partial(work, now=now + done * interval_seconds), ordering_keys=keys)
    return done


def find(conn: Connection, replayed: ReplayFilter) -> list[int]:
    """Returns their row ids, the first owed first."""
    query = select(_COLUMN.id).where(*_conditions(replayed, _COLUMN.content_type != ""))
    return list(conn.scalars(query.order_by(_COLUMN.id)))


def count_blanked(conn: Connection, replayed: ReplayFilter) -> int:
    """Counts those whose body is not kept any more: they had one, for there was an attempt."""
    query = select(func.count()).where(*_conditions(replayed, _COLUMN.content_type == ""), _COLUMN.attempts > 0)
    return conn.scalar(query) or 0


def load_candidates(conn: Connection, ids: Sequence[int]) -> list[ReplayCandidate]:
    query = select(_COLUMN.id, _COLUMN.ordering_key, _COLUMN.delivery_id, _COLUMN.endpoint)
    return [ReplayCandidate(*row) for row in conn.execute(query.where(_COLUMN.id.in_(ids)))]


def replay(
    conn: Connection, candidates: Sequence[ReplayCandidate], *, state: str, now: float, interval_seconds: float
) -> int:
    """An operation for the writer, handed in with the ordering keys: puts these back; returns how many.
    A delivery that is no longer `state` was put back by another, or deleted, and is left alone."""
    hold(conn, [candidate.ordering_key for candidate in candidates])
    count = 0
    for candidate in sorted(candidates):
        # `find` finds no texts but refused ones.
        if candidate.endpoint == ENDPOINT and not owe_refused(conn, candidate.delivery_id, now):
            continue  # it was found to be sent meanwhile
        values = {"id": candidate.id, "state": state, "due": now + count * interval_seconds}
        count += PUT_BACK.run(conn, values).rowcount
    return count


def put_back(conn: Connection, id_: int, ordering_key: str, now: float) -> bool:
    """An operation for the writer: puts back one dead delivery, even of a text, as a person has decided."""
    hold(conn, (ordering_key,))
    return PUT_BACK.run(conn, {"id": id_, "state": "dead", "due": now}).rowcount == 1


def _conditions(replayed: ReplayFilter, has_body: ColumnElement[bool]) -> Iterator[ColumnElement[bool]]:
    yield _COLUMN.state == replayed.state
    yield _COLUMN.settled_at.is_not(None)  # so the planner sees that the partial index on settled ones will do
    yield has_body
    asks_for_texts = replayed.endpoint == ENDPOINT or replayed.delivery_ids is not None
    yield or_(_COLUMN.endpoint != ENDPOINT, _REFUSED_TEXT) if asks_for_texts else _COLUMN.endpoint != ENDPOINT
    if replayed.endpoint is not None:
        yield _COLUMN.endpoint == storable(replayed.endpoint)
    if replayed.since is not None:
        yield _COLUMN.settled_at >= replayed.since
    if replayed.delivery_ids is not None:
        yield _COLUMN.delivery_id.in_([storable(delivery_id) for delivery_id in replayed.delivery_ids])
