"""The legacy platform's calls and their answers, however they come: by SOAP, by form, from the shell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum


class ErrorCode(IntEnum):
    """`error_code` of the platform's answers, with the sentence for the caller. Our choice: the vendor names none."""

    sentence: str

    def __new__(cls, code: int, sentence: str) -> ErrorCode:
        member = int.__new__(cls, code)
        member._value_, member.sentence = code, sentence
        return member

    OK = 0, ""
    MALFORMED = 100, "The call could not be read."
    CREDENTIALS = 101, "username, password or api_key is not the configured one."
    CODE = 102, "The code is no number or short code of this gateway."
    RECIPIENTS = 103, "There is no recipient, or one of them is no phone number."
    OPTED_OUT = 104, "The recipient has opted out of messages from this number."
    MESSAGE = 105, "The message is empty, or too long."
    TEMPLATE = 106, "There is no such template, or one of its placeholders has no value."
    STATUS_URL = 107, "The status_url cannot be called: this address is not allowed."
    CUSTOM_TICKET = 108, "The custom_ticket is longer than 200 bytes."
    UNKNOWN_TICKET = 109, "There is no message with this ticket."
    LATER = 199, "It cannot be kept now. Please send it again."


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCredentials:
    """``auth`` of every call. Fields that were not given are empty."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    code: str = ""  # the short code or number to send from
    keyword: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One recipient of a call's ``recipientList``."""

    phone: str  # as it was given (``sendTo``)
    values: Mapping[str, str] = field(default_factory=dict)
    """Values for a template's placeholders, which were given beside the phone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendCall:
    """`sendMessage` or `sendTemplateMessage`."""

    name: str
    auth: CallCredentials
    text: str = ""  # the message; for `sendTemplateMessage` the template's ID
    values: Mapping[str, str] = field(default_factory=dict)
    """Values for a template's placeholders, the same for all recipients."""
    recipients: tuple[Recipient, ...] = ()
    custom_ticket: str = ""
    status_url: str = ""
    media_urls: tuple[str, ...] = ()  # only the gateway's own calls have them, not the platform's
    source: str = "legacy-send"  # the event's source: ``legacy-send``, or ``command`` from the shell
    body: bytes = field(default=b"", repr=False)  # the bytes that are kept with the event: without the credentials
    content_type: str = ""
    remote: str = ""
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAnswer:
    """The answer to a call, in the platform's shape. Only a `result` of True has a ticket."""

    result: bool
    error_code: int = 0  # a value of `ErrorCode`
    message: str = ""
    custom_ticket: str = ""
    ticket: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusQuery:
    """`getTransactionStatus` (by `ticket`) or `getCustomTransactionStatus` (by `custom_ticket`)."""

    auth: CallCredentials
    ticket: str = ""
    custom_ticket: str = ""
    phone: str = ""  # the recipient that is asked for (``sentTo``); empty: all


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRow:
    """One recipient's row in the answer to a query."""

    phone: str  # ``sendTo``
    status_code: int
    status_message: str  # CarrierX's word, or the reason why the message has none
    result: bool = True  # False: the message will not arrive
