"""What a single setting may be: text, words, numbers, lists.

Types are exact: ``true`` is no number, and ``"15"`` is none either. Every message is the end of a
sentence that begins with the setting's name. None holds a value that came from the environment or
that may be a secret.
"""

from __future__ import annotations

import math
import re
from typing import Any, TypeVar

from marshmallow import ValidationError, fields
from phonenumbers import SUPPORTED_REGIONS, country_code_for_region

from gateway.config.spelling import Filled, kind_of, nearest, unknown
from gateway.matching import templates

T = TypeVar("T")

_MISNAMED = {"UK": "GB", "USA": "US", "EN": "GB", "U.S.": "US", "SU": "RU"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def wrong_kind(wanted: str, value: object) -> ValidationError:
    """The mistake of a value of another type."""
    return ValidationError(f"must be {wanted}, not {kind_of(value)}")


class Setting(fields.Field[T]):
    """One setting of a table."""

    default_error_messages = {"required": "is missing"}


class Text(Setting[str]):
    """Text in quotes; without control characters, and not empty unless `empty`."""

    def __init__(self, *, empty: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.empty = empty

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise wrong_kind("text in quotes", value)
        if not value.strip() and not self.empty:
            raise ValidationError("is empty")
        if _CONTROL.search(value):
            raise ValidationError("holds a line break or another control character")
        return self.checked(value)

    def checked(self, value: str) -> str:
        """What a kind of text checks besides; gives back the text as it is kept."""
        return str(value)


class Name(Text):
    """The name of something else in the file. It keeps the mark of what came from the environment."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(empty=False, **kwargs)

    def checked(self, value: str) -> str:
        return value


class Wording(Text):
    """A text that people get to read: it may have several lines, and is not endless."""

    def __init__(self, most: int, **kwargs: Any) -> None:
        super().__init__(empty=False, **kwargs)
        self.most = most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, str):
            if _CONTROL.search(value.replace("\n", " ").replace("\t", " ")):
                raise ValidationError("holds a control character")
            super()._deserialize(" ".join(value.split()), attr, data, **kwargs)
            if len(value) > self.most:
                raise ValidationError(f"is longer than {self.most} characters")
            return self.checked(value)
        return super()._deserialize(value, attr, data, **kwargs)


class Template(Wording):
    """A text with placeholders, ``{name}``; only those that are `known`, if any are."""

    def __init__(self, most: int, known: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(most, **kwargs)
        self.known = known

    def checked(self, value: str) -> str:
        if fault := templates.fault(value):
            raise ValidationError(fault)
        if self.known and set(templates.placeholders(value)) - set(self.known):
            known = ", ".join(f"{{{name}}}" for name in self.known)
            raise ValidationError(f"has a placeholder that has no value here; known: {known}")
        return super().checked(value)


class Secret(Text):
    """Text that no message shows. An empty one is a mistake: it would switch off what it is to guard."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(empty=False, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if value == "":
            raise ValidationError("is empty; leave it out if there is none")
        return super()._deserialize(value, attr, data, **kwargs)


class Choice(Text):
    """One of a few words."""

    def __init__(self, *known: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.known = known

    def checked(self, value: str) -> str:
        if value not in self.known:
            raise ValidationError(unknown(value, self.known, "one of the choices"))
        return str(value)


class Version(Choice):
    """A version in quotes: ``1.2`` without them is a number to TOML."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, float):
            raise ValidationError(f'must be text in quotes: "{value}"')
        return super()._deserialize(value, attr, data, **kwargs)


class Country(Text):
    """A country by its two letters, ``US``; empty for none."""

    def checked(self, value: str) -> str:
        code = value.strip().upper()
        if code and not country_code_for_region(code):
            meant = _MISNAMED.get(code) or nearest(code, SUPPORTED_REGIONS)
            hint = f'; did you mean "{meant}"?' if meant else ', such as "US"'
            raise ValidationError(f"must be a country's two letters of ISO 3166{hint}")
        return code


class Flag(Setting[bool]):
    """``true`` or ``false``, nothing that stands for them."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise wrong_kind("true or false, without quotes", value)
        return value


class FlagOrFile(Text):
    """``verify_tls``: ``true``, ``false`` or the name of a file, which is looked for by whoever knows the folder."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, bool):
            return value
        if not isinstance(value, str):
            raise wrong_kind("true, false or a file of CA certificates", value)
        return super()._deserialize(value, attr, data, **kwargs)


class Whole(Setting[int]):
    """A whole number within bounds."""

    def __init__(self, low: int, high: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high = low, high

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_kind("a whole number, without quotes", value)
        if not self.low <= value <= self.high:
            raise ValidationError(f"must be from {self.low} to {self.high}")
        return value


class Seconds(Setting[float]):
    """A length of time: more than nothing, or `least` and more."""

    def __init__(self, most: int, least: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.most, self.least = most, least

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong_kind("a number of seconds, without quotes", value)
        enough = value > 0 if self.least is None else value >= self.least
        if not (math.isfinite(value) and enough and value <= self.most):
            low = "more than 0" if self.least is None else f"at least {self.least:g}"
            raise ValidationError(f"must be {low} and at most {self.most} seconds")
        return float(value)


class Row(Setting[list[Any]]):
    """A list, each item of it checked by `item`; a mistake is told with its place in the list."""

    def __init__(self, item: Setting[Any], *, empty: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.item, self.empty = item, empty

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            hint = "; write it as [ … ]" if isinstance(value, str) else ""
            raise ValidationError(f"must be a list, not {kind_of(value)}{hint}")
        if not value and not self.empty:
            raise ValidationError("is an empty list; leave it out, or name something")
        read, errors = self._each(value)
        if errors:
            raise ValidationError(errors, valid_data=read)
        return read

    def _each(self, values: list[Any]) -> tuple[list[Any], dict[Any, Any]]:
        """The items as read, None for a bad one, so that all keep their places; messages by index."""
        read: list[Any] = [None] * len(values)
        errors: dict[Any, Any] = {}
        for index, value in enumerate(values):
            try:
                read[index] = self.item.deserialize(value)
            except ValidationError as error:
                errors[index] = error.messages
        return read, errors


class OneOrMore(Row):
    """A list, or a single item without the brackets."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, str):
            return [self.item.deserialize(value)]
        return super()._deserialize(value, attr, data, **kwargs)


class Pattern(Setting[re.Pattern[str]]):
    """A regular expression of Python's `re`; an answer's body is searched for it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> re.Pattern[str]:
        if not isinstance(value, str):
            raise wrong_kind("a regular expression in quotes", value)
        if not value:
            raise ValidationError("is empty, and so matches everything")
        return compiled(value)


def compiled(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """`pattern` for searching. ValidationError says what is wrong with it and where."""
    try:
        return re.compile(str(pattern), flags)
    except re.error as error:
        if isinstance(pattern, Filled):
            raise ValidationError("is not a regular expression") from None
        where = "" if error.pos is None else f" at character {error.pos + 1}"
        raise ValidationError(f"is not a regular expression: {error.msg}{where}") from None
    except (OverflowError, RecursionError):
        raise ValidationError("is not a regular expression that can be used: it is too large") from None
