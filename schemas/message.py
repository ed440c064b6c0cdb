"""The one thing that both wire formats hold: a message, or a status update of one.

Every wire format loads bytes into a `Message` and dumps a `Message` into bytes. Attributes that a format lacks stay at
their defaults; fields that it does not document are kept in `extra`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

NOTHING: Mapping[str, object] = MappingProxyType({})


class BadCallback(ValueError):
    """The caller must act: the body is not in the format, or a required field is missing.

    `errors` names every fault: ``{"phone": ("Missing data for required field.",)}``. Faults of the whole body stand
    under ``"body"``. No value of the body is in it.
    """

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        self.errors = {name: tuple(faults) for name, faults in errors.items()}
        super().__init__("; ".join(f"{name}: {' '.join(faults)}" for name, faults in self.errors.items()))


class CannotSay(ValueError):
    """The message has no form in that format: an outcome, not an accident. Its text is one sentence."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One SMS or MMS, or one status update of it.

    Numbers are digits with country code, no ``+`` (3-6 digits: a short code; letters: a sender's name). Dates are aware
    and UTC. `None` is the wire's null. The class has no slots, for `replace`.
    """

    direction: str
    """``inbound`` (a text to us) or ``outbound`` (a status update of a text of ours)."""
    from_: str
    to: str
    status: str
    """CarrierX's word; an unknown word stays as it came."""

    message: str | None = None
    message_sid: str = ""
    message_segments: int | None = None
    mcc: int | None = None
    mnc: int | None = None
    price: Decimal | str | None = None
    """Exactly as written: a `Decimal` came as a number, a `str` as a string. Never a float."""
    date_created: datetime | None = None
    date_status_changed: datetime | None = None
    date_changed: datetime | None = None
    partner_sid: str | None = None
    type: str | None = None
    media_urls: tuple[str, ...] = ()
    group_recipients: tuple[str, ...] = ()
    user_data: str | None = None

    code: str = ""
    """Our number as legacy systems know it: its short code, else the number itself."""
    keyword: str = ""
    default_keyword: str = ""
    group: str = ""
    title: str = ""
    carrier: str = ""
    ticket: str = ""
    custom_ticket: str = ""

    legacy: Mapping[str, str] | None = None
    """The keyword platform's own fields (ten, or five), where the message comes from the keyword platform."""
    extra: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    """Fields that the format does not know, with their values. Never credentials."""
    notes: tuple[str, ...] = ()
    """Decisions made while reading, in words: a guessed charset, a doubled name, an unknown status."""

    @property
    def inbound(self) -> bool:
        return self.direction == "inbound"

    @property
    def phone(self) -> str:
        """The handset's number, in either direction."""
        return self.from_ if self.direction == "inbound" else self.to

    @property
    def number(self) -> str:
        """Our number, in either direction."""
        return self.to if self.direction == "inbound" else self.from_

    @property
    def recipients(self) -> tuple[str, ...]:
        """The numbers that the message goes to, each once: ours, or all phones that an outbound message went to."""
        if self.direction == "inbound" or not self.group_recipients:
            return (self.to,)
        return tuple(dict.fromkeys((self.to, *self.group_recipients)))


if TYPE_CHECKING:
    # For mypy, which checks the name and type of each changed field.
    from dataclasses import replace as replace
else:

    def replace(message: Message, /, **changes: Any) -> Message:
        """Copies a message with other values, as `dataclasses.replace` does, in a seventh of its time: every callback
        takes such a copy."""
        new = object.__new__(Message)
        new.__dict__.update(message.__dict__, **changes)
        return new


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveContext:
    """The arrival of a callback, for the core: it has no clock, no random numbers and no settings of its own."""

    now: datetime
    sid: str
    """A new UUID: the `message_sid` of a message that comes without one."""
    prefix: str = "1"
    """Put before ten-digit numbers; empty leaves them as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatOptions:
    """An endpoint's variations of its wire format. The defaults are the documented formats, exactly."""

    shape: str = "auto"
    """``auto``, ``sms`` (13 attributes, ``from_did``) or ``mms`` (18, ``from``)."""
    charset: str = "utf-8"
    """``utf-8``, ``windows-1252`` or ``iso-8859-1``."""
    send_charset: bool = True
    encode_twice: frozenset[str] = frozenset()
    status_words: Mapping[str, str] | None = None
    """CarrierX's word → the word to write instead; None writes CarrierX's own."""
    extra_fields: tuple[str, ...] = ()
    """Attributes of the CarrierX format to add to a form behind the documented ones."""
    media: str = "omit"
    """``append`` writes media URLs below the text, one a line."""
    legacy_key: bool = True
    phone: str = "international"
    """``national`` drops the prefix where ten digits remain."""
    prefix: str = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """One request's body as it goes over the wire, with the headers that belong to it."""

    content_type: str
    data: bytes
    headers: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    """In words, the fields that the format could not hold exactly."""
