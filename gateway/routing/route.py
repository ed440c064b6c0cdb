"""Message → endpoints. Pure: the configuration is an argument."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config import Config, Endpoint, Keyword, Number
from gateway.matching import keywords
from schemas import Message, NumberContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a message goes, and why. No endpoints: it is kept as unrouted."""

    number: Number | None = None
    keyword: Keyword | None = None
    endpoints: tuple[Endpoint, ...] = ()
    why: str

    def facts(self, config: Config, custom_ticket: str = "") -> NumberContext:
        """What the configuration knows about this message, for the crossing."""
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
    """The endpoints of the number's keyword for a text, the number's status endpoints for an update."""
    number = config.number_for(message.number)
    if number is None:
        return Route(why="No number or short code of the configuration is the one that was texted.")
    if not message.inbound:
        return Route(
            number=number,
            endpoints=_endpoints(number.status, config),
            why="Status updates go to the number's status endpoints.",
        )
    return _by_keyword(message, number, config)


def _by_keyword(message: Message, number: Number, config: Config) -> Route:
    named = keywords.named(message.keyword, number.keywords) if message.keyword else None
    if named is not None:
        return _to(number, named, "The platform says that this keyword matched.", config)
    match = keywords.match(message.message or "", number.keywords)
    if match is not None:
        return _to(number, match.keyword, match.why, config)
    return Route(
        number=number,
        endpoints=_endpoints(number.callback, config),
        why="No keyword matches: it goes to the number's own callback endpoints.",
    )


def _to(number: Number, keyword: Keyword, why: str, config: Config) -> Route:
    return Route(number=number, keyword=keyword, endpoints=_endpoints(keyword.callback, config), why=why)


def _endpoints(names: tuple[str, ...], config: Config) -> tuple[Endpoint, ...]:
    return tuple([config.endpoints[name] for name in dict.fromkeys(names)])


def wire_format(endpoint: Endpoint, message: Message) -> str:
    """The wire format that `endpoint` gets this message in."""
    if endpoint.format == "carrierx":
        return "carrierx"
    return "legacy-callback" if message.inbound else "legacy-status"


def ordering_key(endpoint: Endpoint, message: Message) -> str:
    """What must arrive in order at one endpoint: one conversation's texts, one message's updates."""
    if message.inbound:
        return f"{endpoint.name}/conversation/{message.phone}/{message.number}"
    return f"{endpoint.name}/message/{message.message_sid}"
