"""The legacy platform's calls, however they came: by SOAP, by form, from the shell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCredentials:
    """``auth`` of every call. What was not given is empty."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    code: str = ""
    """The short code or number to send from."""
    keyword: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One of a call's ``recipientList``."""

    phone: str
    """As it was given (``sendTo``)."""
    values: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    """What else stood beside it: values for a template's placeholders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendCall:
    """`sendMessage` or `sendTemplateMessage`."""

    name: str
    auth: CallCredentials
    text: str = ""
    """The message; of `sendTemplateMessage` the template's ID."""
    values: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    """For a template's placeholders, the same for all recipients."""
    recipients: tuple[Recipient, ...] = ()
    custom_ticket: str = ""
    status_url: str = ""
    media_urls: tuple[str, ...] = ()
    """Ours: the platform's calls have none."""
    source: str = "legacy-send"
    """Of the event: ``legacy-send``, or ``command`` from the shell."""
    body: bytes = field(default=b"", repr=False)
    """As it is kept with the event: without the credentials."""
    content_type: str = ""
    remote: str = ""
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAnswer:
    """What a call is answered, in the platform's shape. Only a `result` of True has a ticket."""

    result: bool
    error_code: int = 0
    """0 or one of `gateway.outbound.codes`."""
    message: str = ""
    custom_ticket: str = ""
    ticket: str = ""
    is_forbidden: bool = False
    """The credentials were not the configured ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusQuery:
    """`getTransactionStatus` (by `ticket`) or `getCustomTransactionStatus` (by `custom_ticket`)."""

    auth: CallCredentials
    ticket: str = ""
    custom_ticket: str = ""
    phone: str = ""
    """Of one recipient (``sentTo``); empty: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRow:
    """One recipient's line in the answer to a query."""

    phone: str
    """``sendTo``"""
    status_code: int
    status_message: str
    """CarrierX's word, or what keeps the message from having one."""
    result: bool = True
    """False: it will not arrive."""
