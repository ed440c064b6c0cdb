"""The transaction of a status update: finds its message and the endpoints that get it, or lets it wait for them.

The ledger has the messages that we sent. An update may be quicker than CarrierX's response to the sending: it then
waits, as an event, until that message has its message_sid. Updates of messages that others sent from our numbers go to
the number's status endpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config import Config, Endpoint
from gateway.inbound.callback import Accepted, Callback
from gateway.outbound import status_posts
from gateway.outbound.enqueue import conversation_key
from gateway.routing.route import DeliveryDraft, Route, build_deliveries
from gateway.store import Connection, events, ledger, message_status, outbox
from gateway.store.ledger import LedgerEntry
from schemas import Message
from schemas.status import stage

NOT_OURS = "This gateway sent no message of that message_sid."
TWICE = "CarrierX has this message under another message_sid already."
WAITS = "It waits until it is known which message it is about."


@dataclass(frozen=True, slots=True)
class _Classified:
    """An update, with the message that it is about and the endpoints that get it."""

    message: Message
    state: str
    drafts: tuple[DeliveryDraft, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    new_for: frozenset[str] = frozenset()  # the recipients for whom the status is new
    entry: LedgerEntry | None = None  # the message in the ledger, where we sent it
    orphan: str = ""
    notes: tuple[str, ...] = ()
    woken: frozenset[str] = frozenset()  # endpoints that the same transaction owes something else


class AcceptStatusUpdate:
    """The transaction. The writer runs it, alone or among others, perhaps a second time."""

    def __init__(self, callback: Callback, message: Message, route: Route, config: Config) -> None:
        self._callback, self._message, self._route, self._config = callback, message, route, config
        self._now = callback.now.timestamp()
        # Translated, and scrubbed, before the transaction: while it lasts, nobody else can write.
        self._drafts = build_deliveries(message, route.endpoints, callback.hops)
        self._body = callback.kept_bytes()
        self._is_of_carrierx = callback.format == "carrierx" and message.legacy is None
        # The transaction that learns the message_sid of a text to these phones holds the same keys, so that it and this
        # one never miss each other.
        conversations = message.recipients if self._is_of_carrierx else ()
        self.ordering_keys = (
            *(draft.owed.ordering_key for draft in self._drafts),
            *(conversation_key(message.number, phone) for phone in conversations),
        )

    def __call__(self, conn: Connection) -> Accepted:
        update = self._classify(conn, may_wait=True)
        return self._finish(conn, events.add(conn, self._event(update)), update)

    def release(self, conn: Connection, event_id: int) -> Accepted:
        """Accepts an update that waited."""
        update = self._classify(conn, may_wait=False)
        if not events.mark_released(conn, event_id, self._event(update)):
            return Accepted(update.state, event_id)
        return self._finish(conn, event_id, update)

    def reroute(self, conn: Connection, event_id: int) -> bool:
        """Owes the deliveries of an update that was kept without a route."""
        if not events.mark_routed(conn, event_id, self._message.keyword, (*self._message.notes, self._route.why)):
            return False
        self._owe(conn, event_id, self._drafts, frozenset(self._message.recipients))
        return True

    def _classify(self, conn: Connection, *, may_wait: bool) -> _Classified:
        message = self._message
        if not self._is_of_carrierx:
            return self._for_foreign_send(conn)
        entry = ledger.of_sid(conn, message.message_sid)
        if entry is not None:
            return self._for_our_send(conn, entry)
        # Our own id, which was given along when sending.
        entry = ledger.of_send(conn, message.user_data) if message.user_data else None
        if entry is not None and (entry.phone, entry.number) == (message.to, message.number):
            if entry.message_sid:
                return _Classified(message, "duplicate", notes=(TWICE,))
            woken = status_posts.mark_accepted(conn, entry, message, self._config, self._now)
            return self._for_our_send(conn, entry, woken)
        if may_wait and not message.group_recipients and ledger.is_in_flight(conn, message.number, message.to):
            return _Classified(message, "waiting", notes=(WAITS,))
        return self._for_foreign_send(conn)

    def _for_our_send(self, conn: Connection, entry: LedgerEntry, woken: frozenset[str] = frozenset()) -> _Classified:
        message = status_posts.as_sent(self._message, entry)
        endpoints = status_posts.status_endpoints(entry, self._config)
        new_for, state = self._record_status(conn)
        drafts = build_deliveries(message, endpoints, self._callback.hops) if new_for else ()
        return _Classified(message, state, drafts, endpoints, new_for, entry, woken=woken)

    def _for_foreign_send(self, conn: Connection) -> _Classified:
        new_for, state = self._record_status(conn)
        has_number, orphan = self._route.number is not None, ""
        if state == "accepted" and not has_number:
            state, orphan = "unrouted", "number"
        elif state == "accepted" and not self._route.endpoints:
            state, orphan = "orphan" if self._is_of_carrierx else state, "endpoints"
        elif state == "accepted" and self._is_of_carrierx:
            orphan = "message"
        notes = (NOT_OURS,) if self._is_of_carrierx and has_number else ()
        endpoints = self._route.endpoints
        return _Classified(self._message, state, self._drafts, endpoints, new_for, orphan=orphan, notes=notes)

    def _record_status(self, conn: Connection) -> tuple[frozenset[str], str]:
        """The recipients for whom the status is new, and the event's state."""
        message = self._message
        verdicts = {
            phone: message_status.record_status(conn, message.message_sid, phone, message.status, self._now)
            for phone in message.recipients
        }
        new_for = frozenset(phone for phone, verdict in verdicts.items() if verdict == "new")
        if new_for:
            return new_for, "accepted"
        return new_for, "stale" if "stale" in verdicts.values() else "duplicate"

    def _event(self, update: _Classified) -> events.NewEvent:
        notes = (*update.message.notes, self._route.why, *update.notes)
        return self._callback.event(update.state, self._body, notes, update.message)

    def _finish(self, conn: Connection, event_id: int, update: _Classified) -> Accepted:
        if update.state != "accepted":
            return Accepted(update.state, event_id, endpoints=tuple(update.woken), orphan=update.orphan)
        message = update.message
        self._owe(conn, event_id, update.drafts, update.new_for)
        if update.entry is not None:
            missing_after = self._config.carrierx.missing_after
            ledger.record_status(conn, update.entry, message.status, self._now, missing_after)
        elif message.custom_ticket:
            # The ledger has all of a message that we sent; of others only the `custom_ticket` is of use later.
            sent_at = (message.date_created or self._callback.now).timestamp()
            for phone in message.recipients:
                message_status.remember_custom_ticket(conn, message.number, phone, message.custom_ticket, sent_at)
        endpoints = (*(endpoint.name for endpoint in update.endpoints), *update.woken)
        return Accepted(update.state, event_id, endpoints=endpoints, orphan=update.orphan)

    def _owe(self, conn: Connection, event_id: int, drafts: tuple[DeliveryDraft, ...], new_for: frozenset[str]) -> None:
        owed = [draft.owed for draft in drafts if new_for.intersection(draft.recipients)]
        outbox.owe(conn, event_id, owed, self._now)


def release_waiting(conn: Connection, number: str, phone: str, config: Config) -> frozenset[str]:
    """Accepts the updates that wait for messages from that number to that phone, as far as these are known by now.
    They go to the message's own endpoints, and once nothing is in flight any more, as updates of a message that others
    sent. Returns the endpoints to wake."""
    waiting = events.waiting_updates(conn, number, phone)
    if not waiting:
        return frozenset()
    in_flight = ledger.is_in_flight(conn, number, phone)
    woken: set[str] = set()
    # No update of it went out yet: they go in the order of the flow, whatever the order of arrival.
    for event in sorted(waiting, key=lambda update: (update.message_sid, stage(update.status), update.id)):
        if in_flight and ledger.of_sid(conn, event.message_sid) is None:
            continue
        callback = Callback.from_event(event)
        message, route = callback.read(event.message_sid, config)
        woken.update(AcceptStatusUpdate(callback, message, route, config).release(conn, event.id).endpoints)
    return frozenset(woken)
