"""What a person decides about a text of which nobody can tell whether it was sent. Each is one transaction.

Whoever comes second, a colleague or an update that tells after all, finds it decided: `AlreadyDecided`.
"""

from __future__ import annotations

from functools import partial

from gateway.config import Config
from gateway.outbound.enqueue import conversation_key
from gateway.sender import settle
from gateway.store import Connection, Store, ledger, replay, search
from gateway.store.ledger import LedgerEntry
from schemas import Message

BY_HAND = "Somebody has said that it was sent."
GIVEN_UP = "Nobody could tell whether it was sent, and it was given up by hand."


class AlreadyDecided(Exception):
    """It cannot be decided so; why stands in words."""


def was_sent(store: Store, send_id: str, message_sid: str, config: Config, now: float) -> frozenset[str]:
    """It was sent; under that name, where it is not empty. Endpoints to ring. Raises `AlreadyDecided`,
    `StoreUnavailable`.

    What became of it is asked of CarrierX next, where the name is known.
    """
    work = partial(_was_sent, send_id=send_id, message_sid=message_sid.strip(), config=config, now=now)
    return _decide(store, send_id, work)


def send_again(store: Store, send_id: str, now: float) -> frozenset[str]:
    """It was not sent: it is owed again, by the same delivery. Raises as `was_sent`."""
    return _decide(store, send_id, partial(_send_again, send_id=send_id, now=now))


def give_up(store: Store, send_id: str, config: Config, now: float) -> frozenset[str]:
    """It will not be sent, or not be asked about any more: ``failed`` is told. Raises as `was_sent`."""
    return _decide(store, send_id, partial(_give_up, send_id=send_id, config=config, now=now))


def _decide(store: Store, send_id: str, work: partial[frozenset[str]]) -> frozenset[str]:
    with store.reader() as conn:
        entry = ledger.of_send(conn, send_id)
    if entry is None:
        raise AlreadyDecided("There is no such send, or not any more.")
    return store.writer.write(work, ordering_keys=(conversation_key(entry.number, entry.phone),))


def _was_sent(conn: Connection, *, send_id: str, message_sid: str, config: Config, now: float) -> frozenset[str]:
    if message_sid:
        told = _named(conn, send_id, message_sid, config, now)
    elif ledger.decide_sent(conn, send_id, BY_HAND, now):
        told = frozenset()
    else:
        raise _decided(conn, send_id)
    ledger.settle_as_sent(conn, send_id, now)
    return told


def _named(conn: Connection, send_id: str, message_sid: str, config: Config, now: float) -> frozenset[str]:
    other = ledger.of_sid(conn, message_sid)
    if other is not None and other.send_id != send_id:
        raise AlreadyDecided(f"Another send has this message_sid: {other.send_id}.")
    if not ledger.take_for_decision(conn, send_id, now):
        raise _decided(conn, send_id)
    entry = _entry(conn, send_id)
    found = Message(direction="outbound", from_=entry.number, to=entry.phone, status="queued", message_sid=message_sid)
    return settle.known(conn, entry, found, config, now)


def _send_again(conn: Connection, *, send_id: str, now: float) -> frozenset[str]:
    if not ledger.decide_owed(conn, send_id, now):
        raise _decided(conn, send_id)
    delivery = search.load_delivery(conn, send_id)
    if delivery is None:
        raise AlreadyDecided("Its delivery is not kept any more: there is nothing to send.")
    if delivery.state == "dead":
        replay.put_back(conn, delivery.id, delivery.ordering_key, now)
    return frozenset((ledger.ENDPOINT,))


def _give_up(conn: Connection, *, send_id: str, config: Config, now: float) -> frozenset[str]:
    if not ledger.take_for_decision(conn, send_id, now):
        raise _decided(conn, send_id)
    return frozenset(settle.refused(conn, _entry(conn, send_id), GIVEN_UP, config, now))


def _entry(conn: Connection, send_id: str) -> LedgerEntry:
    entry = ledger.of_send(conn, send_id)
    if entry is None:
        raise AlreadyDecided("There is no such send, or not any more.")
    return entry


def _decided(conn: Connection, send_id: str) -> AlreadyDecided:
    return AlreadyDecided(f"It is not undecided any more: it is {_entry(conn, send_id).state}.")
