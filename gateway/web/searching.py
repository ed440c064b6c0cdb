"""What people type into the search, as the store's question. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.config import Config
from gateway.store.records import Search
from schemas.fields import number as normalised

STATES = ("accepted", "duplicate", "stale", "unrouted", "refused")
SOURCES = ("carrierx", "legacy-callback", "legacy-status")
NAMES = ("phone", "number", "keyword", "ticket", "message_sid", "state", "source", "since", "until")


@dataclass(frozen=True, slots=True)
class Asked:
    """The form as it was filled in, what it means, and what in it means nothing."""

    typed: Mapping[str, str]
    search: Search
    errors: Mapping[str, list[str]]


def asked(arguments: Mapping[str, str], config: Config) -> Asked:
    """`arguments`: the query's names and values; unknown names do not matter."""
    typed = {name: arguments.get(name, "").strip() for name in NAMES}
    times, errors = {}, {}
    for name in ("since", "until"):
        try:
            times[name] = moment(typed[name])
        except ValueError:
            errors[name] = ["Write a time like 2026-11-20T08:00."]
    number = config.number_for(typed["number"]) if typed["number"] else None
    search = Search(
        phone=normalised(typed["phone"], config.prefix),
        number=number.number if number else normalised(typed["number"], config.prefix),
        keyword=_keyword(typed["keyword"], config),
        ticket=typed["ticket"],
        message_sid=typed["message_sid"],
        state=typed["state"] if typed["state"] in STATES else "",
        source=typed["source"] if typed["source"] in SOURCES else "",
        **times,
    )
    return Asked(typed, search, errors)


def moment(text: str) -> float | None:
    """``2026-11-20T08:00`` (UTC unless it says otherwise) as an epoch time; None for nothing. Raises ValueError."""
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _keyword(typed: str, config: Config) -> str:
    """Events have the configured word: people need not remember its capitals."""
    words = (keyword.word for number in config.numbers for keyword in number.keywords)
    return next((word for word in words if word.casefold() == typed.casefold()), typed)
