"""The one thing that both wire formats say: a message, or what became of one.

Every wire format loads bytes into a `Message` and dumps a `Message` into bytes. What a
format cannot say is left at its default; what nobody asked for is kept in `extra`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

NOTHING: Mapping[str, object] = MappingProxyType({})


class BadCallback(ValueError):
    """The caller must act: this is not the format, or a required field is missing.

    `errors` names every fault: ``{"phone": ("Missing data for required field.",)}``. Faults
    of the whole body stand under ``"body"``. Never holds a value of the body.
    """

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        self.errors = {name: tuple(faults) for name, faults in errors.items()}
        super().__init__("; ".join(f"{name}: {' '.join(faults)}" for name, faults in self.errors.items()))


class CannotSay(ValueError):
    """An outcome, not an accident: this message has no form in that format. One sentence."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One SMS or MMS, or one status update of it.

    Numbers are digits with country code, no ``+`` (3-6 digits: a short code; letters: a
    sender's name). Dates are aware and UTC. `None` is what the wire calls null. Without slots, for `but`.
    """

    direction: str
    """``inbound`` (somebody texted us) or ``outbound`` (what became of a text of ours)."""
    from_: str
    to: str
    status: str
    """CarrierX's word; a word that no table has stays as it came."""

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
    """What legacy systems call our number: its short code, else the number itself."""
    keyword: str = ""
    default_keyword: str = ""
    group: str = ""
    title: str = ""
    carrier: str = ""
    ticket: str = ""
    custom_ticket: str = ""

    legacy: Mapping[str, str] | None = None
    """The keyword platform's own fields (ten, or five), where it was the keyword platform that spoke."""
    extra: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    """Names that the format does not know, with their values. Never credentials."""
    notes: tuple[str, ...] = ()
    """What a reader had to decide: a guessed charset, a doubled name, an unknown status. In words."""

    def but(self, **changes: Any) -> Message:
        """This message with other values, as `dataclasses.replace` makes it; that one sets every field anew."""
        new = object.__new__(Message)
        new.__dict__.update(self.__dict__, **changes)
        return new

    @property
    def inbound(self) -> bool:
        return self.direction == "inbound"

    @property
    def phone(self) -> str:
        """The handset's number, whichever way the message went."""
        return self.from_ if self.inbound else self.to

    @property
    def number(self) -> str:
        """Our number, whichever way the message went."""
        return self.to if self.inbound else self.from_

    @property
    def recipients(self) -> tuple[str, ...]:
        """Whom it concerns at its far end, each once: our number, or everybody that an outbound message went to."""
        return (self.to,) if self.inbound else tuple(dict.fromkeys((self.to, *self.group_recipients)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveContext:
    """What the core must be told about a callback's arrival: it has no clock, no dice, no settings."""

    now: datetime
    sid: str
    """A fresh UUID: the `message_sid` of a message that comes without one."""
    prefix: str = "1"
    """Put before ten-digit numbers; empty leaves them as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatOptions:
    """How an endpoint wants to be written to. Defaults are the documented formats, exactly."""

    shape: str = "auto"
    """``auto``, ``sms`` (13 attributes, ``from_did``) or ``mms`` (18, ``from``)."""
    charset: str = "utf-8"
    """``utf-8``, ``windows-1252`` or ``iso-8859-1``."""
    send_charset: bool = True
    encode_twice: frozenset[str] = frozenset()
    status_words: Mapping[str, str] | None = None
    """CarrierX word → the word to write instead; None writes CarrierX's own."""
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
    """What goes onto the wire: one request's body with the headers that belong to it."""

    content_type: str
    data: bytes
    headers: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be said exactly, in words."""
