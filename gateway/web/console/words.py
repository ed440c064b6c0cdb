"""How things stand, in words, for the console's overview."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from gateway.config import Config
from gateway.store import health
from gateway.store.breakers import BreakerState
from gateway.web.console.filters import ago
from gateway.web.status_cache import Pair

ABSENT = 6 * health.EVERY
"""Seconds without a sign of life after which people are told that nobody delivers."""
SILENT = 86_400.0
"""Seconds after which a keyword's silence is worth a line."""
MOST = 50
SENDS: Mapping[str, str] = MappingProxyType(
    {
        "owed": "It waits for its turn, or for CarrierX.",
        "sending": "A request has left; its answer is not known yet. Before it is sent again, CarrierX is asked.",
        "sent": "CarrierX has it.",
        "refused": "It was not sent, and will not be by itself.",
        "undecided": "It may have been sent, and the gateway cannot tell. It waits for you.",
    }
)
"""State in the ledger → what that means."""
SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "carrierx": "CarrierX's callback",
        "legacy-callback": "keyword callback",
        "legacy-status": "status post",
        "legacy-send": "a call to send",
        "command": "a command to send",
    }
)
EVENTS: Mapping[str, str] = MappingProxyType(
    {
        "waiting": "Something is on its way to this phone. This waits until it is known of which message it speaks.",
        "orphan": "An update of a message that this gateway did not send, or knows no more. Nobody hears of it.",
    }
)
"""States of events that do not explain themselves."""
ORIGINS: Mapping[str, str] = MappingProxyType(
    {
        "legacy": "a call of the legacy platform's web service",
        "command": "the command gateway send",
        "reply": "a keyword's reply",
        "opt-out": "the answer to STOP, START or HELP",
    }
)


@dataclass(frozen=True, slots=True)
class Paused:
    badge: str
    """One word."""
    text: str


@dataclass(frozen=True, slots=True)
class Silent:
    """A keyword that was not texted for long."""

    number: str
    title: str
    word: str
    last: float
    """When it was, or the time of the oldest event of all."""


def breaker(state: BreakerState, now: float) -> Paused:
    """``paused until 12:03:10: 7 failures in a row; next probe in 20 s``"""
    # What it answered last stands beside this already.
    why = f"{state.failures} failures in a row" if state.failures > 1 else state.reason.rstrip(". ") or "it failed"
    if state.state == "open":
        return Paused("paused", f"until {clock(state.until)}: {why}; next probe in {ago(state.until - now)}")
    if state.state == "half_open":
        return Paused("probed", f"since {clock(state.since)}, one delivery at a time: {why}")
    return Paused("recovering", f"since {clock(state.since)}: more and more deliveries side by side")


def absent(worker: float | None, now: float) -> str:
    """What to say where nobody delivers; empty where somebody does."""
    if worker is None:
        return "No worker has ever run with this store: nothing is delivered until one does."
    if now - worker <= ABSENT:
        return ""
    return f"No worker has given a sign of life for {ago(now - worker)}: nothing is delivered until one runs."


def silent(heard: Mapping[Pair, float], config: Config, now: float) -> list[Silent]:
    """Those that are silent the longest first."""
    titles = {
        (number.number, keyword.word): (number.shortcode, keyword.title or number.title)
        for number in config.numbers
        for keyword in number.keywords
    }
    found = sorted((last, pair) for pair, last in heard.items() if now - last >= SILENT)
    return [Silent(*titles.get(pair, (pair[0], "")), pair[1], last) for last, pair in found[:MOST]]


def clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S}"
