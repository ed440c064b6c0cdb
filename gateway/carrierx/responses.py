"""What CarrierX answers: bytes → objects, pages of a list, typed errors. Pure.

It is read with more patience than what comes to us: a message that is under way must not be lost over a name that
stands twice, or with a space behind it as in a sample of the vendor's (``"from "``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn

from gateway.carrierx.errors import AnswerLost, CoreError, Detail, kind_of
from gateway.carrierx.patience import retry_after
from gateway.carrierx.redaction import Redactor

Object = dict[str, Any]

MOST_ERRORS = 20
MOST_PAGES = 10_000
BARREN = 3
"""Pages one after the other with nothing new on them: then the list will not come to an end."""
_RENAMED = {"from_did": "from", "to_did": "to"}


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """One HTTP answer, as far as it was read."""

    status: int
    body: bytes = field(repr=False)
    fault: str = ""
    """Why this is not all of it; empty: it is."""
    retry_after: str | None = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status <= 299


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    items: tuple[Object, ...] = field(repr=False)
    count: int | None = None
    total: int | None = None
    """Of the whole list; None where CarrierX does not say."""
    has_more: bool | None = None
    """The same."""

    def ends(self, offset: int) -> bool:
        """Whether the list ends with this page, which began at `offset`.

        Where CarrierX does not say, or says two things, only an empty page is an end. Raises `AnswerLost` for one
        that says there is more and does not give it.
        """
        is_all = self.total is not None and offset + len(self.items) >= self.total
        if not self.items:
            if self.has_more and not is_all:
                raise AnswerLost(f"CarrierX's list has more, and gives nothing from item {offset} on.")
            return True
        return is_all if self.has_more is None else not self.has_more and (is_all or self.total is None)


def object_of(answer: ApiResponse) -> Object:
    """The JSON object of a success. Raises `AnswerLost`."""
    if answer.fault:
        raise AnswerLost(f"CarrierX answered {answer.status}, but {answer.fault}.")
    try:
        return read_object(answer.body)
    except ValueError as error:
        # Not chained: what could not be read may be a text.
        reason = str(error)
    raise AnswerLost(f"CarrierX answered {answer.status}, but {reason}.")


def message_of(answer: ApiResponse) -> Object:
    """The Message object of a success, by the newer names. Raises `AnswerLost`, also where it has no `message_sid`."""
    read = renamed(object_of(answer))
    sid = read.get("message_sid")
    if not isinstance(sid, str) or not sid.strip():
        raise AnswerLost(f"CarrierX answered {answer.status}, but with no message_sid.")
    return read


def page_of(answer: ApiResponse) -> Page:
    """The list's envelope: ``{"items": […], "count", "total", "has_more"}``. Raises `AnswerLost`."""
    read = object_of(answer)
    items = read.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise AnswerLost(f"CarrierX answered {answer.status}, but with no list of objects.")
    more = read.get("has_more")
    return Page(
        items=tuple(map(renamed, items)),
        count=_whole(read.get("count")),
        total=_whole(read.get("total")),
        has_more=more if isinstance(more, bool) else None,
    )


def error_of(answer: ApiResponse, discretion: Redactor, now: float) -> CoreError:
    """The exception for an answer that is no success, whatever its body is."""
    after = retry_after(answer.retry_after, now)
    try:
        read = read_object(answer.body)
    except ValueError:
        return kind_of(answer.status)(answer.status, discretion.told_of_page(answer.body), (), after)
    given = read.get("errors")
    details = [_detail(one, discretion) for one in (given if isinstance(given, list) else [])[:MOST_ERRORS]]
    return kind_of(answer.status)(answer.status, discretion.told(read.get("message")), details, after)


def _detail(given: Any, discretion: Redactor) -> Detail:
    if not isinstance(given, Mapping):
        return Detail(message=discretion.told(given))
    return Detail(*(discretion.told(given.get(name)) for name in ("field", "message", "reference_sid")))


def every(read: Callable[[int], Page], sid: str) -> Iterator[Object]:
    """Each item of a list once, page by page. `read` gives the page at an offset, `sid` names the items' identity.

    Raises `AnswerLost` where the list cannot be read to its end: the server repeats itself.
    """
    seen: set[str] = set()
    offset, barren = 0, 0
    for _ in range(MOST_PAGES):
        page = read(offset)
        named = {_identity(item, sid): item for item in page.items}
        fresh = {name: item for name, item in named.items() if name not in seen}
        yield from fresh.values()
        seen.update(fresh)
        barren = 0 if fresh else barren + 1
        if page.ends(offset):
            return
        if barren >= BARREN:
            break
        offset += len(page.items)
    raise AnswerLost("CarrierX's list repeats itself, and does not come to an end.")


def _identity(item: Object, sid: str) -> str:
    return str(item.get(sid) or repr(item))


def renamed(read: Mapping[str, Any]) -> Object:
    """By the newer of two generations of names: ``from``, ``to``."""
    if _RENAMED.keys().isdisjoint(read):
        return dict(read)
    return _firsts([(_RENAMED.get(name, name), value) for name, value in read.items()])


def read_object(body: bytes) -> Object:
    """The JSON object in `body`: names without spaces around them, of doubled ones the first that is not null,
    numbers with a fraction as `Decimal`. Raises ValueError with a reason that holds nothing of it."""
    try:
        read = _DECODER.decode(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError("not in UTF-8") from None
    except (ValueError, RecursionError, ArithmeticError):
        raise ValueError("not in JSON") from None
    if not isinstance(read, dict):
        raise ValueError("with no JSON object")
    return read


def _firsts(pairs: Sequence[tuple[str, Any]]) -> Object:
    # A listing has 18,000 of them: what is as it should be is taken as it is.
    read: Object = dict(pairs)
    if len(read) == len(pairs) and not any(name != name.strip() for name in read):
        return read
    read = {}
    for name, value in pairs:
        if read.get(name.strip()) is None:
            read[name.strip()] = value
    return read


def _constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(object_pairs_hook=_firsts, parse_float=Decimal, parse_constant=_constant)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
