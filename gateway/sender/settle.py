"""What the Sender found out, in the transaction in which it settles: the ledger, who is told, what waited for it."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.config import Config
from gateway.inbound import status_update
from gateway.outbound import status_posts
from gateway.store import Connection, events, ledger
from gateway.store.ledger import LedgerEntry
from schemas import FORMATS, BadCallback, Message, ReceiveContext, wire

PATIENCE = 60.0
"""Seconds after which an update that waits, though nothing is in flight any more, is let go."""
MOST = 100


def sent(conn: Connection, entry: LedgerEntry, answer: bytes, config: Config, now: float) -> frozenset[str]:
    """CarrierX has it: `answer` is its object, which `read` can read. Whom to wake."""
    message = read(answer, entry)
    if message is None:
        raise ValueError("the answer names no message")
    return known(conn, entry, message, config, now)


def known(conn: Connection, entry: LedgerEntry, message: Message, config: Config, now: float) -> frozenset[str]:
    """CarrierX has it, under the message_sid of `message`, however that became known. Whom to wake."""
    return status_posts.mark_accepted(conn, entry, message, config, now) | _release(conn, entry, config)


def refused(conn: Connection, entry: LedgerEntry, reason: str, config: Config, now: float) -> frozenset[str]:
    """It was not sent, and will not be: its sender is told `failed`. Whom to wake."""
    told = (
        status_posts.mark_failed(conn, entry, config, now)
        if ledger.mark_refused(conn, entry.send_id, reason, now)
        else frozenset()
    )
    return told | _release(conn, entry, config)


def undecided(conn: Connection, entry: LedgerEntry, reason: str, config: Config, now: float) -> frozenset[str]:
    """Nobody can tell whether it was sent: a person has to. Nobody is told anything. Whom to wake."""
    ledger.mark_undecided(conn, entry.send_id, reason, now)
    return _release(conn, entry, config)


def put_back(conn: Connection, entry: LedgerEntry, reason: str, config: Config, now: float) -> frozenset[str]:
    """For certain it was not sent, and will be tried again. Whom to wake."""
    ledger.put_back_for_submission(conn, entry.send_id, now, reason)
    return _release(conn, entry, config)


def release_stale(conn: Connection, config: Config, now: float) -> frozenset[str]:
    """What waits longer than an answer can take, and for nothing any more: a net below `sent` and the others."""
    woken: frozenset[str] = frozenset()
    for number, phone in events.waiting_pairs(conn, now - PATIENCE, MOST):
        woken |= status_update.release_waiting(conn, number, phone, config)
    return woken


def read(answer: bytes, entry: LedgerEntry) -> Message | None:
    """CarrierX's answer to a sending; None where it does not say which message it speaks of.

    What else is wrong with it is no matter: CarrierX has the message.
    """
    receipt = ReceiveContext(now=datetime.now(UTC), sid="")
    try:
        return FORMATS["carrierx"].load(answer, None, receipt)
    except BadCallback:
        return _barely(answer, entry)


def _barely(answer: bytes, entry: LedgerEntry) -> Message | None:
    try:
        sid = wire.read_object(answer).get("message_sid")
    except BadCallback:
        return None
    if not isinstance(sid, str) or not sid.strip():
        return None
    return Message(direction="outbound", from_=entry.number, to=entry.phone, status="", message_sid=sid)


def _release(conn: Connection, entry: LedgerEntry, config: Config) -> frozenset[str]:
    return status_update.release_waiting(conn, entry.number, entry.phone, config)
