"""One body from one format into another, as the gateway would deliver it. Pure: for commands and the console."""

from __future__ import annotations

from gateway.config import Config
from gateway.routing.route import Route, route
from schemas import FORMATS, Body, FormatOptions, Message, ReceiveContext, enrich, for_recipient


def load_message(
    body: bytes, content_type: str | None, source: str, receipt: ReceiveContext, config: Config
) -> tuple[Message, Route]:
    """The message in `body` with all that the configuration knows of it, and its route. Raises `BadCallback`."""
    message = FORMATS[source].load(body, content_type, receipt)
    way = route(message, config)
    return enrich(message, way.facts(config)), way


def dump_message(message: Message, target: str, manners: FormatOptions) -> list[Body]:
    """`message` in the format `target`: one body, or one for each recipient of a group. Raises `CannotSay`."""
    if target != "legacy-status":
        return [FORMATS[target].dump(message, manners)]
    return [FORMATS[target].dump(for_recipient(message, one), manners) for one in message.recipients]
