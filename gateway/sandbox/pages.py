"""The page `/sandbox`: text this gateway as a handset would, and see what becomes of it, step by step."""

from __future__ import annotations

import secrets
import uuid
from collections import OrderedDict

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from gateway.config import Number
from gateway.matching import keywords
from gateway.sandbox import legacy_sending
from gateway.sandbox.platforms import Call, Text, inbound, keyword, post, updates
from gateway.sandbox.stories import (
    AGAIN,
    carrierx_address,
    number_of,
    own_address,
    page_address,
    remember,
    replies,
    steps,
    under_way,
)
from gateway.store import search as kept
from gateway.web.context import config, web_context

HANDSET = "15162065515"

blueprint = Blueprint("sandbox", __name__, url_prefix="/sandbox", template_folder="templates")


BLUEPRINTS = (blueprint, legacy_sending.blueprint)


@blueprint.record
def _remember_replies(state: BlueprintSetupState) -> None:
    state.app.extensions["replies"] = OrderedDict()


@blueprint.get("/")
@blueprint.get("", endpoint="form")
def form() -> ResponseReturnValue:
    return render_template(
        "handset.html",
        numbers=config().numbers,
        handset=HANDSET,
        receiver=legacy_sending.HANDSET,
        page=page_address(config()),
        carrierx=carrierx_address(config()),
    )


@blueprint.post("/<any(text, keyword, status):kind>")
def send(kind: str) -> ResponseReturnValue:
    """Every callback goes by HTTP through the gateway's own front door, with a key, like anybody's."""
    number = number_of(request.form.get("number", ""))
    text = Text(
        handset=request.form.get("phone", "").strip() or HANDSET,
        number=number.number,
        text=request.form.get("text", "").replace("\r\n", "\n")[: legacy_sending.LONGEST],
        id=str(uuid.uuid4()) if kind != "keyword" else f"sandbox-{secrets.token_hex(8)}",
    )
    remember(text.id, [post(call, own_address(), config().keys[0]) for call in _calls(kind, text, number)])
    return redirect(url_for("sandbox.story", kind=kind, id=text.id), 303)


def _calls(kind: str, text: Text, number: Number) -> list[Call]:
    now = web_context().clock()
    if kind == "text":
        return [inbound(text, now)]
    if kind == "status":
        return list(updates(text, now))
    match = keywords.match(text.text, number.keywords)
    return [keyword(text, number.shortcode, match.keyword.word if match else "")]


@blueprint.get("/<any(text, keyword, status):kind>/<id>")
def story(kind: str, id: str) -> ResponseReturnValue:
    """What went in, the answer, what came of it, what the page read. Looks again by itself until all is settled."""
    what = kept.EventSearch(ticket=id) if kind == "keyword" else kept.EventSearch(message_sid=id)
    came, found = replies().get(id), steps(what)
    if not found and came is None:
        raise NotFound
    answer = current_app.make_response(
        render_template("story.html", kind=kind, steps=found, replies=came or [], under_way=under_way(found))
    )
    if under_way(found):
        answer.headers["Refresh"] = str(AGAIN)
    return answer
