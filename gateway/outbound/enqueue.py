"""Owes a text to CarrierX: its row in the ledger and its delivery, in the transaction of what asked for it."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.config import Config, Number
from gateway.store import Connection, ledger, outbox
from schemas import Body, wire
from schemas.carrierx import CONTENT_TYPE


def ticket_for_caller(ticket: str, event_id: int, config: Config) -> str:
    """The ticket in the spelling that legacy callers get."""
    return str(event_id) if config.tickets == "decimal" else ticket


def conversation_key(number: str, phone: str) -> str:
    """The ordering key of texts from one number to one phone: they go in the order in which they were asked for."""
    return f"{ledger.ENDPOINT}/conversation/{phone}/{number}"


def new_send(
    number: Number, phone: str, ticket: str, event_id: int, config: Config, now: float, *, origin: str, **more: str
) -> ledger.NewSend:
    """A text from a number to a phone, as the ledger is to have it; `more`: its other fields."""
    return ledger.NewSend(
        send_id=outbox.new_id(now),
        ticket=ticket,
        ticket_number=event_id,
        ticket_shown=ticket_for_caller(ticket, event_id, config),
        origin=origin,
        number=number.number,
        code=number.shortcode,
        phone=phone,
        **more,
    )


def enqueue(conn: Connection, new: ledger.NewSend, text: str, now: float, media_urls: Sequence[str] = ()) -> None:
    """Owes a text. It goes out as soon as this is committed and the Sender is woken."""
    ledger.add_send(conn, new, now)
    media = {"media_urls": list(media_urls)} if media_urls else {}
    request = {"from": new.number, "to": new.phone, "message": text, **media, "user_data": new.send_id}
    delivery = outbox.OwedDelivery(
        endpoint=ledger.ENDPOINT,
        wire_format=ledger.WIRE_FORMAT,
        ordering_key=conversation_key(new.number, new.phone),
        body=Body(content_type=CONTENT_TYPE, data=wire.write_object(request)),
        delivery_id=new.send_id,
    )
    outbox.owe(conn, new.ticket_number, [delivery], now)
