"""The transaction of an inbound text: kept, owed to its endpoints, and replied to where the configuration says so."""

from __future__ import annotations

from gateway.config import Config
from gateway.inbound.callback import Accepted, Callback
from gateway.outbound.replies import plan_replies
from gateway.routing.deliveries import DeliveryDraft, build_deliveries
from gateway.routing.route import Route
from gateway.store import Connection, events, ledger, message_status, outbox
from schemas import Message
from schemas.message import replace


class AcceptMessage:
    """The transaction. The writer runs it, alone or among others, perhaps a second time."""

    def __init__(self, callback: Callback, message: Message, route: Route, config: Config) -> None:
        self._callback, self._message, self._route = callback, message, route
        self._now = callback.now.timestamp()
        # Translated, and scrubbed, before the transaction: while it lasts, nobody else can write.
        self._drafts = build_deliveries(message, route.endpoints)
        self._body = callback.kept_bytes()
        self._replies = plan_replies(message, route, config)
        self.ordering_keys = (*(draft.ordering_key for draft in self._drafts), *self._replies.ordering_keys)

    def __call__(self, conn: Connection) -> Accepted:
        message, route, drafts = self._message, self._route, self._drafts
        # Each keyword callback is a text of its own: the platform gives them no id.
        is_new = self._callback.format != "carrierx" or (
            message_status.record_status(conn, message.message_sid, message.to, message.status, self._now) == "new"
        )
        state = "duplicate"
        if is_new:
            message, drafts = self._with_custom_ticket(conn)
            state = "accepted" if route.endpoints or self._replies.text else "unrouted"
        event_id = events.add(conn, self._callback.event(message, state, self._body, (*message.notes, route.why)))
        endpoints: tuple[str, ...] = ()
        if state == "accepted":
            self._owe(conn, event_id, drafts, self._replies.wants_answer)
            endpoints = tuple([endpoint.name for endpoint in route.endpoints])
        if is_new and self._replies.owe(conn, event_id, self._now):
            endpoints = (*endpoints, ledger.ENDPOINT)
        return Accepted(state, event_id, endpoints=endpoints)

    def reroute(self, conn: Connection, event_id: int) -> bool:
        """Owes the deliveries of an event that was kept without a route. It is too late for replies."""
        if not events.mark_routed(conn, event_id, self._message.keyword, (*self._message.notes, self._route.why)):
            return False
        _, drafts = self._with_custom_ticket(conn)
        self._owe(conn, event_id, drafts, wants_answer=False)
        return True

    def _with_custom_ticket(self, conn: Connection) -> tuple[Message, tuple[DeliveryDraft, ...]]:
        """Adds the `custom_ticket` of the last message sent to that phone from that number. Most texts have none."""
        message = self._message
        ticket = message_status.last_custom_ticket(conn, message.to, message.from_) if message.legacy is None else ""
        if not ticket or ticket == message.custom_ticket:
            return message, self._drafts
        message = replace(message, custom_ticket=ticket)
        return message, build_deliveries(message, self._route.endpoints)

    def _owe(self, conn: Connection, event_id: int, drafts: tuple[DeliveryDraft, ...], wants_answer: bool) -> None:
        hops = self._callback.hops
        # The answer of the keyword's first endpoint is texted back, the others only get the text.
        owed = [draft.to_outbox(hops, True if wants_answer and not at else None) for at, draft in enumerate(drafts)]
        outbox.owe(conn, event_id, owed, self._now)
