"""Fields of both formats: numbers, dates, prices. Tolerant in reading, exact in writing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from marshmallow import Schema, ValidationError, fields, missing

NOT_A_DATE = "Not an ISO-8601 date."

# Characters that people and platforms put between the digits, the invisible ones of copied text included.
_PUNCTUATION = re.compile(r"[\s()./\-\u00a0\u00ad\u200b-\u200f\u2010-\u2015\u202a-\u202e\u2060\u2212\ufeff]+")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE)
_UNSIGNED = re.compile(r"\d+(\.\d+)?")
_TEN = 10

T = TypeVar("T")


def number(text: str, prefix: str) -> str:
    """Digits of a phone number or short code; a sender of letters passes as it came.

    ``+1 (516) 206-5919``, `` 15162065919`` and ``5162065919`` are all ``15162065919``. Ten digits get
    `prefix`, unless a ``+`` said that the country code is there already. Empty for nothing at all.
    """
    if text.isascii() and text.isdigit():
        return prefix + text if len(text) == _TEN else text
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
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class Fieldwise:
    """A schema whose fields are called one by one, as long as none of them raises.

    `Schema.load` costs several times as much as its fields do, for it prepares for a fault in each. Nearly every body
    is in order. Where one is not, the schema itself reads it again, and names every fault.
    """

    def __init__(self, schema: Schema) -> None:
        known = {field.data_key or name: (name, field) for name, field in schema.load_fields.items()}
        self.names = frozenset(known)
        self._schema = schema
        self._reads = {spelled: (name, field.deserialize) for spelled, (name, field) in known.items()}
        self._required = {spelled for spelled, (_, field) in known.items() if field.required}
        self._absent = {name: field.load_default for name, field in known.values() if field.load_default is not missing}

    def load(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values of `given`, without names that no field has. Raises `ValidationError` with every fault."""
        if self._required <= given.keys():
            values = dict(self._absent)
            try:
                for spelled, value in given.items():
                    if spelled in self._reads:
                        name, read = self._reads[spelled]
                        values[name] = read(value, spelled, given)
                return values
            except ValidationError:
                pass
        return dict(self._schema.load({name: value for name, value in given.items() if name in self.names}))


class Direct(fields.Field[T]):
    """A field that reads its value directly: it has one validator at most, and no functions before or after it."""

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        if value is missing or value is None:
            return super().deserialize(value, attr, data, **kwargs)
        # marshmallow's other arguments are for nested schemas.
        read = self._deserialize(value, attr, data)
        for check in self.validators:
            check(read)
        return read


class Text(Direct[str], fields.String):
    """Any text."""


class PhoneNumber(Direct[str]):
    """A phone number, short code or sender's name, as text or as a JSON integer."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            value = str(value)
        read = number(value, getattr(self.parent, "prefix", "")) if isinstance(value, str) else ""
        if not read:
            raise ValidationError("Not a phone number, short code or sender's name.")
        return read


class Timestamp(Direct[datetime]):
    """ISO-8601 to an aware `datetime` in UTC. A date without a zone is UTC, as the vendor's are."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or not _ISO.fullmatch(value.strip()):
            raise ValidationError(NOT_A_DATE)
        try:
            moment = datetime.fromisoformat(value.strip().upper())
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValidationError(NOT_A_DATE) from None


class Price(Direct[Decimal | str]):
    """An amount of money that never becomes a float: a number is kept as `Decimal`, a string as it is."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Decimal | str:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)):
            raise ValidationError("Not a price.")
        return value if isinstance(value, str) else Decimal(value)


class Whole(Direct[int]):
    """A whole number at or above zero, as a JSON integer or as digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, str) and value.strip().isascii() and _UNSIGNED.fullmatch(value.strip()):
            value = Decimal(value.strip())
        if isinstance(value, Decimal) and value == value.to_integral_value() and abs(value) < 10**9:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**9:
            raise ValidationError("Not a whole number.")
        return value
