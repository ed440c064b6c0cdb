"""Replays: settled deliveries are put back into the outbox, each to its place in its ordering key, paced.

A reader finds them first, the writer puts them back in small transactions after: a hundred thousand dead letters must
not hold up the callbacks that come in meanwhile.

A text is not sent a second time because somebody replays what there is: of deliveries to CarrierX only those are put
back that were refused, and so were never sent, and only where they are asked for: their senders were told `failed`.
What became of the rest a person decides for each (`gateway.sending`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from sqlalchemy import ColumnElement, Connection, and_, exists, literal_column, or_, select

from gateway.store import schema
from gateway.store.ordering import hold
from gateway.store.sends import ENDPOINT
from gateway.store.statement import Statement, storable

if TYPE_CHECKING:
    from gateway.store import Store

PAGE = 200
REPLAYS_PER_SECOND = 0.02
"""Seconds from one to the next, usually: 50 a second leave room for today's texts."""
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
# What was never given a body (its format cannot say it) has none to send.
PUT_BACK = Statement(
    f"""
    UPDATE deliveries SET state = 'pending', attempts_since_replay = 0, settled_at = NULL,
           queue_position = CASE WHEN {_HEAD} THEN 'behind' ELSE 'head' END,
           due = CASE WHEN {_HEAD} THEN NULL ELSE CAST(:due AS double precision) END
     WHERE id = :id AND state = :state AND content_type <> ''
    """  # noqa: S608
)
# A text that was refused is owed from the start again.
UNREFUSE = Statement(
    """
    UPDATE ledger SET state = 'owed', status = '', reason = '', uncertain_until = NULL, changed_at = :now
     WHERE send_id = :send_id AND state = 'refused' AND message_sid = ''
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFilter:
    """Which deliveries; what is None does not matter."""

    state: Literal["dead", "succeeded"] = "dead"
    endpoint: str | None = None
    since: float | None = None
    """Settled at this time or later."""
    until: float | None = None
    """Settled before this time."""
    event_id: int | None = None
    delivery_ids: Sequence[str] | None = None
    """As a person ticks them off: some hundreds at most."""


@dataclass(frozen=True, slots=True)
class ReplayCandidate:
    id: int
    ordering_key: str
    delivery_id: str = ""
    endpoint: str = ""

    @property
    def is_refused_text(self) -> bool:
        """As `find` finds them: no other one that goes to CarrierX."""
        return self.endpoint == ENDPOINT


def replay_all(store: Store, which: ReplayFilter, now: float, pace: float) -> int:
    """Puts all of these back, in the order they were owed; how many. `pace`: seconds from one to the next."""
    with store.reader() as conn:
        ids = find(conn, which)
    done = 0
    for start in range(0, len(ids), PAGE):
        with store.reader() as conn:
            found = ordering_keys_of(conn, ids[start : start + PAGE])
        work = partial(replay, found=found, state=which.state, now=now + done * pace, pace=pace)
        done += store.writer.write(work, ordering_keys=[one.ordering_key for one in found])
    return done


def replay(conn: Connection, found: Sequence[ReplayCandidate], *, state: str, now: float, pace: float) -> int:
    """Work for the writer, handed in with the ordering keys: puts these back; how many.

    One that is no longer `state` was put back by somebody else, or swept away, and is left alone.
    """
    hold(conn, [one.ordering_key for one in found])
    count = 0
    for one in sorted(found, key=lambda one: one.id):
        if one.is_refused_text and not UNREFUSE.run(conn, {"send_id": one.delivery_id, "now": now}).rowcount:
            continue  # it was found to be sent meanwhile
        count += PUT_BACK.run(conn, {"id": one.id, "state": state, "due": now + count * pace}).rowcount
    return count


def put_back(conn: Connection, id_: int, ordering_key: str, now: float) -> bool:
    """Work for the writer: one dead delivery, whatever it is. For who has decided about a text that may be sent."""
    hold(conn, (ordering_key,))
    return PUT_BACK.run(conn, {"id": id_, "state": "dead", "due": now}).rowcount == 1


def find(conn: Connection, which: ReplayFilter) -> list[int]:
    """Their row ids, the first owed first."""
    return list(conn.scalars(select(_COLUMN.id).where(*_conditions(which)).order_by(_COLUMN.id)))


def ordering_keys_of(conn: Connection, ids: Sequence[int]) -> list[ReplayCandidate]:
    query = select(_COLUMN.id, _COLUMN.ordering_key, _COLUMN.delivery_id, _COLUMN.endpoint)
    return [ReplayCandidate(*row) for row in conn.execute(query.where(_COLUMN.id.in_(ids)))]


def _conditions(which: ReplayFilter) -> Iterator[ColumnElement[bool]]:
    yield _COLUMN.state == which.state
    yield _COLUMN.settled_at.is_not(None)  # says to the planner that the index on settled ones will do
    yield _COLUMN.content_type != ""
    are_meant = which.endpoint == ENDPOINT or which.event_id is not None or which.delivery_ids is not None
    yield or_(_COLUMN.endpoint != ENDPOINT, _REFUSED_TEXT) if are_meant else _COLUMN.endpoint != ENDPOINT
    if which.endpoint is not None:
        yield _COLUMN.endpoint == storable(which.endpoint)
    if which.since is not None:
        yield _COLUMN.settled_at >= which.since
    if which.until is not None:
        yield _COLUMN.settled_at < which.until
    if which.event_id is not None:
        yield _COLUMN.event_id == which.event_id
    if which.delivery_ids is not None:
        yield _COLUMN.delivery_id.in_([storable(one) for one in which.delivery_ids])
