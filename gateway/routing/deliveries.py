"""Every body that an event owes, translated when it comes in: each attempt will send the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.config import Endpoint
from gateway.inbound.callback import HOPS
from gateway.routing.route import ordering_key, wire_format
from gateway.store import outbox
from schemas import FORMATS, Body, CannotSay, Message, for_recipient


@dataclass(frozen=True, slots=True)
class DeliveryDraft:
    """One body for one endpoint, and the recipients that it speaks of."""

    endpoint: Endpoint
    wire_format: str
    ordering_key: str
    body: Body | CannotSay
    recipients: tuple[str, ...]

    def owed(self, hops: int, replies: bool | None = None) -> outbox.OwedDelivery:
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
    return tuple(letter for endpoint in endpoints for letter in _for_endpoint(message, endpoint))


def _for_endpoint(message: Message, endpoint: Endpoint) -> list[DeliveryDraft]:
    how = wire_format(endpoint, message)
    if how != "legacy-status":
        return [_letter(message, endpoint, how, message.recipients)]
    # A status post has room for one recipient: a group gets one each.
    return [_letter(for_recipient(message, one), endpoint, how, (one,)) for one in message.recipients]


def _letter(message: Message, endpoint: Endpoint, how: str, recipients: tuple[str, ...]) -> DeliveryDraft:
    try:
        body: Body | CannotSay = FORMATS[how].dump(message, endpoint.manners)
    except CannotSay as error:
        body = error
    return DeliveryDraft(endpoint, how, ordering_key(endpoint, message), body, recipients)
