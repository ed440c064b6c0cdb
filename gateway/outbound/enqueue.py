"""A message owed to CarrierX: its row in the ledger and its delivery, in the transaction of what asked for it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from gateway.config import Config
from gateway.store import Connection, ledger, outbox
from schemas import Body, wire

CONTENT_TYPE = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingText:
    """One message to one phone."""

    number: str
    """Ours, as CarrierX knows it."""
    code: str
    """The same as legacy systems know it."""
    phone: str
    text: str
    origin: str
    """``legacy``, ``command``, ``reply``, ``opt-out``."""
    ticket: str
    """UUID; all recipients of one call have the same."""
    custom_ticket: str = ""
    status_url: str = ""
    media_urls: tuple[str, ...] = ()


def new_ticket() -> str:
    return str(uuid.uuid4())


def ticket_for_caller(ticket: str, event_id: int, config: Config) -> str:
    """The ticket in the spelling that legacy callers get."""
    return str(event_id) if config.tickets == "decimal" else ticket


def conversation_key(number: str, phone: str) -> str:
    """Texts from one number to one phone go in the order in which they were asked for."""
    return f"{ledger.ENDPOINT}/conversation/{phone}/{number}"


def enqueue(conn: Connection, event_id: int, out: OutgoingText, config: Config, now: float) -> str:
    """The send_id. It is on its way as soon as this is committed and the Sender is woken."""
    send_id = outbox.new_id(now)
    ledger.add_send(conn, _entry(out, send_id, event_id, config), now)
    outbox.owe(conn, event_id, [_delivery(out, send_id)], now)
    return send_id


def record_refused(conn: Connection, event_id: int, out: OutgoingText, reason: str, config: Config, now: float) -> str:
    """One recipient of a call that is not sent to: it has a row of its own, and its status is final."""
    send_id = outbox.new_id(now)
    ledger.add_send(conn, _entry(out, send_id, event_id, config, reason), now)
    return send_id


def _entry(out: OutgoingText, send_id: str, event_id: int, config: Config, reason: str = "") -> ledger.NewSend:
    return ledger.NewSend(
        send_id=send_id,
        ticket=out.ticket,
        ticket_number=event_id,
        ticket_shown=ticket_for_caller(out.ticket, event_id, config),
        origin=out.origin,
        number=out.number,
        code=out.code,
        phone=out.phone,
        custom_ticket=out.custom_ticket,
        status_url=out.status_url,
        state="refused" if reason else "owed",
        status="failed" if reason else "",
        reason=reason,
    )


def _delivery(out: OutgoingText, send_id: str) -> outbox.OwedDelivery:
    media = {"media_urls": list(out.media_urls)} if out.media_urls else {}
    request = {"from": out.number, "to": out.phone, "message": out.text, **media, "user_data": send_id}
    body = Body(content_type=CONTENT_TYPE, data=wire.write_object(request))
    return outbox.OwedDelivery(
        endpoint=ledger.ENDPOINT,
        wire_format=ledger.KIND,
        ordering_key=conversation_key(out.number, out.phone),
        body=body,
        delivery_id=send_id,
    )
