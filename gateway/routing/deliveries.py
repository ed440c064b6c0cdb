"""Every body that an event owes, translated when it comes in: each attempt will send the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.config import Endpoint
from gateway.inbound.callback import HOPS
from gateway.routing.route import kind, lane
from gateway.store import outbox
from schemas import FORMATS, Body, CannotSay, Message, for_recipient


@dataclass(frozen=True, slots=True)
class Letter:
    """One body for one endpoint, and the recipients that it speaks of."""

    endpoint: Endpoint
    kind: str
    lane: str
    body: Body | CannotSay
    recipients: tuple[str, ...]

    def owed(self, hops: int, replies: bool | None = None) -> outbox.Owed:
        body = self.body
        if isinstance(body, Body):
            headers = (*body.headers, (HOPS, str(hops + 1)))
            body = Body(content_type=body.content_type, data=body.data, headers=headers, notes=body.notes)
        return outbox.Owed(endpoint=self.endpoint.name, kind=self.kind, lane=self.lane, body=body, replies=replies)


def letters(message: Message, endpoints: Iterable[Endpoint]) -> tuple[Letter, ...]:
    return tuple(letter for endpoint in endpoints for letter in _for_endpoint(message, endpoint))


def _for_endpoint(message: Message, endpoint: Endpoint) -> list[Letter]:
    how = kind(endpoint, message)
    if how != "legacy-status":
        return [_letter(message, endpoint, how, message.recipients)]
    # A status post has room for one recipient: a group gets one each.
    return [_letter(for_recipient(message, one), endpoint, how, (one,)) for one in message.recipients]


def _letter(message: Message, endpoint: Endpoint, how: str, recipients: tuple[str, ...]) -> Letter:
    try:
        body: Body | CannotSay = FORMATS[how].dump(message, endpoint.manners)
    except CannotSay as error:
        body = error
    return Letter(endpoint, how, lane(endpoint, message), body, recipients)
