"""The bodies that a message owes its endpoints, written when it comes in: every attempt sends the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.config import Endpoint
from gateway.routing.route import ordering_key, wire_format
from gateway.store import outbox
from schemas import FORMATS, Body, CannotSay, Message, for_recipient

HOPS = "X-Gateway-Hops"
"""The header that counts the gateways a message came through, so that two of them do not pass it round for ever."""


@dataclass(frozen=True, slots=True)
class DeliveryDraft:
    """One body for one endpoint, and the recipients that it is about."""

    endpoint: Endpoint
    wire_format: str
    ordering_key: str
    body: Body | CannotSay
    recipients: tuple[str, ...]

    def to_outbox(self, hops: int, replies: bool | None = None) -> outbox.OwedDelivery:
        """The delivery as the outbox keeps it; `hops`: gateways that the message came through before this one."""
        body = self.body
        if isinstance(body, Body):
            headers = (*body.headers, (HOPS, str(hops + 1)))
            body = Body(content_type=body.content_type, data=body.data, headers=headers, notes=body.notes)
        return outbox.OwedDelivery(
            endpoint=self.endpoint.name,
            wire_format=self.wire_format,
            ordering_key=self.ordering_key,
            body=body,
            replies=replies,
        )


def build_deliveries(message: Message, endpoints: Iterable[Endpoint]) -> tuple[DeliveryDraft, ...]:
    """The drafts of all endpoints. One whose body cannot be written holds the reason: its delivery is dead at once."""
    drafts = []
    for endpoint in endpoints:
        target = wire_format(endpoint, message)
        bodies = [(message, message.recipients)]
        if target == "legacy-status":  # it has room for one recipient: a group gets one post each
            bodies = [(for_recipient(message, phone), (phone,)) for phone in message.recipients]
        for about, recipients in bodies:
            try:
                body: Body | CannotSay = FORMATS[target].dump(about, endpoint.format_options)
            except CannotSay as error:
                body = error
            drafts.append(DeliveryDraft(endpoint, target, ordering_key(endpoint, message), body, recipients))
    return tuple(drafts)
