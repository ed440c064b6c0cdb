"""The pages under `/sandbox`: play a handset, a platform or a legacy application, and see what becomes of it.

Each request goes to the gateway by HTTP, with a key or credentials, as from outside.
"""

from __future__ import annotations

import secrets
import uuid
from collections import OrderedDict
from dataclasses import asdict
from urllib.parse import urlsplit

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from gateway.config import Number
from gateway.sandbox import platforms
from gateway.sandbox.platforms import GatewayAnswer, HandsetText, PlatformRequest
from gateway.store import ledger
from gateway.store.search import EventSearch, load_event, search_events
from gateway.web.context import config, web_context

HANDSET = "15162065515"
RECIPIENT = "15162060001"
"""A handset that gets what it is sent; other endings choose other scenarios."""
MAX_CHARACTERS = 1600
MAX_ANSWERS = 100
REFRESH_SECONDS = 1
"""A page whose deliveries are not settled reloads itself after this time."""

blueprint = Blueprint("sandbox", __name__, url_prefix="/sandbox", template_folder="templates")


@blueprint.record
def _prepare_answers(state: BlueprintSetupState) -> None:
    state.app.extensions["sandbox_answers"] = OrderedDict()


def _answers() -> OrderedDict[str, list[GatewayAnswer]]:
    """The gateway's answers, by the id of the text. They are in no store: this process keeps the last ones."""
    answers: OrderedDict[str, list[GatewayAnswer]] = current_app.extensions["sandbox_answers"]
    return answers


@blueprint.get("/")
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
        text=request.form.get("text", "").replace("\r\n", "\n")[:MAX_CHARACTERS],
        id=str(uuid.uuid4()) if kind in ("text", "status") else f"sandbox-{secrets.token_hex(8)}",
    )
    # Never by what the caller says of our address.
    server = request.server or ("127.0.0.1", None)
    own_url = current_app.config.get("OWN_URL") or f"http://127.0.0.1:{server[1]}"
    key = "" if kind == "send" else config().keys[0]
    answers = _answers()
    answers[text.id] = [platforms.post(made, own_url, key) for made in _requests(kind, text, number)]
    while len(answers) > MAX_ANSWERS:
        answers.popitem(last=False)
    return redirect(url_for("sandbox.story", kind=kind, id=text.id), 303)


def _requests(kind: str, text: HandsetText, number: Number) -> list[PlatformRequest]:
    if kind in ("text", "status"):
        return platforms.carrierx_callbacks(text, web_context().clock(), inbound=kind == "text")
    if kind == "keyword":
        match = number.keyword_index.match(text.text)
        return [platforms.keyword_callback(text, number.shortcode, match.keyword.word if match else "")]
    legacy = config().legacy
    credentials = {name: value for name, value in asdict(legacy).items() if value} if legacy else {}
    return [platforms.send_message(text, number.shortcode, credentials)]


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
    answers = _answers().get(id)
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
        records={found.delivery_id: platforms.records(_legacy_app_url(), found.delivery_id) for found in deliveries},
    )
    return page, {"Refresh": str(REFRESH_SECONDS)} if under_way else {}


def _legacy_app_url() -> str:
    """The stand-in for applications is where the first endpoint is."""
    return _origin(next(iter(config().endpoints.values())).url)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
