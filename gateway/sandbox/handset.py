"""The page `/sandbox`: text this gateway as a handset would, and see what becomes of it, step by step."""

from __future__ import annotations

import secrets
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from gateway import keywords
from gateway.config import Config, Number
from gateway.sandbox.platforms import Call, Reply, Text, inbound, keyword, post, records, updates
from gateway.store import records as kept
from gateway.web.security import config
from gateway.web.site import site

HANDSET = "15162065515"
LONGEST = 1600
REMEMBERED = 100
AGAIN = 1
"""Seconds after which a page that is not finished looks again."""
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104

blueprint = Blueprint("sandbox", __name__, url_prefix="/sandbox", template_folder="templates")


@dataclass(frozen=True, slots=True)
class Step:
    """One callback that went in, everything that it became, and what the stand-in says."""

    event: Any
    deliveries: tuple[kept.Delivery, ...]
    records: dict[str, list[dict[str, Any]]]


def register(app: Flask) -> None:
    app.register_blueprint(blueprint)
    app.extensions["replies"] = OrderedDict()


@blueprint.get("/")
@blueprint.get("", endpoint="form")
def form() -> ResponseReturnValue:
    return render_template("handset.html", numbers=config().numbers, handset=HANDSET, page=_page_address(config()))


@blueprint.post("/<any(text, keyword, status):kind>")
def send(kind: str) -> ResponseReturnValue:
    """Every callback goes by HTTP through the gateway's own front door, with a key, like anybody's."""
    number = _number(request.form.get("number", ""))
    text = Text(
        handset=request.form.get("phone", "").strip() or HANDSET,
        number=number.number,
        text=request.form.get("text", "").replace("\r\n", "\n")[:LONGEST],
        id=str(uuid.uuid4()) if kind != "keyword" else f"sandbox-{secrets.token_hex(8)}",
    )
    replies = [post(call, _own_address(), config().keys[0]) for call in _calls(kind, text, number)]
    _remember(text.id, replies)
    return redirect(url_for("sandbox.story", kind=kind, id=text.id), 303)


def _calls(kind: str, text: Text, number: Number) -> list[Call]:
    now = site().clock()
    if kind == "text":
        return [inbound(text, now)]
    if kind == "status":
        return list(updates(text, now))
    match = keywords.match(text.text, number.keywords)
    return [keyword(text, number.shortcode, match.keyword.word if match else "")]


@blueprint.get("/<any(text, keyword, status):kind>/<id>")
def story(kind: str, id: str) -> ResponseReturnValue:
    """What went in, the answer, what came of it, what the page read. Looks again by itself until all is settled."""
    replies = _replies().get(id)
    steps = _steps(kind, id)
    if not steps and replies is None:
        raise NotFound
    under_way = any(each.state == "pending" for step in steps for each in step.deliveries)
    answer = current_app.make_response(
        render_template("story.html", kind=kind, steps=steps, replies=replies or [], under_way=under_way)
    )
    if under_way:
        answer.headers["Refresh"] = str(AGAIN)
    return answer


def _steps(kind: str, id: str) -> list[Step]:
    what = kept.Search(ticket=id) if kind == "keyword" else kept.Search(message_sid=id)
    page = _page_address(config())
    with site().store.reader() as connection:
        found = [kept.whole(connection, one.event.id) for one in kept.search(connection, what).found]
    wholes = sorted((one for one in found if one is not None), key=lambda one: one.event.id)
    return [
        Step(one.event, one.deliveries, {each.delivery_id: records(page, each.delivery_id) for each in one.deliveries})
        for one in wholes
    ]


def _number(text: str) -> Number:
    return config().number_for(text) or config().numbers[0]


def _page_address(now: Config) -> str:
    """Where the stand-in is: the place of the first endpoint."""
    parts = urlsplit(next(iter(now.endpoints.values())).url)
    return f"{parts.scheme}://{parts.netloc}"


def _own_address() -> str:
    """How this process reaches itself. Never by what the caller says of it."""
    server = request.server or ("127.0.0.1", None)
    host, port = next(iter(current_app.config.get("OWN_ADDRESSES") or {("127.0.0.1", server[1])}))
    name = EVERYWHERE.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


def _replies() -> OrderedDict[str, list[Reply]]:
    found: OrderedDict[str, list[Reply]] = current_app.extensions["replies"]
    return found


def _remember(id: str, replies: list[Reply]) -> None:
    """The answers are in no store: they stand on the page for as long as this process remembers."""
    _replies()[id] = replies
    while len(_replies()) > REMEMBERED:
        _replies().popitem(last=False)
