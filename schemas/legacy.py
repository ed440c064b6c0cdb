"""The keyword platform's format: form posts, one kind for texts and one for status updates.

A keyword callback as the gateway writes it (one line on the wire)::

    title=Summer+sign-up&code=12345&shortcode=12345&message=Join+%F0%9F%8E%89&phone=15162065515&carrier=
    &keyword=JOIN&group=Acme&custom_ticket=&default_keyword=ACME1234

A status post::

    code=12345&sendTo=15162065515&status=delivered&ticket=f6ac6e90-4c38-4ba1-a8ce-25a911a422db&custom_ticket=order-7

Source: the platform's page "Callback URL & Status URL". Our choices, where it is silent, are in `Dialect`, in
`schemas.status` and in `DOUBLED`, `UNKNOWN_STATUS` below.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any

from marshmallow import Schema, ValidationError, fields

from schemas import carriers, segments, status, wire
from schemas.credentials import CREDENTIALS
from schemas.fields import Fieldwise, PhoneNumber, Text, national, timestamp
from schemas.message import BadCallback, Body, CannotSay, FormatOptions, Message, ReceiveContext

CALLBACK_FIELDS = (
    "title", "code", "shortcode", "message", "phone", "carrier", "keyword", "group", "custom_ticket",
    "default_keyword",
)  # fmt: skip
STATUS_FIELDS = ("code", "sendTo", "status", "ticket", "custom_ticket")
EXTRA_FIELDS = (
    "message_sid", "direction", "status", "message_segments", "mcc", "mnc", "price", "date_created",
    "date_status_changed", "date_changed", "partner_sid", "type", "media_urls", "group_recipients", "user_data",
)  # fmt: skip
"""Fields that an endpoint may ask for beside the documented ones: attributes of CarrierX's format, as text."""

DOUBLED = "The field {name!r} came more than once: the first value counts."
UNKNOWN_STATUS = "The status is a word that no table has: kept as it came, never taken as final."
INEXACT = "The field {name!r} has characters that {charset} lacks: written in their nearest plain form."

# The namespace must not change: all updates of one message get the same id by it, on every machine and for ever.
TICKETS = uuid.UUID("6a0bd4b5-55f5-5a0e-9c3f-6f0c2f1c1d57")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_VISIBLE = re.compile(r"[\x21-\x7e]{1,200}")


@dataclass(frozen=True, slots=True)
class Dialect:
    """One platform's spelling of one kind of post: its names in their order, and the schema that checks them."""

    names: tuple[str, ...]
    schema: type[Schema]
    either: tuple[str, str]
    """One of these two names is required."""


class _KeywordCallback(Schema):
    title = Text(load_default="")
    code = PhoneNumber(load_default="")
    shortcode = PhoneNumber(load_default="")
    message = Text(load_default="")
    phone = PhoneNumber(required=True)
    carrier = Text(load_default="")
    keyword = Text(load_default="")
    group = Text(load_default="")
    custom_ticket = Text(load_default="")
    default_keyword = Text(load_default="")


def _has_text(value: str) -> None:
    if not value.strip():
        raise ValidationError(fields.Field.default_error_messages["required"])


class _StatusPost(Schema):
    code = PhoneNumber(load_default="")
    sendTo = PhoneNumber(required=True)
    status = Text(required=True, validate=_has_text)
    ticket = Text(load_default="")
    custom_ticket = Text(load_default="")


CALLBACK = Dialect(CALLBACK_FIELDS, _KeywordCallback, ("shortcode", "code"))
STATUS = Dialect(STATUS_FIELDS, _StatusPost, ("ticket", "custom_ticket"))


@cache
def _schema(kind: type[Schema], prefix: str) -> Fieldwise:
    schema = kind()
    schema.prefix = prefix  # type: ignore[attr-defined]
    return Fieldwise(schema)


def load_callback(body: bytes, content_type: str | None, context: ReceiveContext) -> Message:
    """Reads a keyword callback: an inbound message as CarrierX could have sent it, completed from `context`."""
    ten, extra, notes = _load(CALLBACK, body, content_type, context)
    shortcode = ten["shortcode"] or ten["code"]
    mcc, mnc = carriers.codes(ten["carrier"]) or (None, None)
    return Message(
        direction="inbound",
        from_=ten["phone"],
        to=shortcode,
        status=status.RECEIVED,
        message=ten["message"],
        message_sid=context.sid,
        message_segments=segments.count(ten["message"]),
        mcc=mcc,
        mnc=mnc,
        date_created=context.now,
        date_status_changed=context.now,
        date_changed=context.now,
        type="sms",
        user_data=ten["custom_ticket"] or None,
        code=shortcode,
        keyword=ten["keyword"],
        default_keyword=ten["default_keyword"],
        group=ten["group"],
        title=ten["title"],
        carrier=ten["carrier"],
        custom_ticket=ten["custom_ticket"],
        legacy=ten,
        extra=extra,
        notes=notes,
    )


def load_status(body: bytes, content_type: str | None, context: ReceiveContext) -> Message:
    """Reads a status post: the status of an outbound message, whose text is not known."""
    five, extra, notes = _load(STATUS, body, content_type, context)
    word, known = status.read(five["status"])
    return Message(
        direction="outbound",
        from_=five["code"],
        to=five["sendTo"],
        status=word,
        message_sid=message_sid(five["ticket"] or five["custom_ticket"], five["sendTo"]),
        date_status_changed=context.now,
        date_changed=context.now,
        user_data=five["custom_ticket"] or None,
        code=five["code"],
        ticket=five["ticket"],
        custom_ticket=five["custom_ticket"],
        legacy=five,
        extra=extra,
        notes=notes if known else (*notes, UNKNOWN_STATUS),
    )


def message_sid(ticket: str, recipient: str) -> str:
    """The id of a message, for all its updates: the ticket if it is a UUID, else made of ticket and recipient."""
    if _UUID.fullmatch(ticket):
        return ticket
    return str(uuid.uuid5(TICKETS, f"{recipient} {ticket}"))


def _load(
    dialect: Dialect, body: bytes, content_type: str | None, context: ReceiveContext
) -> tuple[Mapping[str, str], Mapping[str, object], tuple[str, ...]]:
    """All documented fields; the unknown ones; the notes. Raises `BadCallback` with every fault."""
    form = wire.read_form(body, content_type)
    firsts = form.firsts()
    schema = _schema(dialect.schema, context.prefix)
    # Empty and absent are the same in a form.
    given = {name: firsts[name] for name in dialect.names if firsts.get(name)}
    faults: dict[str, Any] = {}
    values: dict[str, str] = {}
    try:
        values = schema.load(given)
    except ValidationError as error:
        faults.update(error.messages_dict)
    if given.keys().isdisjoint(dialect.either):
        faults[dialect.either[0]] = [f"Missing data: {dialect.either[0]} or {dialect.either[1]} is required."]
    if faults:
        raise BadCallback(faults)
    extra = {
        name: value for name, value in firsts.items() if name not in schema.names and name.strip() not in CREDENTIALS
    }
    notes = (*form.notes, *(DOUBLED.format(name=name[:40]) for name in form.doubled()))
    return MappingProxyType({name: values[name] for name in dialect.names}), MappingProxyType(extra), notes


def dump_callback(message: Message, options: FormatOptions) -> Body:
    """Writes an inbound message as the keyword platform would post it. Raises `CannotSay` for a status update."""
    if not message.inbound:
        raise CannotSay("A status update cannot be written as a keyword callback.")
    code = message.code or message.to
    ten = dict(
        message.legacy
        or {
            "title": message.title,
            "code": code,
            "shortcode": code,
            "message": message.message or "",
            "phone": message.from_,
            "carrier": message.carrier,
            "keyword": message.keyword,
            "group": message.group,
            "custom_ticket": message.custom_ticket,
            "default_keyword": message.default_keyword,
        }
    )
    if options.phone == "national":
        ten["phone"] = national(ten["phone"], options.prefix)
    if options.media == "append":
        ten["message"] = "\n".join(filter(None, (ten["message"], *message.media_urls)))
    return _dump(CALLBACK, ten, message, options)


def dump_status(message: Message, options: FormatOptions) -> Body:
    """Writes a status update as the keyword platform would post it. Raises `CannotSay` for a text."""
    if message.inbound:
        raise CannotSay("An inbound text cannot be written as a status post.")
    five = dict(
        message.legacy
        or {
            "code": message.code or message.from_,
            "sendTo": message.to,
            "status": message.status,
            "ticket": message.ticket or message.message_sid,
            "custom_ticket": message.custom_ticket,
        }
    )
    if options.phone == "national":
        five["sendTo"] = national(five["sendTo"], options.prefix)
    if options.status_words is not None:
        five["status"] = options.status_words.get(message.status, message.status)
    return _dump(STATUS, five, message, options)


def _dump(dialect: Dialect, values: Mapping[str, str], message: Message, options: FormatOptions) -> Body:
    pairs = [(name, values[name]) for name in dialect.names]
    pairs += [(name, _extra(message, name)) for name in options.extra_fields if name not in dialect.names]
    data, inexact = wire.write_form(pairs, options.charset, options.encode_twice)
    charset = "UTF-8" if options.charset == "utf-8" else options.charset
    return Body(
        content_type=f"{wire.FORM}; charset={charset}" if options.send_charset else wire.FORM,
        data=data,
        headers=_headers(message),
        notes=tuple([INEXACT.format(name=name, charset=options.charset) for name in inexact]),
    )


def _headers(message: Message) -> tuple[tuple[str, str], ...]:
    """The headers for the attributes that the form lacks. An id that is not plain text stays out of a header."""
    changed = None if message.inbound else message.date_status_changed
    sid, date = message.message_sid, timestamp(changed or message.date_created)
    sids = (("X-Message-Sid", sid),) if _VISIBLE.fullmatch(sid) else ()
    return (*sids, ("X-Message-Date", date)) if date is not None else sids


def _extra(message: Message, name: str) -> str:
    """The value of one of `EXTRA_FIELDS`."""
    value = getattr(message, name)
    if isinstance(value, datetime):
        value = timestamp(value)
    elif isinstance(value, tuple):
        value = ("\n" if name == "media_urls" else ",").join(value)
    return "" if value is None else str(value)
