"""A stand-in for the applications that the gateway calls: two legacy pages, and one that takes CarrierX's JSON.

It reads requests as the vendors' own examples do, and shows what it read.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources

from flask import Blueprint, Flask, Response, current_app, render_template, request
from flask.json.provider import DefaultJSONProvider
from flask.typing import ResponseReturnValue

from schemas.fields import timestamp
from schemas.legacy import CALLBACK_FIELDS, STATUS_FIELDS

MAX_RECORDS = 100
MAX_SHOWN_BYTES = 64 * 1024
_ATTRIBUTES = ("direction", "from_did", "from", "to_did", "to", "status", "message")
_HEADERS = {
    # Whatever was texted is shown, and never run.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

blueprint = Blueprint("page", __name__)


def make_legacy_app() -> Flask:
    """A WSGI application of its own: it runs in a process of its own, at an address of its own."""
    app = Flask("gateway.sandbox")
    app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024
    # Fields in the order in which they are documented, texts as people read them.
    app.json = provider = DefaultJSONProvider(app)
    provider.sort_keys = provider.ensure_ascii = False
    app.extensions.update(records=deque(maxlen=MAX_RECORDS), numbers=itertools.count(1))
    app.register_blueprint(blueprint)

    @app.after_request
    def add_headers(answer: Response) -> Response:
        answer.headers.update(_HEADERS)
        return answer

    return app


def _record(read: Mapping[str, object]) -> None:
    """Records the current request. `read`: the fields that its page looks for."""
    record = {
        "number": next(current_app.extensions["numbers"]),
        "at": timestamp(datetime.now(UTC)),
        "path": request.path,
        "delivery": request.headers.get("X-Delivery-Id", ""),  # the same on every attempt
        "attempt": request.headers.get("X-Delivery-Attempt", ""),
        "content_type": request.headers.get("Content-Type", ""),
        "body": request.get_data()[:MAX_SHOWN_BYTES].decode("utf-8", "replace"),
        "read": read,
        "headers": list(request.headers.items()),
    }
    current_app.extensions["records"].appendleft(record)


@blueprint.before_request
def keep_bytes() -> None:
    """Keeps the body, which the parser of forms would take away."""
    request.get_data(cache=True)


@blueprint.post("/callback.php", defaults={"fields": CALLBACK_FIELDS})
@blueprint.post("/status.php", defaults={"fields": STATUS_FIELDS})
def legacy_page(fields: Sequence[str]) -> ResponseReturnValue:
    """Reads each field like `$title = !empty($_REQUEST['title']) ? $_REQUEST['title'] : '';`.
    PHP's `$_REQUEST` is the query with the post over it; it takes `0`, too, for empty."""
    values = {**request.args.to_dict(), **request.form.to_dict()}
    _record({name: "" if values.get(name) in (None, "", "0") else values[name] for name in fields})
    return Response("ok", mimetype="text/plain")


@blueprint.post("/app")
def application() -> ResponseReturnValue:
    """Reads like `data = request.get_json(); send_to = data.get('from_did', '')`; the answer is empty."""
    data = request.get_json()
    _record({name: data[name] for name in _ATTRIBUTES if name in data})
    return ""


@blueprint.get("/")
def show() -> ResponseReturnValue:
    return render_template("page.html", records=list(current_app.extensions["records"]), limit=MAX_RECORDS)


@blueprint.get("/records")
def records() -> ResponseReturnValue:
    """The records as JSON, newest first; `?delivery=` for one delivery's."""
    delivery, found = request.args.get("delivery", ""), list(current_app.extensions["records"])
    return {"records": [record for record in found if delivery in ("", record["delivery"])]}


@blueprint.get("/console.css")
def style() -> ResponseReturnValue:
    """The console's stylesheet."""
    sheet = resources.files("gateway.web").joinpath("static/console.css").read_bytes()
    return Response(sheet, mimetype="text/css")
