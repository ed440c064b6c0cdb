"""One pasted body through the gateway without sending anything: how it is read, its route, the other side. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.config import Config
from gateway.routing.route import Route, dump_message, load_message
from gateway.routing.route import wire_format as kind_for
from schemas import BadCallback, Body, CannotSay, FormatOptions, Message, ReceiveContext, wire
from schemas.fields import timestamp

FORMATS = ("carrierx", "legacy-callback", "legacy-status")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewBody:
    """The message in one wire format: for one endpoint with its options, or as documented where `endpoint` is empty."""

    endpoint: str = ""
    format: str
    bodies: Sequence[Body] = ()
    """One; or one for each recipient of a group."""
    error: str = ""
    """Why the format cannot say it."""

    def as_json(self) -> dict[str, Any]:
        bodies = [
            {
                "content_type": body.content_type,
                "headers": [list(pair) for pair in body.headers],
                "body": body.data.decode("utf-8", "replace"),
                "notes": list(body.notes),
            }
            for body in self.bodies
        ]
        return {"endpoint": self.endpoint, "format": self.format, "bodies": bodies, "error": self.error}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A pasted body, read and written again."""

    format: str
    message: Message
    route: Route
    other_side: PreviewBody
    deliveries: Sequence[PreviewBody]
    """What each endpoint of the route would get."""

    def as_json(self) -> dict[str, Any]:
        way = self.route
        return {
            "format": self.format,
            "notes": list(self.message.notes),
            "route": {
                "number": way.number and way.number.number,
                "keyword": way.keyword and way.keyword.word,
                "endpoints": [endpoint.name for endpoint in way.endpoints],
                "why": way.why,
            },
            "other_side": self.other_side.as_json(),
            "deliveries": [each.as_json() for each in self.deliveries],
        }


def preview(body: bytes, source: str, receipt: ReceiveContext, config: Config) -> Preview:
    """`body` read as the format `source` (empty: guessed) and written as the other side's. Raises `BadCallback`."""
    source = source or guess(body)
    message, way = load_message(body, None, source, receipt, config)
    return Preview(
        format=source,
        message=message,
        route=way,
        other_side=_written("", _other_side(source, message), message, FormatOptions(prefix=config.prefix)),
        deliveries=[
            _written(each.name, kind_for(each, message), message, each.format_options) for each in way.endpoints
        ],
    )


def guess(body: bytes) -> str:
    """The format that this most likely is: by its first character, then by the handset's field."""
    if body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        return "carrierx"
    try:
        names = wire.read_form(body, None).firsts()
    except BadCallback:
        return "legacy-callback"
    return "legacy-status" if "sendTo" in names and "phone" not in names else "legacy-callback"


def _other_side(source: str, message: Message) -> str:
    if source != "carrierx":
        return "carrierx"
    return "legacy-callback" if message.inbound else "legacy-status"


def _written(endpoint: str, target: str, message: Message, options: FormatOptions) -> PreviewBody:
    try:
        return PreviewBody(endpoint=endpoint, format=target, bodies=dump_message(message, target, options))
    except CannotSay as error:
        return PreviewBody(endpoint=endpoint, format=target, error=str(error))


def facts(message: Message) -> list[tuple[str, str]]:
    """What was read, for people: names and values, without what is empty."""
    said = [
        ("direction", message.direction),
        ("phone", message.phone),
        ("number", message.number),
        ("code", message.code),
        ("text", message.message),
        ("status", message.status),
        ("message_sid", message.message_sid),
        ("segments", message.message_segments),
        ("keyword", message.keyword),
        ("group", message.group),
        ("title", message.title),
        ("carrier", message.carrier),
        ("ticket", message.ticket),
        ("custom_ticket", message.custom_ticket),
        ("user_data", message.user_data),
        ("recipients", ", ".join(message.group_recipients)),
        ("media", "\n".join(message.media_urls)),
        ("price", message.price),
        ("created", timestamp(message.date_created)),
        ("status changed", timestamp(message.date_status_changed)),
    ]
    return [(name, str(value)) for name, value in said if value not in (None, "")]
