"""What is told of messages that we sent, by us: that CarrierX has them, that they failed."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.config import Config, Endpoint
from gateway.routing.deliveries import build_deliveries
from gateway.store import Connection, ledger, message_status, outbox
from gateway.store.ledger import LedgerEntry
from schemas import Message

ACCEPTED, FAILED = "queued", "failed"


def status_endpoints(entry: LedgerEntry, config: Config) -> tuple[Endpoint, ...]:
    """Who hears of it: the `status_url` given when sending, else the number's status endpoints."""
    if entry.status_url:
        named = config.endpoint(entry.status_url)
        return (named,) if named else ()
    number = config.number_for(entry.number)
    return tuple(config.endpoints[name] for name in number.status) if number else ()


def as_sent(message: Message, entry: LedgerEntry) -> Message:
    """With what was given when sending. Our own id in `user_data` means nothing to others."""
    return message.but(
        ticket=entry.ticket_shown,
        custom_ticket=entry.custom_ticket,
        user_data=entry.custom_ticket or None,
        code=entry.code,
    )


def mark_accepted(conn: Connection, entry: LedgerEntry, message: Message, config: Config, now: float) -> frozenset[str]:
    """CarrierX has it, as `message` shows, and under which message_sid. Whom to wake.

    That it is queued is told first, though the first word that we hear be a later one.
    """
    sid = message.message_sid
    if not ledger.mark_sent(conn, entry.send_id, sid, now, now + config.carrierx.missing_after):
        return frozenset()
    return _tell(conn, entry, _made(message, entry, ACCEPTED, now), config, now)


def mark_failed(conn: Connection, entry: LedgerEntry, config: Config, now: float) -> frozenset[str]:
    """It will not be sent, or nobody will ever know. It has no message_sid: our own id stands for it."""
    blank = Message(direction="outbound", from_=entry.number, to=entry.phone, status=FAILED, message_sid=entry.send_id)
    return _tell(conn, entry, _made(blank, entry, FAILED, now), config, now)


def _made(message: Message, entry: LedgerEntry, status: str, now: float) -> Message:
    moment = datetime.fromtimestamp(now, UTC)
    message = message.but(
        direction="outbound", from_=entry.number, to=entry.phone, status=status, date_status_changed=moment, notes=()
    )
    return as_sent(message, entry)


def _tell(conn: Connection, entry: LedgerEntry, message: Message, config: Config, now: float) -> frozenset[str]:
    if message_status.record_status(conn, message.message_sid, entry.phone, message.status, now) != "new":
        return frozenset()
    ledger.record_status(conn, entry, message.status, now, config.carrierx.missing_after)
    to = status_endpoints(entry, config)
    outbox.owe(conn, entry.ticket_number, [letter.to_outbox(0) for letter in build_deliveries(message, to)], now)
    return frozenset(one.name for one in to)
