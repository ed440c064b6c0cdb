"""Stands in for the applications that the gateway calls: a legacy page, and one for CarrierX's JSON.

It reads what it gets as the vendors' own examples do, and shows it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import resources

from flask import Blueprint, Flask, Response, current_app, render_template, request
from flask.json.provider import DefaultJSONProvider
from flask.typing import ResponseReturnValue

from schemas.legacy import CALLBACK_FIELDS, STATUS_FIELDS

KEPT = 100
"""Records; the oldest is forgotten."""
SHOWN_BYTES = 64 * 1024
POLICY = "default-src 'none'; style-src 'self'; img-src data:; frame-ancestors 'none'"
_ATTRIBUTES = ("direction", "from_did", "from", "to_did", "to", "status", "message")

blueprint = Blueprint("page", __name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One request, as an application sees it."""

    number: int
    at: str
    """UTC, ISO 8601."""
    path: str
    delivery: str
    """`X-Delivery-Id`: the same on every attempt."""
    attempt: str
    content_type: str
    body: str
    read: Mapping[str, object]
    """What the page made of it: the vendor's fields, and what it found in them."""
    headers: Sequence[tuple[str, str]] = field(default=())


class Records:
    """The last requests, newest first."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque(maxlen=KEPT)
        self._turn = threading.Lock()
        self._count = 0

    def add(self, read: Mapping[str, object]) -> None:
        with self._turn:
            self._count += 1
            self._records.appendleft(_record(self._count, read))

    def of(self, delivery: str = "") -> list[Record]:
        with self._turn:
            return [record for record in self._records if delivery in ("", record.delivery)]


class _Json(DefaultJSONProvider):
    sort_keys = False
    ensure_ascii = False


def make_page() -> Flask:
    """A WSGI application of its own: it runs in a process of its own, at an address of its own."""
    app = Flask("gateway.sandbox")
    app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024
    # Fields in the order in which they are documented, texts as people read them.
    app.json = _Json(app)
    app.extensions["records"] = Records()
    app.register_blueprint(blueprint)
    app.after_request(_as_text)
    return app


@blueprint.before_request
def keep_bytes() -> None:
    """Before the parser of forms takes them away."""
    request.get_data(cache=True)


@blueprint.post("/callback.php")
def callback() -> ResponseReturnValue:
    """`$title = !empty($_REQUEST['title']) ? $_REQUEST['title'] : '';` and so on, for all ten."""
    _records().add(_request(CALLBACK_FIELDS))
    return Response("ok", mimetype="text/plain")


@blueprint.post("/status.php")
def status() -> ResponseReturnValue:
    _records().add(_request(STATUS_FIELDS))
    return Response("ok", mimetype="text/plain")


@blueprint.post("/app")
def application() -> ResponseReturnValue:
    """`data = request.get_json(); send_to = data.get('from_did', '')` and so on; a blank answer."""
    data = request.get_json()
    _records().add({name: data[name] for name in _ATTRIBUTES if name in data})
    return ""


@blueprint.get("/")
def shown() -> ResponseReturnValue:
    return render_template("page.html", records=_records().of(), kept=KEPT)


@blueprint.get("/records")
def records() -> ResponseReturnValue:
    """The same as JSON; `?delivery=` for one delivery's."""
    return {"records": [asdict(record) for record in _records().of(request.args.get("delivery", ""))]}


@blueprint.get("/console.css")
def style() -> ResponseReturnValue:
    """The console's: one look for both."""
    sheet = resources.files("gateway.web").joinpath("static/console.css").read_bytes()
    return Response(sheet, mimetype="text/css")


def _request(names: Sequence[str]) -> dict[str, object]:
    """PHP's `$_REQUEST`: the query, then the post over it. What PHP calls empty (`0` too) reads as nothing."""
    values = {**request.args.to_dict(), **request.form.to_dict()}
    return {name: "" if values.get(name) in (None, "", "0") else values[name] for name in names}


def _record(number: int, read: Mapping[str, object]) -> Record:
    return Record(
        number=number,
        at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        path=request.path,
        delivery=request.headers.get("X-Delivery-Id", ""),
        attempt=request.headers.get("X-Delivery-Attempt", ""),
        content_type=request.headers.get("Content-Type", ""),
        body=request.get_data()[:SHOWN_BYTES].decode("utf-8", "replace"),
        read=read,
        headers=tuple(request.headers.items()),
    )


def _records() -> Records:
    found: Records = current_app.extensions["records"]
    return found


def _as_text(answer: Response) -> Response:
    """Whatever was texted is shown, and never run."""
    answer.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; img-src data:; frame-ancestors 'none'"
    )
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Cache-Control"] = "no-store"
    return answer
