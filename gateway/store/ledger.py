"""What we send, one row for each recipient: ticket ⇄ message_sid ⇄ status.

    owed ──begin──▶ sending ──▶ sent ──▶ … delivered, failed (CarrierX's words, in `status`)
     ▲                 │  ├───▶ refused                 it will never be sent
     └─── put_back ────┘  └───▶ undecided               it may have been sent, and nobody can tell: for a person

`sending` is on disk before the request leaves. Who finds it so, without having the request in hand, knows that its
answer was lost, and looks before it sends again. Everything here is a piece of work for the store's writer, but for
what says that it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from gateway.store import Connection
from gateway.store.statement import Statement, index_key, storable
from schemas.status import is_final, supersedes

ENDPOINT = "@carrierx"
"""The name under which the outbox has what is to be sent. No endpoint of a configuration can be called so."""
KIND = "carrierx-send"
"""What stands for the wire format there: the Core API's own request."""
STATES = ("owed", "sending", "sent", "refused", "undecided")
FETCHES = 8
"""Times that CarrierX is asked about one message, each after twice the time of the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSend:
    """A message that is to be sent."""

    send_id: str
    """UUID: its delivery's `delivery_id`, and its `user_data` at CarrierX."""
    ticket: str
    """UUID of the call; all its recipients have the same."""
    ticket_number: int
    """The same as a number: the id of the call's event."""
    ticket_shown: str
    """The ticket as the caller was told it."""
    origin: str
    """``legacy``, ``command``, ``reply``, ``opt-out``."""
    number: str
    """Ours, as CarrierX knows it."""
    code: str
    """The same as legacy systems know it."""
    phone: str
    custom_ticket: str = ""
    status_url: str = ""
    state: str = "owed"
    """Or ``mark_refused``, from the start."""
    status: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry(NewSend):
    """One row, as it is."""

    id: int
    message_sid: str
    created_at: float
    changed_at: float
    uncertain_until: float | None
    """The last moment at which a request may have reached CarrierX whose answer we do not have."""
    fetch_at: float | None
    fetches: int

    @property
    def final(self) -> bool:
        return is_final(self.status)


_NAMES = [one.name for one in fields(LedgerEntry)]
_COLUMNS = ", ".join(_NAMES)
_NEW = [one.name for one in fields(NewSend)]
ADD = Statement(
    f"""
    INSERT INTO ledger ({", ".join(_NEW)}, message_sid, created_at, changed_at, fetches)
    VALUES ({", ".join(f":{name}" for name in _NEW)}, '', :now, :now, 0)
    """  # noqa: S608
)
BY_SEND_ID = Statement(f"SELECT {_COLUMNS} FROM ledger WHERE send_id = :send_id")  # noqa: S608
BY_SID = Statement(f"SELECT {_COLUMNS} FROM ledger WHERE message_sid = :sid AND message_sid <> ''")  # noqa: S608
BY_TICKET = Statement(f"SELECT {_COLUMNS} FROM ledger WHERE ticket = :ticket ORDER BY id")  # noqa: S608
BY_TICKET_NUMBER = Statement(f"SELECT {_COLUMNS} FROM ledger WHERE ticket_number = :ticket_number ORDER BY id")  # noqa: S608
BY_CUSTOM_TICKET = Statement(
    f"""
    SELECT {_COLUMNS} FROM ledger WHERE custom_ticket = :custom_ticket AND custom_ticket <> '' ORDER BY id
    """  # noqa: S608
)
IN_FLIGHT = Statement("SELECT 1 FROM ledger WHERE state = 'sending' AND phone = :phone AND number = :number LIMIT 1")
MISSING = Statement(
    f"""
    SELECT {_COLUMNS} FROM ledger WHERE fetch_at IS NOT NULL AND fetch_at <= :now ORDER BY fetch_at LIMIT :most
    """  # noqa: S608
)
BEGIN = Statement(
    """
    UPDATE ledger SET state = 'sending', uncertain_until = :uncertain_until, changed_at = :now
     WHERE send_id = :send_id
    """
)
DOUBT = Statement("UPDATE ledger SET uncertain_until = :uncertain_until, changed_at = :now WHERE send_id = :send_id")
PUT_BACK = Statement(
    """
    UPDATE ledger SET state = 'owed', uncertain_until = NULL, reason = :reason, changed_at = :now
     WHERE send_id = :send_id AND message_sid = ''
    """
)
SENT = Statement(
    """
    UPDATE ledger SET state = 'sent', message_sid = :sid, uncertain_until = NULL, reason = '', changed_at = :now,
                      fetch_at = :fetch_at
     WHERE send_id = :send_id AND message_sid = ''
    """
)
ENDED = Statement(
    """
    UPDATE ledger SET state = :state, reason = :reason, status = :status, fetch_at = NULL, changed_at = :now
     WHERE send_id = :send_id AND message_sid = ''
    """
)
SAID = Statement(
    """
    UPDATE ledger SET status = :status, fetch_at = :fetch_at, fetches = 0, changed_at = :now WHERE id = :id
    """
)
FETCHED = Statement("UPDATE ledger SET fetch_at = :fetch_at, fetches = fetches + 1 WHERE id = :id")


def add_send(conn: Connection, new: NewSend, now: float) -> None:
    """A message that we owe, or that was refused for one recipient of a call."""
    values = {name: getattr(new, name) for name in _NEW}
    indexed = {name: index_key(values[name]) for name in ("custom_ticket", "number", "phone", "code", "status")}
    ADD.run(conn, values | indexed | {name: storable(values[name]) for name in ("status_url", "reason")} | {"now": now})


def of_send(conn: Connection, send_id: str) -> LedgerEntry | None:
    """Reads."""
    return _one(BY_SEND_ID.run(conn, {"send_id": send_id}).fetchone())


def of_sid(conn: Connection, message_sid: str) -> LedgerEntry | None:
    """Reads."""
    return _one(BY_SID.run(conn, {"sid": index_key(message_sid)}).fetchone()) if message_sid else None


def of_ticket(conn: Connection, ticket: str) -> list[LedgerEntry]:
    """Reads. By the UUID, in any case of letters, or by the number that stands for it."""
    text = ticket.strip()
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return _all(BY_TICKET_NUMBER.run(conn, {"ticket_number": int(text)}).fetchall())
    return _all(BY_TICKET.run(conn, {"ticket": index_key(text.lower())}).fetchall())


def of_event(conn: Connection, event_id: int) -> list[LedgerEntry]:
    """Reads. All that one call, or one text that was answered, became."""
    return _all(BY_TICKET_NUMBER.run(conn, {"ticket_number": event_id}).fetchall())


def of_custom_ticket(conn: Connection, custom_ticket: str) -> list[LedgerEntry]:
    """Reads. Of all calls that gave this one, the oldest first."""
    return _all(BY_CUSTOM_TICKET.run(conn, {"custom_ticket": index_key(custom_ticket)}).fetchall())


def is_in_flight(conn: Connection, number: str, phone: str) -> bool:
    """Reads. Whether something is on its way there of which we do not know the message_sid yet."""
    return IN_FLIGHT.run(conn, {"number": index_key(number), "phone": index_key(phone)}).fetchone() is not None


def without_status(conn: Connection, now: float, most: int) -> list[LedgerEntry]:
    """Reads. Of which nothing was heard for too long."""
    return _all(MISSING.run(conn, {"now": now, "most": most}).fetchall())


def mark_submitting(conn: Connection, send_id: str, now: float, uncertain_until: float) -> None:
    """A request is about to leave; it may reach CarrierX until `uncertain_until`."""
    BEGIN.run(conn, {"send_id": send_id, "now": now, "uncertain_until": uncertain_until})


def mark_uncertain(conn: Connection, send_id: str, now: float, uncertain_until: float) -> None:
    """Its answer was lost."""
    DOUBT.run(conn, {"send_id": send_id, "now": now, "uncertain_until": uncertain_until})


def put_back_for_submission(conn: Connection, send_id: str, now: float, reason: str = "") -> None:
    """For certain it was not sent: it may be tried again."""
    PUT_BACK.run(conn, {"send_id": send_id, "now": now, "reason": storable(reason)})


def mark_sent(conn: Connection, send_id: str, message_sid: str, now: float, fetch_at: float) -> bool:
    """CarrierX has it under this name. False: that was known already."""
    values = {"send_id": send_id, "sid": index_key(message_sid), "now": now, "fetch_at": fetch_at}
    return SENT.run(conn, values).rowcount == 1


def mark_refused(conn: Connection, send_id: str, reason: str, now: float) -> bool:
    """It will not be sent. False: it was, as we know by now."""
    values = {"send_id": send_id, "reason": storable(reason), "now": now, "state": "refused", "status": "failed"}
    return ENDED.run(conn, values).rowcount == 1


def mark_undecided(conn: Connection, send_id: str, reason: str, now: float) -> bool:
    """Nobody can tell whether it was sent: a person must. False: it was, as we know by now."""
    values = {"send_id": send_id, "reason": storable(reason), "now": now, "state": "undecided", "status": ""}
    return ENDED.run(conn, values).rowcount == 1


def record_status(conn: Connection, entry: LedgerEntry, status: str, now: float, missing_after: float) -> None:
    """An update came; it becomes the last status if it is newer in the flow than the one known."""
    newest = status if not entry.status or supersedes(entry.status, status) else entry.status
    fetch_at = None if is_final(newest) else now + missing_after
    SAID.run(conn, {"id": entry.id, "status": index_key(newest), "fetch_at": fetch_at, "now": now})


def record_poll(conn: Connection, entry: LedgerEntry, now: float, missing_after: float) -> None:
    """CarrierX was asked about it; the next time is later, and after some there is none."""
    again = now + missing_after * 2 ** (entry.fetches + 1) if entry.fetches + 1 < FETCHES else None
    FETCHED.run(conn, {"id": entry.id, "fetch_at": again})


def _one(row: Any) -> LedgerEntry | None:
    return None if row is None else LedgerEntry(**dict(zip(_NAMES, row, strict=True)))


def _all(rows: Sequence[Any]) -> list[LedgerEntry]:
    return [LedgerEntry(**dict(zip(_NAMES, row, strict=True))) for row in rows]
