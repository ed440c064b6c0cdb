"""Status posts that the gateway itself originates: ``queued`` once CarrierX has a text, ``failed`` if it never will."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.config import Config, Endpoint
from gateway.routing.route import build_deliveries
from gateway.store import Connection, ledger, message_status, outbox
from gateway.store.ledger import LedgerEntry
from schemas import Message
from schemas.message import replace

ACCEPTED, FAILED = "queued", "failed"


def status_endpoints(entry: LedgerEntry, config: Config) -> tuple[Endpoint, ...]:
    """The endpoints of a text's status posts: the `status_url` given with it, else the number's status endpoints."""
    if entry.status_url:
        named = config.endpoint(entry.status_url)
        return (named,) if named else ()
    number = config.number_for(entry.number)
    return tuple(config.endpoints[name] for name in number.status) if number else ()


def as_sent(message: Message, entry: LedgerEntry) -> Message:
    """`message` with the tickets and the code of its sending. Our own id in `user_data` means nothing to others."""
    return replace(
        message,
        ticket=entry.ticket_shown,
        custom_ticket=entry.custom_ticket,
        user_data=entry.custom_ticket or None,
        code=entry.code,
    )


def mark_accepted(conn: Connection, entry: LedgerEntry, message: Message, config: Config, now: float) -> frozenset[str]:
    """Records that CarrierX has the text, under the message_sid of `message`. Returns the endpoints to wake.
    The post that the text is queued goes out first, even where a later status is the first one to reach us."""
    if not ledger.mark_sent(conn, entry.send_id, message.message_sid, now, now + config.carrierx.missing_after):
        return frozenset()
    return _post(conn, entry, message, ACCEPTED, config, now)


def mark_failed(conn: Connection, entry: LedgerEntry, config: Config, now: float) -> frozenset[str]:
    """Records that the text will not be sent, or that nobody will ever know. Returns the endpoints to wake.
    There is no message_sid: our own id stands for it."""
    message = Message(
        direction="outbound", from_=entry.number, to=entry.phone, status=FAILED, message_sid=entry.send_id
    )
    return _post(conn, entry, message, FAILED, config, now)


def _post(
    conn: Connection, entry: LedgerEntry, message: Message, status: str, config: Config, now: float
) -> frozenset[str]:
    if message_status.record_status(conn, message.message_sid, entry.phone, status, now) != "new":
        return frozenset()
    ledger.record_status(conn, entry, status, now, config.carrierx.missing_after)
    message = replace(
        as_sent(message, entry),
        direction="outbound",
        from_=entry.number,
        to=entry.phone,
        status=status,
        date_status_changed=datetime.fromtimestamp(now, UTC),
        notes=(),
    )
    endpoints = status_endpoints(entry, config)
    drafts = build_deliveries(message, endpoints, hops=0)
    outbox.owe(conn, entry.ticket_number, [draft.owed for draft in drafts], now)
    return frozenset(endpoint.name for endpoint in endpoints)
