"""What people type into the search, as the store's question. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.config import Config
from gateway.store import ledger
from gateway.store.search import EventSearch
from schemas.fields import number as normalised

STATES = ("accepted", "duplicate", "stale", "unrouted", "refused", "waiting", "orphan")
SOURCES = ("carrierx", "legacy-callback", "legacy-status", "legacy-send", "command")
NAMES = ("phone", "number", "keyword", "ticket", "message_sid", "state", "source", "since", "until")
SENDS = ("ticket", "custom_ticket", "phone", "number", "message_sid", "state", "status", "since", "until")


@dataclass(frozen=True, slots=True)
class EventQuery:
    """The form as it was filled in, what it means, and what in it means nothing."""

    typed: Mapping[str, str]
    search: EventSearch
    errors: Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class SendQuery:
    """The same for what is sent."""

    typed: Mapping[str, str]
    search: ledger.SendSearch
    errors: Mapping[str, list[str]]


def event_query(arguments: Mapping[str, str], config: Config) -> EventQuery:
    """`arguments`: the query's names and values; unknown names do not matter."""
    typed = {name: arguments.get(name, "").strip() for name in NAMES}
    times, errors = _times(typed)
    search = EventSearch(
        phone=normalised(typed["phone"], config.prefix),
        number=number_of(typed["number"], config),
        keyword=_keyword(typed["keyword"], config),
        ticket=typed["ticket"],
        message_sid=typed["message_sid"],
        state=typed["state"] if typed["state"] in STATES else "",
        source=typed["source"] if typed["source"] in SOURCES else "",
        **times,
    )
    return EventQuery(typed, search, errors)


def send_query(arguments: Mapping[str, str], config: Config) -> SendQuery:
    """The same for the ledger."""
    typed = {name: arguments.get(name, "").strip() for name in SENDS}
    times, errors = _times(typed)
    search = ledger.SendSearch(
        ticket=typed["ticket"],
        custom_ticket=typed["custom_ticket"],
        phone=normalised(typed["phone"], config.prefix),
        number=number_of(typed["number"], config),
        message_sid=typed["message_sid"],
        state=typed["state"] if typed["state"] in ledger.STATES else "",
        status=typed["status"],
        **times,
    )
    return SendQuery(typed, search, errors)


def _times(typed: Mapping[str, str]) -> tuple[dict[str, float | None], dict[str, list[str]]]:
    times: dict[str, float | None] = {}
    errors: dict[str, list[str]] = {}
    for name in ("since", "until"):
        try:
            times[name] = moment(typed[name])
        except ValueError:
            errors[name] = ["Write a time like 2026-11-20T08:00."]
    return times, errors


def number_of(typed: str, config: Config) -> str:
    """A number of ours as it is stored: people may write its short code, or one that is not configured any more."""
    number = config.number_for(typed) if typed else None
    return number.number if number else normalised(typed, config.prefix)


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
