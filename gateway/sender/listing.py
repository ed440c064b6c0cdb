"""Pages of CarrierX's listing, and what they prove: where they join, in which order they are. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

Item = Mapping[str, Any]

LIMIT = 1000
"""Messages on a page; CarrierX gives no more."""
OVERLAP = 20
"""Messages of a page that the next one shows again."""
SKEW = 900.0
"""Seconds by which CarrierX's clock and ours may differ."""
PROOF = 20
"""Different dates, one after the other, that prove an order."""
JUMP = 3
"""Pages before the end, where the oldest come first."""


class ListingPage(Protocol):
    """A page of a listing, as CarrierX's envelope has it. Of what it says nothing need be true."""

    @property
    def items(self) -> Sequence[Any]: ...

    @property
    def total(self) -> int | None: ...

    @property
    def has_more(self) -> bool | None: ...


class ListingRequest(NamedTuple):
    limit: int
    offset: int


class ListingPart:
    """What was read at an offset."""

    def __init__(self, offset: int, page: ListingPage) -> None:
        self.items = [tidy(item) for item in page.items]
        self.ids = [identity(item) for item in self.items]
        self.names = frozenset(self.ids)
        self.end = offset + len(self.items)
        self.overlap = min(OVERLAP, len(self.items) // 2)
        self._total, self._has_more = page.total, page.has_more

    @property
    def total(self) -> int:
        return self._total if isinstance(self._total, int) and not isinstance(self._total, bool) else -1

    @property
    def is_contradicted(self) -> bool:
        """It is the end, and the envelope says that it is not."""
        return self.total > self.end or (self.total < 0 and bool(self._has_more))

    def follows(self, before: ListingPart) -> bool:
        """Nothing stands between them."""
        return self.ids[0] in before.names if self.ids else not before.overlap


@dataclass(slots=True)
class ListingOrder:
    """What the dates prove, page by page."""

    falls: bool = True
    rises: bool = True
    dates: int = 0
    last: float | None = None
    ids: set[str] = field(default_factory=set)

    def note(self, name: str, date: float | None) -> None:
        """The next message. One that was seen before says nothing new."""
        if name in self.ids:
            return
        self.ids.add(name)
        if date is None:
            self.falls = self.rises = False
        elif self.last is not None and date != self.last:
            self.falls, self.rises = self.falls and date < self.last, self.rises and date > self.last
        self.dates += date != self.last
        self.last = date

    def is_past(self, since: float) -> bool:
        """All that follows is older than what is sought."""
        return self.falls and self.dates >= PROOF and self.last is not None and self.last < since - SKEW

    def ahead(self, page: ListingPart, since: float) -> int:
        """Where to go on, where it would take long to come to what is new; 0: at the next page."""
        known = self.rises and self.dates >= PROOF and self.last is not None and self.last < since - SKEW
        offset = page.total - JUMP * len(page.items)
        return offset if known and offset > page.end else 0

    def skips(self, page: ListingPart, since: float) -> bool:
        """What was skipped to come here is older than what is sought."""
        dates = [created(item) for item in page.items]
        known = [date for date in dates if date is not None]
        rising = len(known) == len(dates) and known == sorted(known) and bool(known)
        return rising and self.last is not None and self.last <= known[0] < since - SKEW


def same(one: str, other: str) -> bool:
    """Whether two spellings are of one number."""
    return digits(one) == digits(other)


def tidy(item: Any) -> Item:
    """A sample of the vendor's has names with a space behind them."""
    return {str(name).strip(): value for name, value in item.items()} if isinstance(item, Mapping) else {"item": item}


def sid(item: Item) -> str:
    """Empty where it has none."""
    found = item.get("message_sid")
    return found if isinstance(found, str) else ""


def identity(item: Item) -> str:
    """What tells it from others."""
    return sid(item) or repr(sorted(item.items(), key=str))


def plain(text: str) -> str:
    """As far as two spellings of a text agree."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def digits(value: Any) -> str:
    """Of a number, as far as two spellings of it agree: without the country's 1."""
    digits = re.sub(r"\D", "", value) if isinstance(value, str) else str(value) if isinstance(value, int) else ""
    return digits[1:] if len(digits) == 11 and digits.startswith("1") else digits


def created(item: Item) -> float | None:
    """`date_created` as epoch seconds."""
    try:
        made = datetime.fromisoformat(item["date_created"])
        return (made if made.tzinfo else made.replace(tzinfo=UTC)).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
