"""Owes a text to CarrierX: its row in the ledger and its delivery, in the transaction of what asked for it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config import Config
from gateway.store import Connection, ledger, outbox
from schemas import Body, wire
from schemas.carrierx import CONTENT_TYPE


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingText:
    """One text to one phone."""

    number: str
    """Our number, as CarrierX knows it."""
    code: str
    """Our number, as legacy systems know it."""
    phone: str
    text: str
    origin: str
    """``legacy``, ``command``, ``reply``, ``opt-out``."""
    ticket: str
    """A UUID; all recipients of one call share it."""
    custom_ticket: str = ""
    status_url: str = ""
    media_urls: tuple[str, ...] = ()


def ticket_for_caller(ticket: str, event_id: int, config: Config) -> str:
    """The ticket in the spelling that legacy callers get."""
    return str(event_id) if config.tickets == "decimal" else ticket


def conversation_key(number: str, phone: str) -> str:
    """The ordering key of texts from one number to one phone: they go in the order in which they were asked for."""
    return f"{ledger.ENDPOINT}/conversation/{phone}/{number}"


def enqueue(conn: Connection, event_id: int, text: OutgoingText, config: Config, now: float) -> None:
    """Owes the text. It goes out as soon as this is committed and the Sender is woken."""
    send_id = outbox.new_id(now)
    ledger.add_send(conn, _ledger_row(text, send_id, event_id, config), now)
    media = {"media_urls": list(text.media_urls)} if text.media_urls else {}
    request = {"from": text.number, "to": text.phone, "message": text.text, **media, "user_data": send_id}
    delivery = outbox.OwedDelivery(
        endpoint=ledger.ENDPOINT,
        wire_format=ledger.WIRE_FORMAT,
        ordering_key=conversation_key(text.number, text.phone),
        body=Body(content_type=CONTENT_TYPE, data=wire.write_object(request)),
        delivery_id=send_id,
    )
    outbox.owe(conn, event_id, [delivery], now)


def record_refused(
    conn: Connection, event_id: int, text: OutgoingText, reason: str, config: Config, now: float
) -> ledger.LedgerEntry:
    """Records one recipient of a call that is not sent to: a ledger row of its own, with a final status."""
    send_id = outbox.new_id(now)
    ledger.add_send(conn, _ledger_row(text, send_id, event_id, config, reason), now)
    entry = ledger.of_send(conn, send_id)
    assert entry is not None, "it was added just now"  # noqa: S101
    return entry


def _ledger_row(
    text: OutgoingText, send_id: str, event_id: int, config: Config, refused_because: str = ""
) -> ledger.NewSend:
    return ledger.NewSend(
        send_id=send_id,
        ticket=text.ticket,
        ticket_number=event_id,
        ticket_shown=ticket_for_caller(text.ticket, event_id, config),
        origin=text.origin,
        number=text.number,
        code=text.code,
        phone=text.phone,
        custom_ticket=text.custom_ticket,
        status_url=text.status_url,
        state="refused" if refused_because else "owed",
        status="failed" if refused_because else "",
        reason=refused_because,
    )
