"""Requests as the platforms and legacy applications make them, for the sandbox: made, and posted to the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import requests

from gateway.sandbox.carrierx.engine import INBOUND
from gateway.sandbox.carrierx.faults import scenario_for
from gateway.sandbox.carrierx.model import SendRequest, StubMessage
from schemas.legacy import CALLBACK_FIELDS

TIMEOUT_SECONDS = 20.0
"""The gateway answers when it has the callback on disk."""
RECORDS_TIMEOUT_SECONDS = 2.0
JSON = "application/json"
FORM = "application/x-www-form-urlencoded; charset=UTF-8"
MAX_SHOWN_CHARACTERS = 2048


@dataclass(frozen=True, slots=True)
class PlatformRequest:
    """A request to the gateway; of a callback, `path` is without the key."""

    path: str
    content_type: str
    body: bytes
    accept: str = "*/*"


@dataclass(frozen=True, slots=True)
class GatewayAnswer:
    """The gateway's answer. `status` None: there was none, and `text` says why."""

    status: int | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandsetText:
    """An SMS between a handset and one of our numbers."""

    handset: str
    number: str
    text: str
    id: str
    """`message_sid`, or the `custom_ticket` where the keyword platform is played, which has no other id."""


def carrierx_callbacks(text: HandsetText, now: datetime, *, inbound: bool) -> list[PlatformRequest]:
    """CarrierX's callback about a text from a handset; or those about one that was sent from here, until delivered."""
    scenario = INBOUND if inbound else scenario_for("")
    sender, to = (text.handset, text.number) if inbound else (text.number, text.handset)
    message = StubMessage(
        request=SendRequest(sender=sender, to=to, message=text.text, older=True),
        direction="inbound" if inbound else "outbound",
        scenario=scenario,
        sid=text.id,
        created_at=now.timestamp(),
    )
    bodies = [message.advance(now.timestamp()).body for _ in scenario.flow]
    return [PlatformRequest("/carrierx/callback", JSON, body) for body in bodies]


def keyword_callback(text: HandsetText, shortcode: str, word: str) -> PlatformRequest:
    """The keyword platform's callback about a text from a handset."""
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
    return PlatformRequest("/legacy/callback", FORM, urlencode(fields).encode())


def send_message(text: HandsetText, code: str, credentials: Mapping[str, str]) -> PlatformRequest:
    """A legacy application's call to send a text from `code`; its `custom_ticket` is the text's id."""
    sent = {"code": code, "message": text.text, "sendTo": text.handset, "custom_ticket": text.id}
    return PlatformRequest("/legacy/sendMessage", FORM, urlencode({**credentials, **sent}).encode(), JSON)


def post(made: PlatformRequest, url: str, key: str = "") -> GatewayAnswer:
    """Posts a request to the gateway at `url`, through no proxy. A key is appended to the path."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.post(
                f"{url}{made.path}{'/' if key else ''}{key}",
                data=made.body,
                headers={"Content-Type": made.content_type, "Accept": made.accept},
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            return GatewayAnswer(None, type(error).__name__)
        return GatewayAnswer(answer.status_code, answer.text[:MAX_SHOWN_CHARACTERS])


def records(url: str, delivery_id: str) -> list[dict[str, Any]]:
    """The stand-in's records of a delivery, from its `url`; none where it does not answer."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.get(f"{url}/records", params={"delivery": delivery_id}, timeout=RECORDS_TIMEOUT_SECONDS)
            found: list[dict[str, Any]] = answer.json()["records"]
        except (requests.RequestException, ValueError, KeyError):
            return []
        return found
