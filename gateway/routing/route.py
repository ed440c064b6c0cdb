"""From a message to its endpoints, and to the bodies that they get. The configuration is an argument.

Bodies are written when a message comes in: every attempt sends the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.config import Config, Endpoint, Keyword, Number
from gateway.store import outbox
from schemas import (
    FORMATS,
    Body,
    CannotSay,
    FormatOptions,
    Message,
    NumberContext,
    ReceiveContext,
    enrich,
    for_recipient,
)

HOPS = "X-Gateway-Hops"
"""The header that counts the gateways a message came through, so that two of them do not pass it round for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a message goes, and why. Without endpoints it is kept as unrouted."""

    number: Number | None = None
    keyword: Keyword | None = None
    endpoints: tuple[Endpoint, ...] = ()
    why: str

    def number_context(self, config: Config, custom_ticket: str = "") -> NumberContext:
        """The facts that the configuration adds to the message, as `enrich` takes them."""
        if self.number is None:
            return NumberContext(custom_ticket=custom_ticket, partner_sid=config.carrierx.partner_sid)
        named = self.keyword or self.number
        return NumberContext(
            number=self.number.number,
            code=self.number.shortcode,
            keyword=self.keyword.word if self.keyword else "",
            default_keyword=self.number.default_keyword,
            group=named.group,
            title=named.title,
            custom_ticket=custom_ticket,
            partner_sid=config.carrierx.partner_sid,
        )


def route(message: Message, config: Config) -> Route:
    """The route of a message: a text goes to its keyword's endpoints, an update to the number's status endpoints."""
    number = config.number_for(message.number)
    if number is None:
        return Route(why="No number or short code of the configuration is the one that was texted.")
    keyword: Keyword | None = None
    if not message.inbound:
        names, why = number.status, "Status updates go to the number's status endpoints."
    elif message.keyword and (keyword := number.keyword_index.named(message.keyword)):
        names, why = keyword.callback, "The platform says that this keyword matched."
    elif match := number.keyword_index.match(message.message or ""):
        keyword, why = match.keyword, match.why
        names = keyword.callback
    else:
        names, why = number.callback, "No keyword matches: it goes to the number's own callback endpoints."
    endpoints = tuple([config.endpoints[name] for name in dict.fromkeys(names)])
    return Route(number=number, keyword=keyword, endpoints=endpoints, why=why)


def load_message(
    body: bytes, content_type: str | None, source: str, context: ReceiveContext, config: Config
) -> tuple[Message, Route]:
    """Reads the message in `body`, adds what the configuration knows of it, and routes it. Raises `BadCallback`."""
    message = FORMATS[source].load(body, content_type, context)
    found = route(message, config)
    return enrich(message, found.number_context(config)), found


def dump_message(message: Message, target: str, options: FormatOptions) -> list[Body]:
    """Writes `message` in the format `target`: one body, or one for each recipient of a group. Raises `CannotSay`."""
    if target != "legacy-status":
        return [FORMATS[target].dump(message, options)]
    return [FORMATS[target].dump(for_recipient(message, phone), options) for phone in message.recipients]


def wire_format(endpoint: Endpoint, message: Message) -> str:
    """The wire format that `endpoint` gets this message in."""
    if endpoint.format == "carrierx":
        return "carrierx"
    return "legacy-callback" if message.inbound else "legacy-status"


def ordering_key(endpoint: Endpoint, message: Message) -> str:
    """The key of deliveries that go in order: an endpoint and one conversation's texts, or one message's updates."""
    if message.inbound:
        return f"{endpoint.name}/conversation/{message.phone}/{message.number}"
    return f"{endpoint.name}/message/{message.message_sid}"


@dataclass(frozen=True, slots=True)
class DeliveryDraft:
    """One body for one endpoint, and the recipients that it is about."""

    owed: outbox.OwedDelivery
    recipients: tuple[str, ...]


def build_deliveries(message: Message, endpoints: Iterable[Endpoint], hops: int) -> tuple[DeliveryDraft, ...]:
    """The drafts of all endpoints. One whose body cannot be written holds the reason: its delivery is dead at once.
    `hops`: the number of gateways that the message came through before this one."""
    drafts = []
    for endpoint in endpoints:
        target, key = wire_format(endpoint, message), ordering_key(endpoint, message)
        bodies = [(message, message.recipients)]
        if target == "legacy-status":  # it has room for one recipient: a group gets one post each
            bodies = [(for_recipient(message, phone), (phone,)) for phone in message.recipients]
        for about, recipients in bodies:
            body: Body | CannotSay
            try:
                body = FORMATS[target].dump(about, endpoint.format_options)
                headers = (*body.headers, (HOPS, str(hops + 1)))
                body = Body(content_type=body.content_type, data=body.data, headers=headers, notes=body.notes)
            except CannotSay as error:
                body = error
            owed = outbox.OwedDelivery(endpoint=endpoint.name, wire_format=target, ordering_key=key, body=body)
            drafts.append(DeliveryDraft(owed, recipients))
    return tuple(drafts)
