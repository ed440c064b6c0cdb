"""Whether CarrierX has a message whose sending was not answered, by its listing. Pure: who runs it does the reading.

    steps = search(sought)
    ask = next(steps)
    while True:
        ask = steps.send(read(ask))         # StopIteration.value is the verdict

Nothing is known of the listing's order, and messages come into it while it is read. So each page begins within the one
before it: what stands first in it has been seen, or something was skipped, and all is read anew. The end is where a
page shows nothing behind what was known; what the envelope says of it (`total`, `has_more`) can only raise doubts.
Fewer pages are read where the dates prove the order: the newest first, down to the time of the sending; the oldest
first, from shortly before it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from gateway.sender.listing import (
    LIMIT,
    SKEW,
    Item,
    ListingOrder,
    ListingPage,
    ListingPart,
    ListingRequest,
    created,
    digits,
    plain,
    sid,
)

MOST = 100_000
"""Messages that are looked through."""
BEGINNINGS = 4
"""Times that a listing is begun that changes too fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A message as it was to be sent."""

    send_id: str
    number: str
    phone: str
    text: str
    since: float
    """Epoch seconds by our clock: its request did not leave earlier."""


@dataclass(frozen=True, slots=True)
class MessageFound:
    item: Item


@dataclass(frozen=True, slots=True)
class MessageAbsent:
    """The whole listing was seen, and it is not there."""


@dataclass(frozen=True, slots=True)
class ListingUnreadable:
    """Not all of the listing could be seen, this time."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """It may be there, and the listing cannot tell."""

    reason: str
    sids: frozenset[str] = frozenset()
    """`message_sid`s of what may be it. Where all of them are known to be others, it is absent."""


ReconcileVerdict = MessageFound | MessageAbsent | ListingUnreadable | Ambiguous
Steps = Generator[ListingRequest, ListingPage, ReconcileVerdict]

TWICE = "CarrierX has more than one message of this id."
NAMELESS = "CarrierX has it, without a message_sid."
ALIKE = "CarrierX has such a message that says nothing of whose it is."
TOO_FAST = "CarrierX's listing changes faster than it can be read."
TOO_LONG = f"CarrierX's listing is longer than {MOST:,} messages."
NOT_SHOWN = "CarrierX's listing says that there is more than it shows."


def find_message(sought: Wanted) -> Steps:
    """Asks for pages, and comes to a verdict."""
    seen = _Seen(sought)
    for _ in range(BEGINNINGS):
        verdict = yield from _read(seen)
        if verdict is not None:
            return verdict
    return ListingUnreadable(TOO_FAST)


def _read(seen: _Seen) -> Generator[ListingRequest, ListingPage, ReconcileVerdict | None]:
    """From the beginning. None: something was skipped."""
    first = page = ListingPart(0, (yield ListingRequest(LIMIT, 0)))
    order = ListingOrder()
    seen.take(page, order)
    if seen.hit is None and (ahead := order.ahead(page, seen.sought.since)):
        jumped = ListingPart(ahead, (yield ListingRequest(LIMIT, ahead)))
        page = jumped if order.skips(jumped, seen.sought.since) else page
        seen.take(jumped, order)
    pages = 1
    while seen.hit is None and not order.is_past(seen.sought.since):
        if page.end >= MOST and page.items:
            return ListingUnreadable(TOO_LONG)
        offset = page.end - page.overlap
        following = ListingPart(offset, (yield ListingRequest(LIMIT, offset)))
        seen.take(following, order)
        if not following.follows(page):
            return seen.hit
        if following.end <= page.end:
            return (yield from _end(seen, first, following, pages))
        page, pages = following, pages + 1
    return seen.hit or seen.otherwise()


def _end(
    seen: _Seen, first: ListingPart, last: ListingPart, pages: int
) -> Generator[ListingRequest, ListingPage, ReconcileVerdict | None]:
    if last.is_contradicted:
        return seen.hit or ListingUnreadable(NOT_SHOWN)
    if pages > 1 and seen.hit is None:
        # What is listed by its last change may have gone to the front meanwhile.
        again = ListingPart(0, (yield ListingRequest(LIMIT, 0)))
        seen.take(again, ListingOrder())
        if not first.names & again.names:
            return seen.hit
    return seen.hit or seen.otherwise()


class _Seen:
    """What of the pages may be the message."""

    def __init__(self, sought: Wanted) -> None:
        self.sought = sought
        self._hits: dict[str, Item] = {}
        self._alike: set[str] = set()
        self._text = plain(sought.text)

    def take(self, part: ListingPart, order: ListingOrder) -> None:
        for name, item in zip(part.ids, part.items, strict=True):
            order.note(name, created(item))
            said = item.get("user_data")
            if isinstance(said, str) and said.strip() == self.sought.send_id:
                self._hits[sid(item)] = item
            elif said in (None, "", "null") and self._is_alike(item):
                self._alike.add(sid(item))

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
        sought, text, date = self.sought, item.get("message"), created(item)
        return (
            item.get("direction") != "inbound"
            and digits(item.get("from", item.get("from_did"))) in ("", digits(sought.number))
            and digits(item.get("to", item.get("to_did"))) in ("", digits(sought.phone))
            and (not isinstance(text, str) or plain(text) == self._text)
            and (date is None or date >= sought.since - SKEW)
        )
