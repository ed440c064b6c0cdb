"""What was said in a call, by SOAP or by form → `SendCall` or `StatusQuery`. Nothing here knows how it came.

An application's call in words of this module::

    [("auth", [("username", "acme"), …]), ("message", "Hello"), ("recipientList", [("recipients", [("sendTo", …)])]), …]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Union

from gateway.outbound.model import CallCredentials, Recipient, SendCall, StatusQuery

Value = Union[str, "Pairs"]
Pairs = Sequence[tuple[str, Value]]

_TAIL = ("recipientList", "custom_ticket", "status_url")
OPERATIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sendMessage": ("auth", "message", *_TAIL),
        "sendTemplateMessage": ("auth", "template", *_TAIL),
        "getTransactionStatus": ("auth", "transaction_ticket_id", "sentTo"),
        "getCustomTransactionStatus": ("auth", "custom_ticket", "sentTo"),
    }
)
"""Every operation with its arguments, in their order. Our choice beyond those that the vendor names."""
QUERIES = frozenset(("getTransactionStatus", "getCustomTransactionStatus"))

USER = ("username", "user_name")
SECRETS = frozenset((*USER, "password", "api_key"))
"""Blanked in what is kept; whatever the case of their letters."""
CODE = ("code", "shortcode")
TICKET = ("transaction_ticket_id", "ticket")
_NO_VALUES = frozenset(
    (*SECRETS, *CODE, "keyword", "auth", "message", "template", "custom_ticket", "status_url")
    + ("sentto", "sendto", "type")
)
_PHONES = frozenset(("recipientlist", "recipients", "recipient", "item", "sendto", "string", ""))
"""Names under which a bare number may stand."""
_BETWEEN = re.compile(r"[,;\r\n]+")


@dataclass(frozen=True, slots=True)
class RequestMeta:
    """What a call brought besides its words."""

    body: bytes
    """As it may be kept."""
    content_type: str
    remote: str
    now: datetime


def call_of(name: str, said: Pairs, came: RequestMeta) -> SendCall:
    """`sendMessage` or `sendTemplateMessage`."""
    return SendCall(
        name=name,
        auth=auth_of(said),
        text=first(said, "template" if name == "sendTemplateMessage" else "message"),
        values=values_of(said),
        recipients=tuple(recipients_of(said)),
        custom_ticket=_unwrapped(first(said, "custom_ticket")),
        status_url=first(said, "status_url").strip(),
        body=came.body,
        content_type=came.content_type,
        remote=came.remote,
        now=came.now,
    )


def query_of(name: str, said: Pairs) -> StatusQuery:
    """`getTransactionStatus` by a ticket, `getCustomTransactionStatus` by the caller's own."""
    own = name == "getCustomTransactionStatus"
    return StatusQuery(
        auth=auth_of(said),
        ticket="" if own else first(said, *TICKET).strip(),
        custom_ticket=_unwrapped(first(said, "custom_ticket")) if own else "",
        phone=first(said, "sentTo", "sendTo").strip(),
    )


def auth_of(said: Pairs) -> CallCredentials:
    """Of the structure `auth`, else of what stands among the arguments."""
    inner = next((value for name, value in said if name.lower() == "auth" and not isinstance(value, str)), said)
    within: Pairs = inner if not isinstance(inner, str) else said
    return CallCredentials(
        username=_unwrapped(first(within, *USER)),
        password=_unwrapped(first(within, "password")),
        api_key=_unwrapped(first(within, "api_key")),
        code=first(within, *CODE).strip(),
        keyword=first(within, "keyword").strip(),
    )


def _unwrapped(value: str) -> str:
    """Blanks may belong to it; the line breaks of indented XML do not."""
    return value.strip() if "\n" in value else value


def first(said: Pairs, *names: str) -> str:
    """The first value of any of these names, in any case of their letters; the first name counts most."""
    for wanted in names:
        for name, value in said:
            if name.lower() == wanted.lower() and isinstance(value, str):
                return value
    return ""


def values_of(said: Pairs) -> dict[str, str]:
    """What has no other meaning: values for a template's placeholders."""
    return {name: value for name, value in reversed(said) if isinstance(value, str) and name.lower() not in _NO_VALUES}


def recipients_of(said: Pairs) -> Iterator[Recipient]:
    """Whatever stands in `recipientList`, however deep and in whatever array, or in none."""
    for name, value in said:
        if name.lower() in ("recipientlist", "recipients", "sendto"):
            yield from _recipients(name, value)


def _recipients(name: str, value: Value) -> Iterator[Recipient]:
    if isinstance(value, str):
        if name.lower() in _PHONES or name.isdigit():
            yield from (Recipient(phone=phone) for phone in _BETWEEN.split(value) if phone.strip())
        return
    phone = first(value, "sendTo")
    if phone:
        yield Recipient(phone=phone, values=values_of(value))
        return
    for inner, below in value:
        yield from _recipients(inner, below)
