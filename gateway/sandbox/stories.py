"""What became of something that went in at the sandbox's page: read from the store, and from the stand-in's records."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flask import current_app, request

from gateway.config import Config, Number
from gateway.sandbox.platforms import Reply, records
from gateway.store import search as kept
from gateway.web.context import config, web_context

REMEMBERED = 100
AGAIN = 1
"""Seconds after which a page that is not finished looks again."""
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104


@dataclass(frozen=True, slots=True)
class Step:
    """One callback that went in, everything that it became, and what the stand-in says."""

    event: Any
    deliveries: tuple[kept.Delivery, ...]
    records: dict[str, list[dict[str, Any]]]


def steps(*asked: kept.EventSearch, ids: Collection[int] = ()) -> list[Step]:
    """Of all events that are found, and those with these ids; the oldest first."""
    with web_context().store.reader() as connection:
        found = {one.event.id for what in asked for one in kept.search_events(connection, what).found}
        wholes = [kept.load_event(connection, id) for id in sorted(found.union(ids))]
    page = page_address(config())
    return [
        Step(one.event, one.deliveries, {each.delivery_id: records(page, each.delivery_id) for each in one.deliveries})
        for one in wholes
        if one is not None
    ]


def under_way(found: list[Step]) -> bool:
    return any(each.state == "pending" for step in found for each in step.deliveries)


def number_of(text: str) -> Number:
    return config().number_for(text) or config().numbers[0]


def page_address(now: Config) -> str:
    """Where the stand-in for applications is: the place of the first endpoint."""
    parts = urlsplit(next(iter(now.endpoints.values())).url)
    return f"{parts.scheme}://{parts.netloc}"


def carrierx_address(now: Config) -> str:
    """Where the stand-in for CarrierX is."""
    parts = urlsplit(now.carrierx.base_url)
    return f"{parts.scheme}://{parts.netloc}"


def own_address() -> str:
    """How this process reaches itself. Never by what the caller says of it."""
    server = request.server or ("127.0.0.1", None)
    host, port = next(iter(current_app.config.get("OWN_ADDRESSES") or {("127.0.0.1", server[1])}))
    name = EVERYWHERE.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


def replies() -> OrderedDict[str, list[Reply]]:
    found: OrderedDict[str, list[Reply]] = current_app.extensions["replies"]
    return found


def remember(id: str, came: list[Reply]) -> None:
    """The answers are in no store: they stand on the page for as long as this process remembers."""
    replies()[id] = came
    while len(replies()) > REMEMBERED:
        replies().popitem(last=False)
