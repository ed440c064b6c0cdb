"""The ledger: every message that the gateway sends, one row for each recipient: ticket ⇄ message_sid ⇄ status.

    owed ──mark_submitting──▶ sending ──▶ sent ──▶ … delivered, failed (CarrierX's words, in `status`)
     ▲                           │  ├───▶ refused         it will never be sent
     └─ put_back_for_submission ─┘  └───▶ undecided       it may have been sent, and nobody can tell: for a person

`sending` is on disk before the request leaves. A sender that finds it, and does not have the request in hand, knows
that the answer was lost, and looks before it sends again. Functions that do not say that they read write, and run in
the store's writer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from sqlalchemy import Connection, literal_column, or_, select

from gateway.store import schema
from gateway.store.search import Search, fetch_page, has_key
from gateway.store.statement import Cursor, Statement, index_key, index_keys, storable
from schemas.status import is_final, supersedes

ENDPOINT = "@carrierx"
"""The outbox's name for CarrierX, which texts are owed to. No endpoint of a configuration can be called so."""
WIRE_FORMAT = "carrierx-send"  # the wire format of those deliveries: the Core API's own request
STATES = ("owed", "sending", "sent", "refused", "undecided")
MAX_POLLS = 8  # times that CarrierX is asked about one message, each after twice the time of the one before


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSend:
    """A message that is to be sent, or ``refused`` from the start. `schema.ledger` says what each field is."""

    send_id: str
    ticket: str
    ticket_number: int
    ticket_shown: str
    origin: str
    number: str
    code: str
    phone: str
    custom_ticket: str = ""
    status_url: str = ""
    state: str = "owed"
    status: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry(NewSend):
    """A message as the ledger has it."""

    id: int
    message_sid: str
    created_at: float
    changed_at: float
    uncertain_until: float | None
    fetch_at: float | None
    fetches: int

    @property
    def final(self) -> bool:
        return is_final(self.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendSearch(Search):
    """Conditions for messages that were sent. `ticket`: a UUID, or the number that stands for it."""

    custom_ticket: str = ""
    status: str = ""


@dataclass(frozen=True, slots=True)
class SendPage:
    send_ids: tuple[str, ...]
    more: bool  # there are older ones


@dataclass(frozen=True, slots=True)
class OpenSends:
    """How many messages have not come to their end."""

    open: Mapping[str, int] = field(default_factory=dict)  # ``owed``, ``sending``, ``undecided`` → messages
    waiting: int = 0  # status updates whose message is not known yet


_NAMES = [column.name for column in fields(LedgerEntry)]
_SELECT = f"SELECT {', '.join(_NAMES)} FROM ledger"  # noqa: S608
_NEW = [column.name for column in fields(NewSend)]
ADD = Statement(f"""
    INSERT INTO ledger ({", ".join(_NEW)}, message_sid, created_at, changed_at, fetches)
    VALUES ({", ".join(f":{name}" for name in _NEW)}, '', :now, :now, 0)
""")  # noqa: S608
BY_SEND_ID = Statement(f"{_SELECT} WHERE send_id = :send_id")
BY_SID = Statement(f"{_SELECT} WHERE message_sid = :sid AND message_sid <> ''")
BY_TICKET = Statement(f"{_SELECT} WHERE ticket = :ticket ORDER BY id")
BY_TICKET_NUMBER = Statement(f"{_SELECT} WHERE ticket_number = :ticket_number ORDER BY id")
BY_CUSTOM_TICKET = Statement(f"{_SELECT} WHERE custom_ticket = :custom_ticket AND custom_ticket <> '' ORDER BY id")
IN_FLIGHT = Statement("SELECT 1 FROM ledger WHERE state = 'sending' AND phone = :phone AND number = :number LIMIT 1")
WITHOUT_STATUS = Statement(f"{_SELECT} WHERE fetch_at IS NOT NULL AND fetch_at <= :now ORDER BY fetch_at LIMIT :most")
SUBMITTING = Statement(
    "UPDATE ledger SET state = 'sending', uncertain_until = :until, changed_at = :now WHERE send_id = :send_id"
)
UNCERTAIN = Statement("UPDATE ledger SET uncertain_until = :until, changed_at = :now WHERE send_id = :send_id")
PUT_BACK = Statement("""
    UPDATE ledger SET state = 'owed', uncertain_until = NULL, reason = :reason, changed_at = :now
     WHERE send_id = :send_id AND message_sid = ''
""")
SENT = Statement("""
    UPDATE ledger SET state = 'sent', message_sid = :sid, uncertain_until = NULL, reason = '', changed_at = :now,
                      fetch_at = :fetch_at
     WHERE send_id = :send_id AND message_sid = ''
""")
NOT_SENT = Statement("""
    UPDATE ledger SET state = :state, reason = :reason, status = :status, fetch_at = NULL, changed_at = :now
     WHERE send_id = :send_id AND message_sid = ''
""")
STATUS = Statement(
    "UPDATE ledger SET status = :status, fetch_at = :fetch_at, fetches = 0, changed_at = :now WHERE id = :id"
)
POLLED = Statement("UPDATE ledger SET fetch_at = :fetch_at, fetches = fetches + 1 WHERE id = :id")
# A refused text is owed from the start again, if there still is one.
OWE_REFUSED = Statement("""
    UPDATE ledger SET state = 'owed', status = '', reason = '', uncertain_until = NULL, changed_at = :now
     WHERE send_id = :send_id AND state = 'refused' AND message_sid = ''
       AND EXISTS (SELECT 1 FROM deliveries WHERE delivery_id = :send_id AND content_type <> '')
""")
# By the small index on what is not sent: there is never much of it.
OPEN = Statement("""
    SELECT state, count(*) FROM ledger
     WHERE state <> 'sent' AND state IN ('owed', 'sending', 'undecided') GROUP BY state
""")
WAITING_UPDATES = Statement("SELECT count(*) FROM events WHERE state = 'waiting' AND state <> 'accepted'")
# Each of these is one decision: whoever comes second finds it made. The row stays locked until the commit.
_UNDECIDED = "WHERE send_id = :send_id AND state = 'undecided' AND message_sid = ''"
TAKE_FOR_DECISION = Statement(f"UPDATE ledger SET changed_at = :now {_UNDECIDED}")  # noqa: S608
DECIDE = Statement(
    f"UPDATE ledger SET state = :state, uncertain_until = NULL, reason = :reason, changed_at = :now {_UNDECIDED}"  # noqa: S608
)
FETCH_NOW = Statement("UPDATE ledger SET fetch_at = :now WHERE send_id = :send_id AND fetch_at IS NOT NULL")
SUCCEED_DELIVERY = Statement(
    "UPDATE deliveries SET state = 'succeeded', last_error = NULL WHERE delivery_id = :send_id AND state = 'dead'"
)


def add_send(conn: Connection, new: NewSend, now: float) -> None:
    """Adds a message that is owed, or that was refused for one recipient of a call."""
    values = {name: getattr(new, name) for name in _NEW}
    keys = {name: index_key(values[name]) for name in ("custom_ticket", "number", "phone", "code", "status")}
    texts = {name: storable(values[name]) for name in ("status_url", "reason")}
    ADD.run(conn, values | keys | texts | {"now": now})


def of_send(conn: Connection, send_id: str) -> LedgerEntry | None:
    """Reads."""
    return next(iter(_entries(BY_SEND_ID.run(conn, {"send_id": send_id}))), None)


def of_sid(conn: Connection, message_sid: str) -> LedgerEntry | None:
    """Reads."""
    return next(iter(_entries(BY_SID.run(conn, {"sid": index_key(message_sid)}))), None)


def of_ticket(conn: Connection, ticket: str) -> list[LedgerEntry]:
    """Reads. By the UUID, in any case of letters, or by the number that stands for it."""
    ticket = ticket.strip()
    if _is_number(ticket):
        return of_event(conn, int(ticket))
    return _entries(BY_TICKET.run(conn, {"ticket": index_key(ticket.lower())}))


def of_event(conn: Connection, event_id: int) -> list[LedgerEntry]:
    """Reads. Returns all that one call, or one text that was answered, became."""
    return _entries(BY_TICKET_NUMBER.run(conn, {"ticket_number": event_id}))


def of_custom_ticket(conn: Connection, custom_ticket: str) -> list[LedgerEntry]:
    """Reads. Returns the messages of all calls that gave this one, the oldest first."""
    return _entries(BY_CUSTOM_TICKET.run(conn, {"custom_ticket": index_key(custom_ticket)}))


def is_in_flight(conn: Connection, number: str, phone: str) -> bool:
    """Reads. True: a message is on its way there whose message_sid is not known yet."""
    return IN_FLIGHT.run(conn, index_keys(number=number, phone=phone)).fetchone() is not None


def without_status(conn: Connection, now: float, most: int) -> list[LedgerEntry]:
    """Reads. Returns messages that no update came for in too long a time."""
    return _entries(WITHOUT_STATUS.run(conn, {"now": now, "most": most}))


def mark_submitting(conn: Connection, send_id: str, now: float, uncertain_until: float) -> None:
    """Records that a request is about to leave; it may reach CarrierX until `uncertain_until`."""
    SUBMITTING.run(conn, {"send_id": send_id, "now": now, "until": uncertain_until})


def mark_uncertain(conn: Connection, send_id: str, now: float, uncertain_until: float) -> None:
    """Records that the answer was lost."""
    UNCERTAIN.run(conn, {"send_id": send_id, "now": now, "until": uncertain_until})


def put_back_for_submission(conn: Connection, send_id: str, now: float, reason: str = "") -> None:
    """Records that it was certainly not sent: it may be tried again."""
    PUT_BACK.run(conn, {"send_id": send_id, "now": now, "reason": storable(reason)})


def mark_sent(conn: Connection, send_id: str, message_sid: str, now: float, fetch_at: float) -> bool:
    """Records that CarrierX has it under this message_sid. False: that was known already."""
    values = {"send_id": send_id, "sid": index_key(message_sid), "now": now, "fetch_at": fetch_at}
    return SENT.run(conn, values).rowcount == 1


def mark_refused(conn: Connection, send_id: str, reason: str, now: float) -> bool:
    """Records that it will not be sent. False: it was sent, as is known by now."""
    values = {"send_id": send_id, "reason": storable(reason), "now": now, "state": "refused", "status": "failed"}
    return NOT_SENT.run(conn, values).rowcount == 1


def mark_undecided(conn: Connection, send_id: str, reason: str, now: float) -> bool:
    """Records that nobody can tell whether it was sent: a person must. False: it was sent, as is known by now."""
    values = {"send_id": send_id, "reason": storable(reason), "now": now, "state": "undecided", "status": ""}
    return NOT_SENT.run(conn, values).rowcount == 1


def record_status(conn: Connection, entry: LedgerEntry, status: str, now: float, missing_after: float) -> None:
    """Records an update: its status becomes the entry's, if it is newer in the flow than the one known."""
    newest = status if not entry.status or supersedes(entry.status, status) else entry.status
    fetch_at = None if is_final(newest) else now + missing_after
    STATUS.run(conn, {"id": entry.id, "status": index_key(newest), "fetch_at": fetch_at, "now": now})


def record_poll(conn: Connection, entry: LedgerEntry, now: float, missing_after: float) -> None:
    """Records that CarrierX was asked about it; the next time is later, and after `MAX_POLLS` there is none."""
    fetch_at = now + missing_after * 2 ** (entry.fetches + 1) if entry.fetches + 1 < MAX_POLLS else None
    POLLED.run(conn, {"id": entry.id, "fetch_at": fetch_at})


def owe_refused(conn: Connection, send_id: str, now: float) -> bool:
    """A refused message is owed again. False: it is not refused, or was found to be sent."""
    return OWE_REFUSED.run(conn, {"send_id": send_id, "now": now}).rowcount == 1


def take_for_decision(conn: Connection, send_id: str, now: float) -> bool:
    """True: it is undecided, and until the commit nobody else decides about it."""
    return TAKE_FOR_DECISION.run(conn, {"send_id": send_id, "now": now}).rowcount == 1


def decide(conn: Connection, send_id: str, state: Literal["owed", "sent"], now: float, reason: str = "") -> bool:
    """An undecided message is owed again, or was sent, under whatever message_sid. False: it is decided already."""
    values = {"send_id": send_id, "state": state, "reason": storable(reason), "now": now}
    return DECIDE.run(conn, values).rowcount == 1


def settle_as_sent(conn: Connection, send_id: str, now: float) -> None:
    """The delivery of a message that was sent is not dead; what became of the message is asked next."""
    SUCCEED_DELIVERY.run(conn, {"send_id": send_id})
    FETCH_NOW.run(conn, {"send_id": send_id, "now": now})


def search_sends(conn: Connection, search: SendSearch, *, limit: int = 50, offset: int = 0) -> SendPage:
    """Reads. Returns the newest messages found."""
    column = schema.ledger.c
    number, ticket = index_key(search.number), column.ticket == index_key(search.ticket.lower())
    conditions = [
        (search.ticket, column.ticket_number == int(search.ticket) if _is_number(search.ticket) else ticket),
        (search.custom_ticket, has_key(column.custom_ticket, search.custom_ticket)),
        (search.phone, column.phone == index_key(search.phone)),
        (search.number, or_(column.number == number, column.code == number)),
        (search.message_sid, has_key(column.message_sid, search.message_sid)),
        (search.state, column.state == storable(search.state)),
        (search.state not in ("", "sent"), column.state != literal_column("'sent'")),
        (search.status, column.status == index_key(search.status)),
        (search.since is not None, column.created_at >= (search.since or 0.0)),
        (search.until is not None, column.created_at < (search.until or 0.0)),
    ]
    query = select(column.send_id).where(*[condition for is_asked, condition in conditions if is_asked])
    found, more = fetch_page(conn, query.order_by(column.created_at.desc(), column.id.desc()), limit, offset)
    return SendPage(tuple(row[0] for row in found), more)


def open_sends(conn: Connection) -> OpenSends:
    """Reads."""
    return OpenSends(dict(OPEN.run(conn).fetchall()), int(WAITING_UPDATES.run(conn).fetchone()[0]))


def _is_number(ticket: str) -> bool:
    return ticket.isascii() and ticket.isdigit() and len(ticket) <= 18


def _entries(cursor: Cursor) -> list[LedgerEntry]:
    return [LedgerEntry(**dict(zip(_NAMES, row, strict=True))) for row in cursor.fetchall()]
