"""Plays the platforms: what CarrierX and the keyword platform would post to the gateway, posted to it for real."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import requests

from schemas import segments
from schemas.legacy import CALLBACK_FIELDS

PARTNER = "cee93bf3-5746-43fe-a1a2-822c05fef687"
FLOW = ("queued", "sent", "delivered")
"""What CarrierX says of a message that is sent, one after the other."""
T_MOBILE = (310, 260)
TIMEOUT = 20.0
"""Seconds: the gateway answers when it has the callback on disk."""
JSON = "application/json"
FORM = "application/x-www-form-urlencoded; charset=UTF-8"
SHOWN = 2048


@dataclass(frozen=True, slots=True)
class Call:
    """One callback: where to, without the key, and what. Or one call of the keyword platform's web service."""

    path: str
    content_type: str
    body: bytes
    accept: str = "*/*"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the gateway answered. `status` None: nothing, and `text` says why."""

    status: int | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """An SMS between a handset and one of our numbers."""

    handset: str
    number: str
    text: str
    id: str
    """`message_sid`; of a keyword callback the `custom_ticket`, as it has no other."""


def inbound(text: Text, now: datetime) -> Call:
    """A text that came in, as in CarrierX's own example."""
    return _message(text, now, direction="inbound", status="received", from_did=text.handset, to_did=text.number)


def updates(text: Text, now: datetime) -> Iterator[Call]:
    """What becomes of a text that we sent, step by step."""
    for status in FLOW:
        yield _message(text, now, direction="outbound", status=status, from_did=text.number, to_did=text.handset)


def _message(text: Text, now: datetime, **said: str) -> Call:
    at = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message: dict[str, Any] = {
        "date_created": at,
        "date_status_changed": at,
        "mcc": T_MOBILE[0],
        "message": text.text,
        "message_segments": segments.count(text.text),
        "message_sid": text.id,
        "mnc": T_MOBILE[1],
        "partner_sid": PARTNER,
        "price": 0,
        **said,
    }
    ordered = json.dumps(message, indent=1, sort_keys=True, ensure_ascii=False)
    return Call("/carrierx/callback", JSON, ordered.encode())


def keyword(text: Text, shortcode: str, word: str) -> Call:
    """The same text as the keyword platform would tell of it."""
    fields = dict.fromkeys(CALLBACK_FIELDS, "") | {
        "title": "Summer sign-up",
        "code": shortcode,
        "shortcode": shortcode,
        "message": text.text,
        "phone": text.handset,
        "carrier": "T-Mobile",
        "keyword": word,
        "group": "Acme",
        "custom_ticket": text.id,
        "default_keyword": "ACME1234",
    }
    return Call("/legacy/callback", FORM, urlencode(fields).encode())


def send_message(text: Text, code: str, credentials: Mapping[str, str]) -> Call:
    """What a legacy application calls to send that text from `code`; its `custom_ticket` is the text's id."""
    fields = {
        **credentials,
        "code": code,
        "message": text.text,
        "sendTo": text.handset,
        "custom_ticket": text.id,
    }
    return Call("/legacy/sendMessage", FORM, urlencode(fields).encode(), JSON)


def post(call: Call, address: str, key: str = "") -> Reply:
    """A real request to the gateway at `address`, by no proxy. The key goes behind the path of a callback."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.post(
                f"{address}{call.path}{'/' if key else ''}{key}",
                data=call.body,
                headers={"Content-Type": call.content_type, "Accept": call.accept},
                timeout=TIMEOUT,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            return Reply(None, type(error).__name__)
        return Reply(answer.status_code, answer.text[:SHOWN])


def records(page: str, delivery: str) -> list[dict[str, Any]]:
    """What the stand-in made of a delivery; nothing where it cannot be asked."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.get(f"{page}/records", params={"delivery": delivery}, timeout=2.0)
            found: list[dict[str, Any]] = answer.json()["records"]
        except (requests.RequestException, ValueError, KeyError):
            return []
        return found
