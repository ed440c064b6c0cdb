"""Settles a text: what the ledger says of it, the status posts, the updates that waited for it, in one transaction.

The Sender settles what CarrierX answered. Where nobody can tell whether a text was sent, a person decides; whoever
comes second, a colleague or an update that tells after all, finds it decided: `AlreadyDecided`.

Functions that return names return those of endpoints to notify.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from gateway.config import Config
from gateway.inbound import status_update
from gateway.outbound import status_posts
from gateway.outbound.enqueue import conversation_key
from gateway.store import Connection, Store, events, ledger, replay, search
from gateway.store.audit import AuditEntry, audited
from gateway.store.ledger import LedgerEntry
from schemas import FORMATS, BadCallback, Message, ReceiveContext, wire

STALE_UPDATE_SECONDS = 60.0  # an update that waits for so long, though nothing is in flight any more, is released
MAX_STALE_CONVERSATIONS = 100  # conversations whose updates one transaction releases

BY_HAND = "Somebody has said that it was sent."
GIVEN_UP = "Nobody could tell whether it was sent, and it was given up by hand."


class AlreadyDecided(Exception):
    """Nothing can be decided about a text, for the reason given."""


def sent(conn: Connection, entry: LedgerEntry, answer: bytes, config: Config, now: float) -> frozenset[str]:
    """CarrierX has it: `answer` is its object, which `read` can read."""
    message = read(answer, entry)
    if message is None:
        raise ValueError("the answer names no message")
    return accepted(conn, entry, message, config, now)


def accepted(conn: Connection, entry: LedgerEntry, message: Message, config: Config, now: float) -> frozenset[str]:
    """CarrierX has it, under the message_sid of `message`, however that became known."""
    return status_posts.mark_accepted(conn, entry, message, config, now) | _release(conn, entry, config)


def refused(conn: Connection, entry: LedgerEntry, reason: str, config: Config, now: float) -> frozenset[str]:
    """It was not sent, and will not be: a status post says ``failed``."""
    is_refused = ledger.mark_refused(conn, entry.send_id, reason, now)
    owed = status_posts.mark_failed(conn, entry, config, now) if is_refused else frozenset[str]()
    return owed | _release(conn, entry, config)


def undecided(conn: Connection, entry: LedgerEntry, reason: str, config: Config, now: float) -> frozenset[str]:
    """Nobody can tell whether it was sent: a person has to. No status post is owed."""
    ledger.mark_undecided(conn, entry.send_id, reason, now)
    return _release(conn, entry, config)


def put_back(conn: Connection, entry: LedgerEntry, reason: str, config: Config, now: float) -> frozenset[str]:
    """It was certainly not sent, and will be tried again."""
    ledger.put_back_for_submission(conn, entry.send_id, now, reason)
    return _release(conn, entry, config)


def _release(conn: Connection, entry: LedgerEntry, config: Config) -> frozenset[str]:
    return status_update.release_waiting(conn, entry.number, entry.phone, config)


def release_stale(conn: Connection, config: Config, now: float) -> frozenset[str]:
    """Releases updates that wait longer than an answer can take, and for nothing any more; `sent` and the others
    should have done so."""
    woken: frozenset[str] = frozenset()
    for number, phone in events.waiting_pairs(conn, now - STALE_UPDATE_SECONDS, MAX_STALE_CONVERSATIONS):
        woken |= status_update.release_waiting(conn, number, phone, config)
    return woken


def read(answer: bytes, entry: LedgerEntry) -> Message | None:
    """CarrierX's answer to a submission; None where it does not say which message it is about.
    What else is wrong with it is no matter: CarrierX has the message."""
    try:
        return FORMATS["carrierx"].load(answer, None, ReceiveContext(now=datetime.now(UTC), sid=""))
    except BadCallback:
        try:
            sid = wire.read_object(answer).get("message_sid")
        except BadCallback:
            return None
    if not isinstance(sid, str) or not sid.strip():
        return None
    return Message(direction="outbound", from_=entry.number, to=entry.phone, status="", message_sid=sid)


def decide_sent(
    store: Store, send_id: str, message_sid: str, config: Config, now: float, entry: AuditEntry | None = None
) -> frozenset[str]:
    """It was sent; under that message_sid, where it is not empty: then CarrierX is asked next what became of it.
    Raises `AlreadyDecided`, `StoreUnavailable`, as the other decisions do. `entry` says in the audit trail who
    decides."""
    sid = message_sid.strip()

    def decide(conn: Connection) -> frozenset[str]:
        woken: frozenset[str] = frozenset()
        if sid:
            other = ledger.of_sid(conn, sid)
            if other is not None and other.send_id != send_id:
                raise AlreadyDecided(f"Another send has this message_sid: {other.send_id}.")
            text = _take(conn, send_id, now)
            found = Message(direction="outbound", from_=text.number, to=text.phone, status="queued", message_sid=sid)
            woken = accepted(conn, text, found, config, now)
        elif not ledger.decide(conn, send_id, "sent", now, BY_HAND):
            raise _already_decided(conn, send_id)
        ledger.settle_as_sent(conn, send_id, now)
        return woken

    return _decide(store, send_id, decide, entry)


def decide_send_again(store: Store, send_id: str, now: float, entry: AuditEntry | None = None) -> frozenset[str]:
    """It was not sent: it is owed again, by the same delivery."""

    def decide(conn: Connection) -> frozenset[str]:
        if not ledger.decide(conn, send_id, "owed", now):
            raise _already_decided(conn, send_id)
        delivery = search.load_delivery(conn, send_id)
        if delivery is None:
            raise AlreadyDecided("Its delivery is not kept any more: there is nothing to send.")
        if delivery.state == "dead":
            replay.put_back(conn, delivery.id, delivery.ordering_key, now)
        return frozenset((ledger.ENDPOINT,))

    return _decide(store, send_id, decide, entry)


def decide_given_up(
    store: Store, send_id: str, config: Config, now: float, entry: AuditEntry | None = None
) -> frozenset[str]:
    """It will not be sent, or not be asked about any more: a status post says ``failed``."""
    return _decide(store, send_id, lambda conn: refused(conn, _take(conn, send_id, now), GIVEN_UP, config, now), entry)


def _decide(
    store: Store, send_id: str, decide: Callable[[Connection], frozenset[str]], entry: AuditEntry | None
) -> frozenset[str]:
    with store.reader() as conn:
        text = _entry(conn, send_id)
    return store.writer.write(audited(decide, entry), ordering_keys=(conversation_key(text.number, text.phone),))


def _take(conn: Connection, send_id: str, now: float) -> LedgerEntry:
    """The undecided text; until the commit nobody else decides about it."""
    if not ledger.take_for_decision(conn, send_id, now):
        raise _already_decided(conn, send_id)
    return _entry(conn, send_id)


def _already_decided(conn: Connection, send_id: str) -> AlreadyDecided:
    return AlreadyDecided(f"It is not undecided any more: it is {_entry(conn, send_id).state}.")


def _entry(conn: Connection, send_id: str) -> LedgerEntry:
    entry = ledger.of_send(conn, send_id)
    if entry is None:
        raise AlreadyDecided("There is no such send, or not any more.")
    return entry
