"""The transaction of a status update: whose message it is, who hears of it, and what waits until that is known.

The ledger says what we sent. An update may be quicker than CarrierX's answer to the sending: it then waits, as an
event, until that message has its message_sid. What others sent from our numbers goes to the number's status endpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config import Config, Endpoint
from gateway.inbound.callback import Accepted, Callback
from gateway.outbound import enqueue, status_posts
from gateway.routing.deliveries import DeliveryDraft, build_deliveries
from gateway.routing.route import Route
from gateway.store import Connection, events, ledger, message_status, outbox, tickets
from gateway.store.ledger import LedgerEntry
from schemas import Message
from schemas.status import stage

NOT_OURS = "This gateway sent no message of that message_sid."
TWICE = "CarrierX has this message under another message_sid already."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What an update says, to whom."""

    message: Message
    letters: tuple[DeliveryDraft, ...]
    endpoints: tuple[Endpoint, ...]
    state: str
    fresh: frozenset[str] = frozenset()
    entry: LedgerEntry | None = None
    orphan: str = ""
    notes: tuple[str, ...] = ()
    woken: frozenset[str] = frozenset()
    """To whom something else is owed by now."""


class AcceptStatusUpdate:
    """The writer runs it, alone or among others, perhaps a second time."""

    def __init__(self, callback: Callback, message: Message, way: Route, config: Config) -> None:
        self._callback, self._message, self._way, self._config = callback, message, way, config
        # Translated, and scrubbed, before the transaction: while it lasts, nobody else can write.
        self._letters = build_deliveries(message, way.endpoints)
        self._body = callback.kept_bytes()
        self.ordering_keys = (*(letter.ordering_key for letter in self._letters), *self._conversations())

    @property
    def goes_somewhere(self) -> bool:
        return bool(self._way.endpoints)

    def __call__(self, conn: Connection) -> Accepted:
        said = self._weigh(conn, may_wait=True)
        return self._finish(conn, events.add(conn, self._event(said)), said)

    def release(self, conn: Connection, event_id: int) -> Accepted:
        """The same for one that waited."""
        said = self._weigh(conn, may_wait=False)
        if not events.mark_released(conn, event_id, self._event(said)):
            return Accepted(said.state, event_id)
        return self._finish(conn, event_id, said)

    def again(self, conn: Connection, event_id: int) -> bool:
        """The same for one that was kept without a route."""
        if not events.mark_routed(conn, event_id, self._message.keyword, (*self._message.notes, self._way.why)):
            return False
        self._owe(conn, event_id, self._letters, frozenset(self._message.recipients))
        return True

    @property
    def _is_of_carrierx(self) -> bool:
        return self._callback.format == "carrierx" and self._message.legacy is None

    def _conversations(self) -> tuple[str, ...]:
        """Whoever learns the message_sid of something sent there holds these, so that the two never miss each other."""
        if not self._is_of_carrierx:
            return ()
        return tuple(enqueue.conversation_key(self._message.number, one) for one in self._message.recipients)

    def _weigh(self, conn: Connection, *, may_wait: bool) -> _Said:
        message = self._message
        entry = ledger.of_sid(conn, message.message_sid) if self._is_of_carrierx else None
        if entry is not None:
            return self._ours(conn, entry)
        claimed = self._claimed(conn)
        if claimed is not None and claimed.message_sid:
            return self._nobodys("duplicate", TWICE)
        if claimed is not None:
            woken = status_posts.mark_accepted(conn, claimed, message, self._config, self._callback.at)
            return self._ours(conn, claimed, woken)
        if may_wait and self._may_be_ours(conn):
            return self._nobodys("waiting", "It waits until it is known of which message it speaks.")
        return self._others(conn)

    def _claimed(self, conn: Connection) -> LedgerEntry | None:
        """By what we gave along when sending."""
        message = self._message
        entry = ledger.of_send(conn, message.user_data) if self._is_of_carrierx and message.user_data else None
        fits = entry is not None and entry.phone == message.to and entry.number == message.number
        return entry if fits else None

    def _may_be_ours(self, conn: Connection) -> bool:
        message = self._message
        alone = self._is_of_carrierx and not message.group_recipients
        return alone and ledger.is_in_flight(conn, message.number, message.to)

    def _nobodys(self, state: str, note: str) -> _Said:
        return _Said(message=self._message, letters=(), endpoints=(), state=state, notes=(note,))

    def _ours(self, conn: Connection, entry: LedgerEntry, woken: frozenset[str] = frozenset()) -> _Said:
        message = status_posts.as_sent(self._message, entry)
        endpoints = status_posts.status_endpoints(entry, self._config)
        fresh, state = self._news(conn)
        return _Said(
            message=message,
            letters=build_deliveries(message, endpoints) if fresh else (),
            endpoints=endpoints,
            state=state,
            fresh=fresh,
            entry=entry,
            woken=woken,
        )

    def _others(self, conn: Connection) -> _Said:
        fresh, state = self._news(conn)
        orphan = self._orphan if state == "accepted" else ""
        if state == "accepted" and self._way.number is None:
            state = "unrouted"
        elif orphan == "endpoints" and self._is_of_carrierx:
            state = "orphan"
        notes = (NOT_OURS,) if self._is_of_carrierx and self._way.number is not None else ()
        return _Said(
            message=self._message,
            letters=self._letters,
            endpoints=self._way.endpoints,
            state=state,
            fresh=fresh,
            orphan=orphan,
            notes=notes,
        )

    @property
    def _orphan(self) -> str:
        if self.goes_somewhere:
            return "message" if self._is_of_carrierx else ""
        return "number" if self._way.number is None else "endpoints"

    def _news(self, conn: Connection) -> tuple[frozenset[str], str]:
        """The recipients for whom this says something new, and the event's state."""
        message, at = self._message, self._callback.at
        said = {
            one: message_status.record_status(conn, message.message_sid, one, message.status, at)
            for one in message.recipients
        }
        fresh = frozenset(one for one, news in said.items() if news == "new")
        if fresh:
            return fresh, "accepted"
        return fresh, "stale" if "stale" in said.values() else "duplicate"

    def _event(self, said: _Said) -> events.NewEvent:
        notes = (*said.message.notes, self._way.why, *said.notes)
        return self._callback.event(said.message, said.state, self._body, notes)

    def _finish(self, conn: Connection, event_id: int, said: _Said) -> Accepted:
        owing: tuple[str, ...] = ()
        if said.state == "accepted":
            self._owe(conn, event_id, said.letters, said.fresh)
            self._note(conn, said)
            owing = tuple(one.name for one in said.endpoints)
        return Accepted(said.state, event_id, endpoints=(*owing, *said.woken), orphan=said.orphan)

    def _owe(self, conn: Connection, event_id: int, owed: tuple[DeliveryDraft, ...], fresh: frozenset[str]) -> None:
        hops = self._callback.hops
        bodies = [letter.to_outbox(hops) for letter in owed if fresh.intersection(letter.recipients)]
        outbox.owe(conn, event_id, bodies, self._callback.at)

    def _note(self, conn: Connection, said: _Said) -> None:
        """Of ours the ledger has all; of others only their `custom_ticket` is of use later."""
        if said.entry is not None:
            after = self._config.carrierx.missing_after
            ledger.record_status(conn, said.entry, said.message.status, self._callback.at, after)
        elif said.message.custom_ticket:
            sent = (said.message.date_created or self._callback.now).timestamp()
            for one in said.message.recipients:
                tickets.remember_custom_ticket(conn, said.message.number, one, said.message.custom_ticket, sent)


def release_waiting(conn: Connection, number: str, phone: str, config: Config) -> frozenset[str]:
    """Lets go what waits for messages from that number to that phone, as far as it is known by now: to the message's
    own receivers, and where nothing is in flight any more, as the updates of somebody else's. Whom to wake."""
    waits = events.waiting_updates(conn, number, phone)
    if not waits:
        return frozenset()
    in_flight = ledger.is_in_flight(conn, number, phone)
    woken: set[str] = set()
    # Nothing of it went out yet: in the order of the flow, whatever the order of arrival.
    for event in sorted(waits, key=lambda one: (one.message_sid, stage(one.status), one.id)):
        if in_flight and ledger.of_sid(conn, event.message_sid) is None:
            continue
        callback = Callback.of(event)
        update = AcceptStatusUpdate(callback, *callback.read(event.message_sid, config), config)
        woken.update(update.release(conn, event.id).endpoints)
    return frozenset(woken)
