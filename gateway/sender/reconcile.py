"""Finds out from CarrierX's listing whether a message was sent whose answer was lost. Pure: the caller reads the pages.

    steps = find_message(wanted)
    offset = next(steps)
    while True:
        offset = steps.send(api.messages(PAGE_SIZE, offset))        # StopIteration.value is the verdict

Nothing is known of the listing's order, and messages come into it while it is read. So each page begins within the one
before it: its first message has been seen, or something was skipped, and all is read anew. The end is where a page
shows nothing behind what was known; what the envelope says of it (`total`, `has_more`) can only raise doubts. Fewer
pages are read where the dates prove the order: the newest first, down to the time of the sending; the oldest first,
from shortly before it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.carrierx.responses import Page

PAGE_SIZE = 1000  # messages on a page; CarrierX gives no more
MAX_MESSAGES = 100_000  # the longest listing that is read
MAX_STARTS = 4  # how often a listing is read from its beginning, where it changes too fast
MAX_OVERLAP = 20  # messages of a page that the next one shows again
MAX_CLOCK_DIFFERENCE_SECONDS = 900.0  # between CarrierX's clock and ours
PROVING_DATES = 20  # different dates, one after the other, that prove an order
PAGES_BEFORE_END = 3  # where the oldest come first, reading goes on so many pages before the end

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A message as it was to be sent."""

    send_id: str
    number: str
    phone: str
    text: str
    since: float  # epoch seconds by our clock: its request did not leave earlier


@dataclass(frozen=True, slots=True)
class MessageFound:
    item: Item


@dataclass(frozen=True, slots=True)
class MessageAbsent:
    """The whole listing was seen, and the message is not in it."""


@dataclass(frozen=True, slots=True)
class ListingUnreadable:
    """Not all of the listing could be seen, this time."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The message may be there, and the listing cannot tell."""

    reason: str
    sids: frozenset[str] = frozenset()
    """`message_sid`s of messages that may be it. Where all of them are known to be others, it is absent."""


ReconcileVerdict = MessageFound | MessageAbsent | ListingUnreadable | Ambiguous

TWICE = "CarrierX has more than one message of this id."
NAMELESS = "CarrierX has it, without a message_sid."
ALIKE = "CarrierX has a message like it, which does not say whose it is."
TOO_FAST = "CarrierX's listing changes faster than it can be read."
TOO_LONG = f"CarrierX's listing is longer than {MAX_MESSAGES:,} messages."
NOT_SHOWN = "CarrierX's listing says that there is more than it shows."


def find_message(wanted: Wanted) -> Generator[int, Page, ReconcileVerdict]:
    """Yields the offset of each page that it needs, and returns a verdict."""
    candidates = _Candidates(wanted)
    for _ in range(MAX_STARTS):
        verdict = yield from _read(candidates, wanted.since)
        if verdict is not None:
            return verdict
    return ListingUnreadable(TOO_FAST)


def _read(candidates: _Candidates, since: float) -> Generator[int, Page, ReconcileVerdict | None]:
    """Reads from the beginning. None: something was skipped."""
    first = page = ListingPart(0, (yield 0))
    order = ListingOrder()
    candidates.add(page, order)
    if candidates.hit is None and (ahead := order.ahead(page, since)):
        jumped = ListingPart(ahead, (yield ahead))
        page = jumped if order.skips(jumped, since) else page
        candidates.add(jumped, order)
    pages = 1
    while candidates.hit is None and not order.is_past(since):
        if page.end >= MAX_MESSAGES and page.items:
            return ListingUnreadable(TOO_LONG)
        offset = page.end - page.overlap
        following = ListingPart(offset, (yield offset))
        candidates.add(following, order)
        if not following.follows(page):
            return candidates.hit
        if following.end <= page.end:
            return (yield from _end(candidates, first, following, pages))
        page, pages = following, pages + 1
    return candidates.hit or candidates.otherwise()


def _end(
    candidates: _Candidates, first: ListingPart, last: ListingPart, pages: int
) -> Generator[int, Page, ReconcileVerdict | None]:
    if last.is_contradicted:
        return candidates.hit or ListingUnreadable(NOT_SHOWN)
    if pages > 1 and candidates.hit is None:
        # In a listing by the last change, the message may have gone to the front meanwhile.
        again = ListingPart(0, (yield 0))
        candidates.add(again, ListingOrder())
        if not first.id_set & again.id_set:
            return candidates.hit
    return candidates.hit or candidates.otherwise()


class _Candidates:
    """Messages of the listing that may be the wanted one."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted, self._text = wanted, _comparable(wanted.text)
        self._hits: dict[str, Item] = {}
        self._alike: set[str] = set()

    def add(self, part: ListingPart, order: ListingOrder) -> None:
        for id_, item in zip(part.ids, part.items, strict=True):
            order.note(id_, created(item))
            user_data = item.get("user_data")
            if isinstance(user_data, str) and user_data.strip() == self._wanted.send_id:
                self._hits[_sid(item)] = item
            elif user_data in (None, "", "null") and self._is_alike(item):
                self._alike.add(_sid(item))

    @property
    def hit(self) -> ReconcileVerdict | None:
        if len(self._hits) > 1:
            return Ambiguous(TWICE)
        if "" in self._hits:
            return Ambiguous(NAMELESS)
        return next((MessageFound(item) for item in self._hits.values()), None)

    def otherwise(self) -> ReconcileVerdict:
        return Ambiguous(ALIKE, frozenset(self._alike)) if self._alike else MessageAbsent()

    def _is_alike(self, item: Item) -> bool:
        wanted, text, date = self._wanted, item.get("message"), created(item)
        return (
            item.get("direction") != "inbound"
            and _digits(item.get("from", item.get("from_did"))) in ("", _digits(wanted.number))
            and _digits(item.get("to", item.get("to_did"))) in ("", _digits(wanted.phone))
            and (not isinstance(text, str) or _comparable(text) == self._text)
            and (date is None or date >= wanted.since - MAX_CLOCK_DIFFERENCE_SECONDS)
        )


class ListingPart:
    """The messages that were read at an offset. Nothing of what the page's envelope says need be true."""

    def __init__(self, offset: int, page: Page) -> None:
        # A sample of the vendor's has names with a space behind them.
        self.items: list[Item] = [
            {str(name).strip(): value for name, value in item.items()} if isinstance(item, Mapping) else {"item": item}
            for item in page.items
        ]
        self.ids = [_sid(item) or repr(sorted(item.items(), key=str)) for item in self.items]
        self.id_set = frozenset(self.ids)
        self.end = offset + len(self.items)
        self.overlap = min(MAX_OVERLAP, len(self.items) // 2)
        self.total = page.total if isinstance(page.total, int) and not isinstance(page.total, bool) else -1
        self._has_more = page.has_more

    @property
    def is_contradicted(self) -> bool:
        """True if this is the end, and the envelope says that it is not."""
        return self.total > self.end or (self.total < 0 and bool(self._has_more))

    def follows(self, before: ListingPart) -> bool:
        """True if no message stands between the two."""
        return self.ids[0] in before.id_set if self.ids else not before.overlap


@dataclass(slots=True)
class ListingOrder:
    """The order that the dates prove, page by page."""

    falls: bool = True
    rises: bool = True
    dates: int = 0
    last: float | None = None
    ids: set[str] = field(default_factory=set)

    def note(self, id_: str, date: float | None) -> None:
        """Takes the next message. One that was seen before says nothing new."""
        if id_ in self.ids:
            return
        self.ids.add(id_)
        if date is None:
            self.falls = self.rises = False
        elif self.last is not None and date != self.last:
            self.falls, self.rises = self.falls and date < self.last, self.rises and date > self.last
        self.dates += date != self.last
        self.last = date

    def is_past(self, since: float) -> bool:
        """True if all that follows is older than the wanted message."""
        return self.falls and self._is_before(since)

    def ahead(self, page: ListingPart, since: float) -> int:
        """The offset to go on at, where it would take long to come to what is new; 0: at the next page."""
        offset = page.total - PAGES_BEFORE_END * len(page.items)
        return offset if self.rises and self._is_before(since) and offset > page.end else 0

    def _is_before(self, since: float) -> bool:
        return (
            self.dates >= PROVING_DATES and self.last is not None and self.last < since - MAX_CLOCK_DIFFERENCE_SECONDS
        )

    def skips(self, page: ListingPart, since: float) -> bool:
        """True if all that was skipped to come to this page is older than the wanted message."""
        dates = [created(item) for item in page.items]
        known = [date for date in dates if date is not None]
        rising = len(known) == len(dates) and known == sorted(known) and bool(known)
        limit = since - MAX_CLOCK_DIFFERENCE_SECONDS
        return rising and self.last is not None and self.last <= known[0] < limit


def same_number(number: str, other: str) -> bool:
    """True for two spellings of one number."""
    return _digits(number) == _digits(other)


def _sid(item: Item) -> str:
    """The message_sid; empty where it has none."""
    found = item.get("message_sid")
    return found if isinstance(found, str) else ""


def _comparable(text: str) -> str:
    """A text as far as two spellings of it agree."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _digits(value: Any) -> str:
    """A number as far as two spellings of it agree: without the country's 1."""
    digits = re.sub(r"\D", "", value) if isinstance(value, str) else str(value) if isinstance(value, int) else ""
    return digits[1:] if len(digits) == 11 and digits.startswith("1") else digits


def created(item: Item) -> float | None:
    """Returns `date_created` in epoch seconds; None where it cannot be read."""
    try:
        made = datetime.fromisoformat(item["date_created"])
        return (made if made.tzinfo else made.replace(tzinfo=UTC)).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
