"""Fields that both formats have: numbers, dates, prices. Tolerant to read, exact to write."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields

NOT_A_DATE = "Not an ISO-8601 date."
NOT_A_NUMBER = "Not a phone number, short code or sender's name."
NOT_A_PRICE = "Not a price."

# What people and platforms put between the digits, the invisible ones of copied text included.
_PUNCTUATION = re.compile(r"[\s()./\-\u00a0\u00ad\u200b-\u200f\u2010-\u2015\u202a-\u202e\u2060\u2212\ufeff]+")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE)
_UNSIGNED = re.compile(r"\d+(\.\d+)?")
_TEN = 10


def number(text: str, prefix: str) -> str:
    """Digits of a phone number or short code; a sender of letters passes as it came.

    ``+1 (516) 206-5919``, `` 15162065919`` and ``5162065919`` are all ``15162065919``. Ten digits get
    `prefix`, unless a ``+`` said that the country code is there already. Empty for nothing at all.
    """
    trimmed = text.strip()
    bare = _PUNCTUATION.sub("", trimmed.removeprefix("+"))
    if not (bare.isascii() and bare.isdigit()):
        return trimmed if any(map(str.isalnum, bare)) else ""
    if len(bare) == _TEN and not trimmed.startswith("+"):
        return prefix + bare
    return bare


def national(text: str, prefix: str) -> str:
    """`text` without the country's `prefix`, where that leaves ten digits; else as it is."""
    rest = text.removeprefix(prefix)
    return rest if prefix and len(rest) == _TEN and text != rest and rest.isdigit() else text


def timestamp(moment: datetime | None) -> str | None:
    """ISO-8601 in UTC with milliseconds and ``Z``, as CarrierX writes it: ``2021-11-01T08:01:12.404Z``."""
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


class PhoneNumber(fields.Field[str]):
    """A phone number, short code or sender's name, as text or as a JSON integer."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            value = str(value)
        if not isinstance(value, str):
            raise ValidationError(NOT_A_NUMBER)
        read = number(value, str(getattr(self.parent, "prefix", "")))
        if not read:
            raise ValidationError(NOT_A_NUMBER)
        return read


class Timestamp(fields.Field[datetime]):
    """ISO-8601 to an aware `datetime` in UTC. A date without a zone is UTC, as the vendor's are."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or not _ISO.fullmatch(value.strip()):
            raise ValidationError(NOT_A_DATE)
        try:
            moment = datetime.fromisoformat(value.strip().upper().replace(",", "."))
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValidationError(NOT_A_DATE) from None


class Price(fields.Field[Decimal | str]):
    """An amount of money that never becomes a float: a number is kept as `Decimal`, a string as it is."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Decimal | str:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)):
            raise ValidationError(NOT_A_PRICE)
        return value if isinstance(value, str) else Decimal(value)


class Whole(fields.Field[int]):
    """A whole number at or above zero, as a JSON integer or as digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, str) and value.strip().isascii() and _UNSIGNED.fullmatch(value.strip()):
            value = Decimal(value.strip())
        if isinstance(value, Decimal) and value == value.to_integral_value() and abs(value) < 10**9:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**9:
            raise ValidationError("Not a whole number.")
        return value
