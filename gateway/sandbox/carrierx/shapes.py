"""A message ⇄ the vendor's JSON: what a request must look like, and the two shapes of the Message object."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schemas import segments
from schemas.carrierx import MMS_SHAPE, SMS_SHAPE

OPERATOR = (310, 260)
"""`mcc` and `mnc` of every handset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One SMS or MMS as it was sent, with what does not change any more."""

    sid: str
    partner_sid: str
    created: float
    direction: str
    sender: str
    to: str
    """Of a group: its first recipient."""
    message: str | None = None
    media_urls: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    user_data: str | None = None
    older: bool = False
    """In the shape with 13 attributes and `from_did`; else in the one with 18."""

    @property
    def type(self) -> str:
        return "mms" if self.media_urls or self.group else "sms"


def as_json(text: Text, status: str, changed: float | None, *, step: int = 0, told: bool = False) -> str:
    """The Message object, attributes in the vendor's order. told: as a callback has it."""
    values = _values(text, status, changed, step)
    if told and values["user_data"] is None:
        values["user_data"] = "null"  # so the vendor's own sample of a callback
    return json.dumps({name: values[name] for name in (SMS_SHAPE if text.older else MMS_SHAPE)}, ensure_ascii=False)


def _values(text: Text, status: str, changed: float | None, step: int) -> dict[str, Any]:
    # In the vendor's samples a group's `to` is one of its recipients, and not always the same.
    to = text.group[step % len(text.group)] if text.group else text.to
    inbound, moved = text.direction == "inbound", changed is not None and status != "queued"
    mcc, mnc = OPERATOR if inbound else (0, 0) if moved else (None, None)
    return {
        "date_changed": moment(text.created if changed is None else changed),
        "date_created": moment(text.created),
        "date_status_changed": None if changed is None else moment(changed),
        "direction": text.direction,
        "from": text.sender,
        "from_did": text.sender,
        "group_recipients": list(text.group),
        "mcc": mcc,
        "media_urls": list(text.media_urls),
        "message": text.message,
        "message_segments": 1 if text.type == "mms" else segments.count(text.message or ""),
        "message_sid": text.sid,
        "mnc": mnc,
        "partner_sid": text.partner_sid,
        "price": "0.01" if moved else None,
        "status": status,
        "to": to,
        "to_did": to,
        "type": text.type,
        "user_data": text.user_data,
    }


def moment(at: float) -> str:
    """``2021-01-18T21:01:13.415Z``"""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
