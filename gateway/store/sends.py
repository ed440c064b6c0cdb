"""What we send, as people look for it and decide about it; `gateway.store.ledger` has the rest of its life."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, and_, literal_column, or_, select

from gateway.store.schema import ledger
from gateway.store.search import MAX_OFFSET, MAX_RESULTS
from gateway.store.statement import Statement, index_key, storable

ENDPOINT = "@carrierx"
"""What the outbox calls CarrierX, where texts are sent to."""
_EMPTY: ColumnElement[str] = literal_column("''")
_SENT: ColumnElement[str] = literal_column("'sent'")

# By the small index on what is not sent: there is never much of it.
OPEN = Statement(
    """
    SELECT state, count(*) FROM ledger
     WHERE state <> 'sent' AND state IN ('owed', 'sending', 'undecided') GROUP BY state
    """
)
WAITING = Statement("SELECT count(*) FROM events WHERE state = 'waiting' AND state <> 'accepted'")
# Each of these is one decision: whoever comes second finds it made. The row stays locked until the commit.
_UNDECIDED = "WHERE send_id = :send_id AND state = 'undecided' AND message_sid = ''"
TAKE = Statement(f"UPDATE ledger SET changed_at = :now {_UNDECIDED}")  # noqa: S608
OWE = Statement(
    f"UPDATE ledger SET state = 'owed', uncertain_until = NULL, reason = '', changed_at = :now {_UNDECIDED}"  # noqa: S608
)
SENT = Statement(
    f"UPDATE ledger SET state = 'sent', uncertain_until = NULL, reason = :reason, changed_at = :now {_UNDECIDED}"  # noqa: S608
)
FETCH = Statement("UPDATE ledger SET fetch_at = :now WHERE send_id = :send_id AND fetch_at IS NOT NULL")
ARRIVED = Statement(
    "UPDATE deliveries SET state = 'succeeded', last_error = NULL WHERE delivery_id = :send_id AND state = 'dead'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendSearch:
    """What is empty or None does not matter; the rest must all be so. Numbers as they are stored: digits, no ``+``."""

    ticket: str = ""
    """A UUID, or the number that stands for it."""
    custom_ticket: str = ""
    phone: str = ""
    number: str = ""
    message_sid: str = ""
    state: str = ""
    status: str = ""
    since: float | None = None
    """Asked for at this time or later."""
    until: float | None = None
    """Asked for before this time."""


@dataclass(frozen=True, slots=True)
class SendPage:
    send_ids: tuple[str, ...]
    more: bool
    """There are older ones."""


@dataclass(frozen=True, slots=True)
class OpenSends:
    """How many there are of what has not come to its end."""

    open: Mapping[str, int] = field(default_factory=dict)
    """``owed``, ``sending``, ``undecided`` → messages."""
    waiting: int = 0
    """Status updates whose message is not known yet."""


def search_sends(conn: Connection, what: SendSearch, *, limit: int = 50, offset: int = 0) -> SendPage:
    """The newest of these."""
    query = select(ledger.c.send_id).where(*_conditions(what))
    query = query.order_by(ledger.c.created_at.desc(), ledger.c.id.desc())
    limit = min(max(limit, 1), MAX_RESULTS)
    found = conn.scalars(query.limit(limit + 1).offset(min(max(offset, 0), MAX_OFFSET))).all()
    return SendPage(tuple(found[:limit]), len(found) > limit)


def _conditions(what: SendSearch) -> list[ColumnElement[bool]]:
    column = ledger.c
    asked = [
        (what.ticket, _ticket(what.ticket)),
        (what.custom_ticket, _given(column.custom_ticket, what.custom_ticket)),
        (what.phone, column.phone == index_key(what.phone)),
        (what.number, or_(column.number == index_key(what.number), column.code == index_key(what.number))),
        (what.message_sid, _given(column.message_sid, what.message_sid)),
        (what.state, column.state == storable(what.state)),
        (what.state not in ("", "sent"), column.state != _SENT),
        (what.status, column.status == index_key(what.status)),
        (what.since is not None, column.created_at >= (what.since or 0.0)),
        (what.until is not None, column.created_at < (what.until or 0.0)),
    ]
    return [condition for wanted, condition in asked if wanted]


def _ticket(text: str) -> ColumnElement[bool]:
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return ledger.c.ticket_number == int(text)
    return ledger.c.ticket == index_key(text.lower())


def _given(column: ColumnElement[str], value: str) -> ColumnElement[bool]:
    """Said so that the planner sees that the index on non-empty ones will do."""
    return and_(column == index_key(value), column != _EMPTY)


def open_sends(conn: Connection) -> OpenSends:
    open_ = {row[0]: int(row[1]) for row in OPEN.run(conn).fetchall()}
    return OpenSends(open_, int(WAITING.run(conn).fetchone()[0]))


def take_for_decision(conn: Connection, send_id: str, now: float) -> bool:
    """Work for the writer. Whether it is undecided; until the commit nobody else decides about it."""
    return TAKE.run(conn, {"send_id": send_id, "now": now}).rowcount == 1


def owe_again(conn: Connection, send_id: str, now: float) -> bool:
    """Work for the writer. An undecided one is owed again. False: it is not undecided (any more)."""
    return OWE.run(conn, {"send_id": send_id, "now": now}).rowcount == 1


def was_sent(conn: Connection, send_id: str, reason: str, now: float) -> bool:
    """Work for the writer. An undecided one was sent after all, under whatever name. False: as above."""
    return SENT.run(conn, {"send_id": send_id, "reason": storable(reason), "now": now}).rowcount == 1


def settled(conn: Connection, send_id: str, now: float) -> None:
    """Work for the writer. One that was sent is none of the dead; what became of it is asked next."""
    ARRIVED.run(conn, {"send_id": send_id})
    FETCH.run(conn, {"send_id": send_id, "now": now})
