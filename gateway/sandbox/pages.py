"""The pages under `/sandbox`: play a handset, a platform or a legacy application, and see what becomes of it.

Each request is made as a platform or a legacy application makes it, and goes to the gateway by HTTP, with a key or
credentials, as from outside.
"""

from __future__ import annotations

import secrets
import uuid
from collections import OrderedDict
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import requests
from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from gateway.config import Number
from gateway.sandbox.carrierx.engine import INBOUND
from gateway.sandbox.carrierx.faults import scenario_for
from gateway.sandbox.carrierx.model import SendRequest, StubMessage
from gateway.store import ledger
from gateway.store.search import EventSearch, load_event, search_events
from gateway.web.context import config, web_context
from schemas.legacy import CALLBACK_FIELDS

HANDSET = "15162065515"
RECIPIENT = "15162060001"  # a handset that gets what it is sent; other endings choose other scenarios
MAX_TEXT_CHARACTERS = 1600
MAX_ANSWERS = 100
REFRESH_SECONDS = 1  # a page whose deliveries are not settled reloads itself after this time
TIMEOUT_SECONDS = 20.0  # the gateway answers when it has the callback on disk
RECORDS_TIMEOUT_SECONDS = 2.0
JSON = "application/json"
FORM = "application/x-www-form-urlencoded; charset=UTF-8"
MAX_SHOWN_CHARACTERS = 2048

blueprint = Blueprint("sandbox", __name__, url_prefix="/sandbox", template_folder="templates")


@dataclass(frozen=True, slots=True)
class PlatformRequest:
    """A request to the gateway; of a callback, `path` is without the key."""

    path: str
    content_type: str
    body: bytes
    accept: str = "*/*"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandsetText:
    """An SMS between a handset and one of our numbers."""

    handset: str
    number: str
    text: str
    id: str  # `message_sid`, or the `custom_ticket` where the keyword platform is played, which has no other id


_answers: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()
"""The gateway's answers, by the id of the text. They are in no store: this process keeps the last ones."""


@blueprint.get("/", strict_slashes=False)
@blueprint.get("", endpoint="form")
def form() -> ResponseReturnValue:
    return render_template(
        "handset.html",
        numbers=config().numbers,
        handset=HANDSET,
        recipient=RECIPIENT,
        page=_legacy_app_url(),
        carrierx=_origin(config().carrierx.base_url),
    )


@blueprint.post("/<any(text, keyword, status, send):kind>")
def post(kind: str) -> ResponseReturnValue:
    """Posts what a form asks for, and leads to the page that shows what becomes of it."""
    number = config().number_for(request.form.get("number", "")) or config().numbers[0]
    text = HandsetText(
        handset=request.form.get("phone", "").strip() or (RECIPIENT if kind == "send" else HANDSET),
        number=number.number,
        text=request.form.get("text", "").replace("\r\n", "\n")[:MAX_TEXT_CHARACTERS],
        id=str(uuid.uuid4()) if kind in ("text", "status") else f"sandbox-{secrets.token_hex(8)}",
    )
    # Never by what the caller says of our address.
    own_url = current_app.config.get("OWN_URL") or f"http://127.0.0.1:{request.environ['SERVER_PORT']}"
    key = "" if kind == "send" else config().keys[0]
    _answers[text.id] = [_post(made, own_url, key) for made in _requests(kind, text, number)]
    while len(_answers) > MAX_ANSWERS:
        _answers.popitem(last=False)
    return redirect(url_for("sandbox.story", kind=kind, id=text.id), 303)


def _requests(kind: str, text: HandsetText, number: Number) -> list[PlatformRequest]:
    if kind in ("text", "status"):
        return carrierx_callbacks(text, web_context().clock(), inbound=kind == "text")
    if kind == "keyword":
        match = number.keyword_index.match(text.text)
        return [keyword_callback(text, number.shortcode, match.keyword.word if match else "")]
    legacy = config().legacy
    credentials = {name: value for name, value in asdict(legacy).items() if value} if legacy else {}
    # A legacy application's call to send: its `custom_ticket` is the text's id.
    sent = {"code": number.shortcode, "message": text.text, "sendTo": text.handset, "custom_ticket": text.id}
    return [PlatformRequest("/legacy/sendMessage", FORM, urlencode({**credentials, **sent}).encode(), JSON)]


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
    campaign = ("Summer sign-up", shortcode, shortcode, text.text, text.handset, "T-Mobile")
    fields = dict(zip(CALLBACK_FIELDS, (*campaign, word, "Acme", text.id, "ACME1234"), strict=True))
    return PlatformRequest("/legacy/callback", FORM, urlencode(fields).encode())


def _post(made: PlatformRequest, url: str, key: str) -> dict[str, Any]:
    """Posts a request to the gateway at `url`, through no proxy, and returns `status` and `text` of the answer; where
    there was none, `status` is None, and `text` says why. A key is appended to the path."""
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
            return {"status": None, "text": type(error).__name__}
        return {"status": answer.status_code, "text": answer.text[:MAX_SHOWN_CHARACTERS]}


@blueprint.get("/<any(text, keyword, status, send):kind>/<id>")
def story(kind: str, id: str) -> ResponseReturnValue:
    """Shows what went in, its answer, the deliveries it became, and what the application read of each."""
    with web_context().store.reader() as connection:
        entries = ledger.of_custom_ticket(connection, id) if kind == "send" else []
        searches = [EventSearch(message_sid=entry.message_sid) for entry in entries if entry.message_sid]
        if kind != "send":
            searches = [EventSearch(ticket=id) if kind == "keyword" else EventSearch(message_sid=id)]
        ids = {entry.ticket_number for entry in entries}
        ids.update(found.event.id for search in searches for found in search_events(connection, search).found)
        steps = [step for id_ in sorted(ids) if (step := load_event(connection, id_)) is not None]
    answers = _answers.get(id)
    if not steps and answers is None:
        raise NotFound
    deliveries = [delivery for step in steps for delivery in step.deliveries]
    under_way = any(delivery.state == "pending" for delivery in deliveries) or any(
        entry.state in ("owed", "sending", "sent") and not entry.final for entry in entries
    )
    page = render_template(
        "story.html",
        kind=kind,
        entries=entries,
        steps=steps,
        answers=answers or [],
        under_way=under_way,
        records={found.delivery_id: _records(_legacy_app_url(), found.delivery_id) for found in deliveries},
    )
    return page, {"Refresh": str(REFRESH_SECONDS)} if under_way else {}


def _legacy_app_url() -> str:
    """The stand-in for applications is where the first endpoint is."""
    return _origin(next(iter(config().endpoints.values())).url)


def _origin(url: str) -> str:
    return "/".join(url.split("/")[:3])


def _records(url: str, delivery_id: str) -> list[dict[str, Any]]:
    """The stand-in's records of a delivery, from its `url`; none where it does not answer."""
    with requests.Session() as session:
        session.trust_env = False
        with suppress(requests.RequestException, ValueError, KeyError):
            answer = session.get(f"{url}/records", params={"delivery": delivery_id}, timeout=RECORDS_TIMEOUT_SECONDS)
            return list(answer.json()["records"])
    return []
