"""CarrierX's responses: bytes → objects, pages of a list, typed errors; and whether a request is repeated. Pure.

Reading is more tolerant than for callbacks: a message that is under way must not be lost because a name stands twice,
or with a space behind it as in one of the vendor's samples (``"from "``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from gateway.carrierx.errors import (
    AnswerLost,
    CarrierXError,
    Conflict,
    CoreError,
    Detail,
    NotSent,
    ServerError,
    TooMany,
    error_class,
)
from gateway.carrierx.redaction import Redactor
from gateway.safe_http.models import parse_retry_after

JsonObject = dict[str, Any]

MAX_ERRORS = 20
MAX_PAGES = 10_000
MAX_PAGES_WITHOUT_NEW_ITEMS = 3
"""After so many pages in a row that repeat known items, the list will not come to an end."""
FIRST_PAUSE_SECONDS = 0.5  # before the first repetition; doubled before each that follows
MAX_PAUSE_SECONDS = 30.0
MAX_RETRY_AFTER_SECONDS = 60.0
"""The longest pause that CarrierX may ask for: a longer one is not waited for, and not shortened either."""

_RENAMED = {"from_did": "from", "to_did": "to"}


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """One HTTP response, as far as it was read."""

    status: int
    body: bytes = field(repr=False)
    fault: str = ""  # the reason why the body is not complete; empty: it is
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list. `total` is the number of items in the whole list."""

    items: tuple[JsonObject, ...] = field(repr=False)
    count: int | None = None
    total: int | None = None  # None where CarrierX does not say, as with `count` and `has_more`
    has_more: bool | None = None

    def is_last(self, offset: int) -> bool:
        """True if the list ends with this page, whose first item has the index `offset`.
        Where CarrierX does not say, or contradicts itself, only an empty page is an end. Raises `AnswerLost` for an
        empty page that claims to have more behind it."""
        is_all = self.total is not None and offset + len(self.items) >= self.total
        if not self.items:
            if self.has_more and not is_all:
                raise AnswerLost(f"CarrierX's list has more, and gives nothing from item {offset} on.")
            return True
        return is_all if self.has_more is None else not self.has_more and (is_all or self.total is None)


def parse_object(response: ApiResponse) -> JsonObject:
    """The JSON object of a success. Raises `AnswerLost`."""
    if response.fault:
        raise AnswerLost(f"CarrierX answered {response.status}, but {response.fault}.")
    try:
        return _read_object(response.body)
    except ValueError as error:
        # Not chained: the bytes that could not be read may be a text.
        reason = str(error)
    raise AnswerLost(f"CarrierX answered {response.status}, but {reason}.")


def parse_message(response: ApiResponse) -> JsonObject:
    """The Message object of a success, by the newer names. Raises `AnswerLost`, also where it has no `message_sid`."""
    message = _with_newer_names(parse_object(response))
    sid = message.get("message_sid")
    if not isinstance(sid, str) or not sid.strip():
        raise AnswerLost(f"CarrierX answered {response.status}, but with no message_sid.")
    return message


def parse_page(response: ApiResponse) -> Page:
    """The list's envelope: ``{"items": […], "count", "total", "has_more"}``. Raises `AnswerLost`."""
    envelope = parse_object(response)
    items = envelope.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise AnswerLost(f"CarrierX answered {response.status}, but with no list of objects.")
    count, total, has_more = (envelope.get(name) for name in ("count", "total", "has_more"))
    # A bool is an int to Python, and no number here.
    return Page(
        items=tuple(map(_with_newer_names, items)),
        count=count if type(count) is int else None,
        total=total if type(total) is int else None,
        has_more=has_more if isinstance(has_more, bool) else None,
    )


def parse_error(response: ApiResponse, redactor: Redactor, now: float) -> CoreError:
    """The exception for a response that is no success, whatever its body is. `now`: epoch seconds."""
    error, retry_after = error_class(response.status), parse_retry_after(response.retry_after, now)
    try:
        body = _read_object(response.body)
    except ValueError:
        return error(response.status, redactor.redact_page(response.body), (), retry_after)
    errors = body.get("errors")
    details = [
        Detail(*(redactor.redact(detail.get(name)) for name in ("field", "message", "reference_sid")))
        if isinstance(detail, Mapping)
        else Detail(message=redactor.redact(detail))
        for detail in (errors if isinstance(errors, list) else [])[:MAX_ERRORS]
    ]
    return error(response.status, redactor.redact(body.get("message")), details, retry_after)


def all_items(read_page: Callable[[int], Page], sid: str) -> Iterator[JsonObject]:
    """Each item of a list once, page by page. `read_page` takes an offset; `sid` is the attribute that tells items
    apart.

    Raises `AnswerLost` where the server repeats itself, so that the list cannot be read to its end.
    """
    seen: set[str] = set()
    offset, without_new_items = 0, 0
    for _ in range(MAX_PAGES):
        page = read_page(offset)
        by_sid = {str(item.get(sid) or repr(item)): item for item in page.items}
        new = {name: item for name, item in by_sid.items() if name not in seen}
        yield from new.values()
        seen.update(new)
        without_new_items = 0 if new else without_new_items + 1
        if page.is_last(offset):
            return
        if without_new_items >= MAX_PAGES_WITHOUT_NEW_ITEMS:
            break
        offset += len(page.items)
    raise AnswerLost("CarrierX's list repeats itself, and does not come to an end.")


def retry_delay(repetitions: int, error: CarrierXError, *, is_idempotent: bool, random: float) -> float | None:
    """Seconds until a failed request is made again, after so many repetitions; None: it is not. `random`: 0 up to 1.

    after            a send   reads and callbacks   because
    NotSent          again    again                 nothing reached CarrierX
    409, 429         again    again                 CarrierX says that it did nothing
    5xx, AnswerLost  never    again                 a text may have been sent, and would be sent twice; to read twice,
                                                    or to set the same URL twice, changes nothing
    all else         never    never                 the response would be the same
    """
    if not isinstance(error, (NotSent, Conflict, TooMany)) and not (
        is_idempotent and isinstance(error, (AnswerLost, ServerError))
    ):
        return None
    requested = error.retry_after if isinstance(error, CoreError) else None
    if requested is None:
        return min(FIRST_PAUSE_SECONDS * 2.0**repetitions, MAX_PAUSE_SECONDS) * (0.5 + random / 2)
    # Spread to the late side only: never earlier than requested, never all at once.
    return requested * (1 + 0.2 * random) if requested <= MAX_RETRY_AFTER_SECONDS else None


def _with_newer_names(values: Mapping[str, Any]) -> JsonObject:
    """The attributes by the newer of two generations of names: ``from``, ``to``."""
    if _RENAMED.keys().isdisjoint(values):
        return dict(values)
    return _first_values([(_RENAMED.get(name, name), value) for name, value in values.items()])


def _read_object(body: bytes) -> JsonObject:
    """The JSON object in `body`: names without spaces around them, of doubled ones the first that is not null,
    numbers with a fraction as `Decimal`. Raises ValueError with a reason that holds nothing of the body."""
    try:
        value = _DECODER.decode(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError("not in UTF-8") from None
    except (ValueError, RecursionError, ArithmeticError):
        raise ValueError("not in JSON") from None
    if not isinstance(value, dict):
        raise ValueError("with no JSON object")
    return value


def _first_values(pairs: Sequence[tuple[str, Any]]) -> JsonObject:
    # A listing has 18,000 pairs: an object that is in order is taken as it is.
    values: JsonObject = dict(pairs)
    if len(values) == len(pairs) and not any(name != name.strip() for name in values):
        return values
    values = {}
    for name, value in pairs:
        if values.get(name.strip()) is None:
            values[name.strip()] = value
    return values


# `int` refuses what Python's reader takes for constants, NaN and Infinity: they are no JSON.
_DECODER = json.JSONDecoder(object_pairs_hook=_first_values, parse_float=Decimal, parse_constant=int)
