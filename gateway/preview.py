"""A preview of one body: how it is read, its route, and what the other side would get. Nothing is sent. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.config import Config
from gateway.routing.route import Route, dump_message, load_message, wire_format
from schemas import BadCallback, Body, CannotSay, FormatOptions, Message, ReceiveContext, wire
from schemas.fields import timestamp

FORMATS = ("carrierx", "legacy-callback", "legacy-status")
_FACTS = (
    *("direction", "phone", "number", "code", "message", "status", "message_sid", "message_segments", "keyword"),
    *("group", "title", "carrier", "ticket", "custom_ticket", "user_data", "price"),
)
_LABELS = {"message": "text", "message_segments": "segments"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewBody:
    """The message in one wire format, for one endpoint with its options; without endpoint as documented."""

    endpoint: str = ""
    format: str
    bodies: Sequence[Body] = ()  # one; or one for each recipient of a group
    error: str = ""  # the reason why the format cannot express the message

    def as_json(self) -> dict[str, Any]:
        bodies = [
            {
                "content_type": body.content_type,
                "headers": body.headers,
                "body": body.data.decode("utf-8", "replace"),
                "notes": body.notes,
            }
            for body in self.bodies
        ]
        return {"endpoint": self.endpoint, "format": self.format, "bodies": bodies, "error": self.error}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A body, read and written again."""

    format: str
    message: Message
    route: Route
    other_side: PreviewBody
    deliveries: Sequence[PreviewBody]  # the bodies that the endpoints of the route would get

    def as_json(self) -> dict[str, Any]:
        route = self.route
        return {
            "format": self.format,
            "notes": self.message.notes,
            "route": {
                "number": route.number and route.number.number,
                "keyword": route.keyword and route.keyword.word,
                "endpoints": [endpoint.name for endpoint in route.endpoints],
                "why": route.why,
            },
            "other_side": self.other_side.as_json(),
            "deliveries": [each.as_json() for each in self.deliveries],
        }


def preview(body: bytes, source: str, context: ReceiveContext, config: Config) -> Preview:
    """Reads `body` as the format `source` (empty: guessed), and writes it as the other side's. Raises `BadCallback`."""
    source = source or _guess(body)
    message, route = load_message(body, None, source, context, config)
    other_side = "carrierx" if source != "carrierx" else "legacy-callback" if message.inbound else "legacy-status"
    return Preview(
        format=source,
        message=message,
        route=route,
        other_side=_written("", other_side, message, FormatOptions(prefix=config.prefix)),
        deliveries=[
            _written(each.name, wire_format(each, message), message, each.format_options) for each in route.endpoints
        ],
    )


def _guess(body: bytes) -> str:
    """The most likely format: by the first character, then by the name of the handset's field."""
    if body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        return "carrierx"
    try:
        names = wire.read_form(body, None).firsts()
    except BadCallback:
        return "legacy-callback"
    return "legacy-status" if "sendTo" in names and "phone" not in names else "legacy-callback"


def _written(endpoint: str, target: str, message: Message, options: FormatOptions) -> PreviewBody:
    try:
        return PreviewBody(endpoint=endpoint, format=target, bodies=dump_message(message, target, options))
    except CannotSay as error:
        return PreviewBody(endpoint=endpoint, format=target, error=str(error))


def facts(message: Message) -> list[tuple[str, str]]:
    """The fields of a message for people: names and values, without empty ones."""
    pairs = [
        *((_LABELS.get(name, name), getattr(message, name)) for name in _FACTS),
        ("recipients", ", ".join(message.group_recipients)),
        ("media", "\n".join(message.media_urls)),
        ("created", timestamp(message.date_created)),
        ("status changed", timestamp(message.date_status_changed)),
    ]
    return [(name, str(value)) for name, value in pairs if value not in (None, "")]
