"""The transaction of a text that came in: kept, owed to its endpoints, answered where the configuration says so."""

from __future__ import annotations

from gateway.config import Config
from gateway.inbound.callback import Accepted, Callback
from gateway.outbound import replies
from gateway.routing.deliveries import DeliveryDraft, build_deliveries
from gateway.routing.route import Route
from gateway.store import Connection, events, ledger, message_status, outbox, tickets
from schemas import Message
from schemas.message import replace


class AcceptMessage:
    """The writer runs it, alone or among others, perhaps a second time."""

    def __init__(self, callback: Callback, message: Message, way: Route, config: Config) -> None:
        self._callback, self._message, self._way, self._config = callback, message, way, config
        # Translated, and scrubbed, before the transaction: while it lasts, nobody else can write.
        self._letters = build_deliveries(message, way.endpoints)
        self._body = callback.kept_bytes()
        self._replies = replies.plan_replies(message, way, config)
        self.ordering_keys = (*(letter.ordering_key for letter in self._letters), *self._replies.ordering_keys)

    @property
    def goes_somewhere(self) -> bool:
        return bool(self._way.endpoints)

    def __call__(self, conn: Connection) -> Accepted:
        state = "accepted" if self._is_news(conn) else "duplicate"
        message, owed = self._with_ticket(conn) if state == "accepted" else (self._message, self._letters)
        if state == "accepted" and not self.goes_somewhere and not self._replies.text:
            state = "unrouted"
        event_id = events.add(conn, self._callback.event(message, state, self._body, (*message.notes, self._way.why)))
        owing: tuple[str, ...] = ()
        if state == "accepted":
            self._owe(conn, event_id, owed, self._replies.wants_answer)
            owing = tuple(one.name for one in self._way.endpoints)
        if state != "duplicate" and self._replies.owe(conn, event_id, self._callback.at):
            owing = (*owing, ledger.ENDPOINT)
        return Accepted(state, event_id, endpoints=owing)

    def again(self, conn: Connection, event_id: int) -> bool:
        """The same for an event that was kept without a route. Nobody is answered now: that time is over."""
        if not events.mark_routed(conn, event_id, self._message.keyword, (*self._message.notes, self._way.why)):
            return False
        self._owe(conn, event_id, self._with_ticket(conn)[1], wants_answer=False)
        return True

    def _is_news(self, conn: Connection) -> bool:
        """Each keyword callback is a text of its own: the platform gives them no id."""
        message, at = self._message, self._callback.at
        if self._callback.format != "carrierx":
            return True
        return message_status.record_status(conn, message.message_sid, message.to, message.status, at) == "new"

    def _with_ticket(self, conn: Connection) -> tuple[Message, tuple[DeliveryDraft, ...]]:
        """With the `custom_ticket` of the last message sent to that phone from that number. Most texts answer none."""
        message = self._message
        ticket = tickets.last_custom_ticket(conn, message.number, message.phone) if message.legacy is None else ""
        if not ticket or ticket == message.custom_ticket:
            return message, self._letters
        message = replace(message, custom_ticket=ticket)
        return message, build_deliveries(message, self._way.endpoints)

    def _owe(self, conn: Connection, event_id: int, owed: tuple[DeliveryDraft, ...], wants_answer: bool) -> None:
        hops = self._callback.hops
        # The keyword's first endpoint answers, the others hear of it.
        bodies = [one.to_outbox(hops, True if wants_answer and not at else None) for at, one in enumerate(owed)]
        outbox.owe(conn, event_id, bodies, self._callback.at)
