"""CarrierX's format: one JSON Message object for texts and for status updates.

An inbound text, in the older shape::

    {"date_created": "2021-11-01T08:01:14.517Z", "date_status_changed": "2021-11-01T08:01:14.517Z",
     "direction": "inbound", "from_did": "15162065515", "mcc": 310, "message": "This is a test message",
     "message_segments": 1, "message_sid": "87a1ee29-1954-4a22-a243-be21711f28dd", "mnc": 260,
     "partner_sid": "cee93bf3-5746-43fe-a1a2-822c05fef687", "price": 0, "status": "received",
     "to_did": "15162065919"}

Source: the vendor's guides "Set up SMS Callbacks", "Send and Receive SMS" and "Send and Receive MMS".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, validate

from schemas import legacy, segments, status, wire
from schemas.credentials import CREDENTIALS
from schemas.fields import Direct, Fieldwise, PhoneNumber, Price, Text, Timestamp, Whole, number, timestamp
from schemas.message import BadCallback, Body, FormatOptions, Message, ReceiveContext, replace

CONTENT_TYPE = "application/json"

# The two shapes that the vendor documents, attributes in the vendor's order.
SMS_SHAPE = (
    "date_created", "date_status_changed", "direction", "from_did", "mcc", "message", "message_segments",
    "message_sid", "mnc", "partner_sid", "price", "status", "to_did",
)  # fmt: skip
MMS_SHAPE = (
    "date_changed", "date_created", "date_status_changed", "direction", "from", "group_recipients", "mcc",
    "media_urls", "message", "message_segments", "message_sid", "mnc", "partner_sid", "price", "status", "to",
    "type", "user_data",
)  # fmt: skip
ATTRIBUTES = tuple(dict.fromkeys((*SMS_SHAPE, *MMS_SHAPE)))

# Two generations of names for the same thing.
_RENAMED = {"from_did": "from", "to_did": "to"}
_NAMES = {name: _RENAMED.get(name, name) for name in ATTRIBUTES}


class _UserData(Direct[str]):
    """The sender's own data. The string ``"null"``, as in the vendor's sample, is read as null."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str | None:  # type: ignore[override]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        return None if text == "null" else text


class _Texts(Direct[tuple[str, ...]]):
    """An array of texts; null is an empty one."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValidationError("Not an array of strings.")
        return tuple(value)


_NUMBER = PhoneNumber()


class _Numbers(Direct[tuple[str, ...]]):
    """An array of phone numbers, each once."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise ValidationError("Not an array of phone numbers.")
        return tuple(dict.fromkeys(str(_NUMBER.deserialize(item)) for item in value))


class _Legacy(Direct[Mapping[str, str]]):
    """The keyword platform's own fields, added by another gateway like this one."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Mapping[str, str] | None:  # type: ignore[override]
        names = legacy.CALLBACK_FIELDS if data.get("direction") == "inbound" else legacy.STATUS_FIELDS
        if not isinstance(value, dict) or not all(isinstance(value.get(name, ""), str) for name in names):
            raise ValidationError("Not an object of the keyword platform's fields.")
        return MappingProxyType({name: value.get(name, "") for name in names}) if value else None


class _Sender(PhoneNumber):
    """The sender. A status post need not hold our number, so an update that another gateway made of one may lack it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if value == "" and data.get("direction") == "outbound" and data.get("legacy"):
            return ""
        return super()._deserialize(value, attr, data, **kwargs)


class Attributes(Schema):
    """Every attribute of either shape, by the newer of its names."""

    class Meta:
        unknown = EXCLUDE

    direction = Text(required=True, validate=validate.OneOf(("inbound", "outbound")))
    from_ = _Sender(required=True, data_key="from")
    to = PhoneNumber(required=True)
    status = Text(required=True, validate=validate.Length(1, 100))
    message = Text(allow_none=True)
    message_sid = Text(required=True, validate=validate.Length(1, 200))
    message_segments = Whole(allow_none=True)
    mcc = Whole(allow_none=True)
    mnc = Whole(allow_none=True)
    price = Price(allow_none=True)
    date_created = Timestamp(allow_none=True)
    date_status_changed = Timestamp(allow_none=True)
    date_changed = Timestamp(allow_none=True)
    partner_sid = Text(allow_none=True)
    type = Text(allow_none=True)
    media_urls = _Texts(allow_none=True)
    group_recipients = _Numbers(allow_none=True)
    user_data = _UserData(allow_none=True)
    legacy = _Legacy(allow_none=True)


# The schema requires these attributes, so they are set in each message. To copy this one costs a quarter of a new one.
_BLANK = Message(direction="", from_="", to="", status="")
_SCHEMA = Fieldwise(Attributes())
_LEFT_OUT = _SCHEMA.names.union(CREDENTIALS)


def load(body: bytes, content_type: str | None, context: ReceiveContext) -> Message:
    """Reads a Message object in either shape. JSON is UTF-8, so `content_type` does not matter.

    Numbers have their country code in this format, so ten digits are left as they are.
    """
    given, faults = _with_newer_names(wire.read_object(body))
    if given.get("direction") == "inbound" and given.get("status") is None:
        # The only status that an inbound message can have.
        given["status"] = status.RECEIVED
    try:
        loaded = _SCHEMA.load(given)
    except ValidationError as error:
        raise BadCallback(error.messages_dict | faults) from None
    if faults:
        raise BadCallback(faults)
    # Nulls are the defaults already.
    values = {name: value for name, value in loaded.items() if value is not None}
    values["status"], known = status.read(values["status"])
    extra = {name: value for name, value in given.items() if name not in _LEFT_OUT}
    return replace(
        _BLANK,
        **values,
        **_legacy_attributes(values),
        extra=MappingProxyType(extra),
        notes=() if known else (legacy.UNKNOWN_STATUS,),
    )


def _with_newer_names(read: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The attributes under their newer names, without stray spaces; and the names with two different values."""
    given: dict[str, Any] = {}
    faults: dict[str, list[str]] = {}
    for spelled, value in read.items():
        name = _NAMES.get(spelled) or _RENAMED.get(spelled.strip(), spelled.strip())
        if given.get(name) is None:
            given[name] = value
        elif value is not None and number(str(given[name]), "") != number(str(value), ""):
            faults[name] = ["Comes under two names with two values."]
    return given, faults


def _legacy_attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that only the keyword platform's format has."""
    legacy_fields: Mapping[str, str] = values.get("legacy") or {}
    attributes = {name: legacy_fields[name] for name in legacy_fields if name in _LEGACY_ATTRIBUTES}
    attributes["custom_ticket"] = attributes.get("custom_ticket") or values.get("user_data") or ""
    if values["direction"] == "outbound":
        attributes["ticket"] = attributes.get("ticket") or values["message_sid"]
    return attributes


_LEGACY_ATTRIBUTES = frozenset(
    ("code", "keyword", "default_keyword", "group", "title", "carrier", "ticket", "custom_ticket")
)


def dump(message: Message, options: FormatOptions) -> Body:
    """Writes a Message object in the shape that the endpoint wants. Every message can be written."""
    shape = MMS_SHAPE if _is_mms(message, options.shape) else SMS_SHAPE
    values = {name: _VALUES[name](message) for name in shape}
    if message.legacy is not None and options.legacy_key:
        values["legacy"] = dict(message.legacy)
    return Body(content_type=CONTENT_TYPE, data=wire.write_object(values))


def _is_mms(message: Message, shape: str) -> bool:
    if shape == "auto":
        return message.type == "mms" or bool(message.media_urls or message.group_recipients)
    return shape == "mms"


def _segments(message: Message) -> int:
    if message.message_segments is not None:
        return message.message_segments
    return 1 if _is_mms(message, "auto") else segments.count(message.message or "")


# The value of each attribute, by either of its names.
_VALUES: Mapping[str, Callable[[Message], Any]] = MappingProxyType(
    {name: attrgetter(name) for name in ATTRIBUTES if name in Message.__dataclass_fields__}
    | {name: attrgetter("from_") for name in ("from", "from_did")}
    | {name: attrgetter("to") for name in ("to", "to_did")}
    | {
        "date_changed": lambda message: timestamp(message.date_changed),
        "date_created": lambda message: timestamp(message.date_created),
        "date_status_changed": lambda message: timestamp(message.date_status_changed),
        "group_recipients": lambda message: list(message.group_recipients),
        "media_urls": lambda message: list(message.media_urls),
        "message_segments": _segments,
        "type": lambda message: message.type or ("mms" if _is_mms(message, "auto") else "sms"),
    }
)
