"""Search forms: what people type → conditions for the store, and the links from one page of a list to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from flask import request

from gateway.config import Config
from gateway.store.ledger import STATES, SendSearch
from gateway.store.search import EventSearch
from schemas.fields import number as normalised

Typed = dict[str, str]
Errors = dict[str, list[str]]

PAGE_ROWS = 50
EVENT_STATES = ("accepted", "duplicate", "stale", "unrouted", "refused", "waiting", "orphan")
EVENT_SOURCES = ("carrierx", "legacy-callback", "legacy-status", "legacy-send", "command")
EVENT_FIELDS = ("phone", "number", "keyword", "ticket", "message_sid", "state", "source", "since", "until")
SEND_FIELDS = ("ticket", "custom_ticket", "phone", "number", "message_sid", "state", "status", "since", "until")


def event_form(arguments: Mapping[str, str], config: Config) -> tuple[Typed, EventSearch, Errors]:
    """Returns the fields as they were typed, the search, and the mistakes in it.
    `arguments`: names and values of the query; unknown names are ignored, and so are unknown states."""
    typed, common, errors = _common(EVENT_FIELDS, arguments, config)
    # Events have the configured word: people need not remember its capitals.
    words = (keyword.word for number in config.numbers for keyword in number.keywords)
    word = typed["keyword"]
    search = EventSearch(
        **common,
        keyword=next((each for each in words if each.casefold() == word.casefold()), word),
        state=typed["state"] if typed["state"] in EVENT_STATES else "",
        source=typed["source"] if typed["source"] in EVENT_SOURCES else "",
    )
    return typed, search, errors


def send_form(arguments: Mapping[str, str], config: Config) -> tuple[Typed, SendSearch, Errors]:
    """Returns the same for texts to be sent."""
    typed, common, errors = _common(SEND_FIELDS, arguments, config)
    state = typed["state"] if typed["state"] in STATES else ""
    search = SendSearch(**common, custom_ticket=typed["custom_ticket"], state=state, status=typed["status"])
    return typed, search, errors


def _common(names: Iterable[str], arguments: Mapping[str, str], config: Config) -> tuple[Typed, dict[str, Any], Errors]:
    """The fields as typed, the conditions that both searches have, and the mistakes in them."""
    typed, errors = {name: arguments.get(name, "").strip() for name in names}, Errors()
    common: dict[str, Any] = {
        "phone": normalised(typed["phone"], config.prefix),
        "number": config.stored_number(typed["number"]),
        "ticket": typed["ticket"],
        "message_sid": typed["message_sid"],
    }
    for name in ("since", "until"):
        try:
            common[name] = epoch_time(typed[name])
        except ValueError:
            errors[name] = ["Write a time like 2026-11-20T08:00."]
    return typed, common, errors


def epoch_time(text: str) -> float | None:
    """Reads ``2026-11-20T08:00`` (UTC unless it has an offset); None for an empty text. Raises ValueError."""
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def requested_offset() -> int:
    return max(request.args.get("offset", 0, type=int), 0)


def page_links(names: Iterable[str], offset: int, more: bool) -> dict[str, str | None]:
    """The addresses of the pages with `older` and `newer` rows of this list; None where there are none.
    They keep only the arguments in `names`: `url_for` has some of its own, such as `_scheme`."""
    kept = {name: request.args[name] for name in names if request.args.get(name)}
    path = f"{request.script_root}{request.path}"
    older, newer = str(offset + PAGE_ROWS), str(max(offset - PAGE_ROWS, 0))
    return {
        "older": f"{path}?{urlencode(kept | {'offset': older})}" if more else None,
        "newer": f"{path}?{urlencode(kept | {'offset': newer})}" if offset else None,
    }
