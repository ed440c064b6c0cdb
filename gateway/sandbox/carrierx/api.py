"""The Core API of the stand-in as the vendor documents it (`/core/v2`), and `/sandbox/…` for people and tests.

The latter takes texts from handsets, sets faults, and shows everything.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TypeVar

from flask import Blueprint, Response, current_app, g, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import Authorization
from werkzeug.exceptions import HTTPException

from gateway.sandbox.carrierx import faults
from gateway.sandbox.carrierx.engine import Engine
from gateway.sandbox.carrierx.faults import Misbehaviour, PlannedFaults, scenario_table
from gateway.sandbox.carrierx.model import ApiError, StubMessage, json_object, read_send_request

EARLY_TIMEOUT_SECONDS = 10.0  # an answer waits no longer than this for callbacks that are to come before it
DEFAULT_LIMIT, MAX_LIMIT = 10, 1000
CUT = "Stand-In-Cut"  # header that tells `CarrierXStub` how to lose the answer; the server removes it

SERVER_ERROR = ApiError(500, "Internal error.")
_URL = re.compile(r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?([/?#]\S*)?")
T = TypeVar("T")

core = Blueprint("core", __name__, url_prefix="/core/v2")
control = Blueprint("control", __name__)


def engine() -> Engine:
    found: Engine = current_app.extensions["carrierx"]
    return found


def json_answer(text: str) -> Response:
    return Response(text, mimetype="application/json")


def show_api_error(error: ApiError) -> Response:
    return Response(json.dumps(error.body), error.status, error.headers, mimetype="application/json")


def show_http_error(error: HTTPException) -> Response:
    """Flask's own errors in the vendor's shape."""
    return show_api_error(ApiError(error.code or 500, error.description or error.name))


# The Core API


@core.before_request
def authenticate() -> None:
    setup, accepted = engine().setup, list[Authorization]()
    if setup.token:
        accepted.append(Authorization("bearer", token=setup.token))
    if setup.login:
        accepted.append(Authorization("basic", {"username": setup.login, "password": setup.password}))
    if accepted and request.authorization not in accepted:
        raise ApiError(401, "Not authorized.")


@core.before_request
@control.before_request
def require_json() -> None:
    """A page in a browser could post a form here, but not JSON."""
    if request.method in ("POST", "PATCH") and request.mimetype != "application/json":
        raise ApiError(415, "Unsupported media type: send application/json.")


@core.before_request
def misbehave_before() -> ResponseReturnValue | None:
    """Plans the faults of all requests but those to send, which `send` plans itself."""
    if request.endpoint == "core.send":
        return None
    g.faults = engine().plan_read()
    return None if g.faults.accepts else _refusal(g.faults)


@core.after_request
def misbehave_after(answer: Response) -> Response:
    return _with_fault(answer, g.faults) if "faults" in g else answer


@core.post("/sms/messages")
def send() -> ResponseReturnValue:
    stub, body = engine(), request.get_data()
    wanted = read_send_request(body, stub.account)
    planned = stub.plan_send(wanted, body)
    if not planned.accepts:
        return _refusal(planned)
    message = stub.accept(wanted, planned)
    answer = _with_fault(json_answer(message.as_json()), planned)
    if planned.early:
        stub.poster.start(message)
        message.early_posted.wait(EARLY_TIMEOUT_SECONDS)
    else:
        # The server closes an answer when it is sent, or was cut off: then the first callback may go.
        answer.call_on_close(lambda: stub.poster.start(message))
    return answer


def _refusal(planned: PlannedFaults) -> Response:
    """The answer to a request that is not accepted."""
    later = {"Retry-After": str(engine().misbehaviour.retry_after)}
    errors = {
        "refused": ApiError(400, "Invalid request.", ("to", "This phone number cannot be reached.")),
        "conflict": ApiError(409, "Conflict: try again later."),
        "too_many": ApiError(429, "Too many requests.", headers=later),
    }
    answer = show_api_error(errors.get(planned.answer, SERVER_ERROR))
    if planned.answer == "lost_before":
        answer.headers[CUT] = "close" if planned.cut == "half" else planned.cut
    return answer


def _with_fault(answer: Response, planned: PlannedFaults) -> Response:
    """The answer to a request that was accepted, or one that is broken as planned."""
    if planned.answer == "slow":
        time.sleep(engine().misbehaviour.slow_for)
    if planned.answer == "broken_json":
        return json_answer(answer.get_data(as_text=True)[:-2])
    if planned.answer == "error_after":
        return show_api_error(SERVER_ERROR)
    if planned.answer == "lost_after":
        answer.headers[CUT] = planned.cut
    return answer


@core.get("/sms/messages")
def list_messages() -> ResponseReturnValue:
    messages = engine().messages.all()
    if engine().setup.newest_first:
        messages.reverse()
    return _list_answer(messages, StubMessage.as_json)


@core.get("/sms/messages/<sid>")
def get_message(sid: str) -> ResponseReturnValue:
    message = engine().messages.get(sid)
    if message is None:
        raise ApiError(404, "Message not found.", ("message_sid", "Not found."))
    return json_answer(message.as_json())


@core.get("/phonenumber/dids")
def list_dids() -> ResponseReturnValue:
    wanted = request.args.get("phonenumber", "")
    return _list_answer([did for did in engine().account.dids() if wanted in ("", did["phonenumber"])], json.dumps)


@core.get("/phonenumber/did_groups")
def list_did_groups() -> ResponseReturnValue:
    return _list_answer([engine().account.group], json.dumps)


@core.route("/partners/<sid>", methods=["GET", "PATCH"], defaults={"kind": "partner"})
@core.route("/phonenumber/dids/<sid>", methods=["GET", "PATCH"], defaults={"kind": "did"})
@core.route("/phonenumber/did_groups/<sid>", methods=["GET", "PATCH"], defaults={"kind": "did_group"})
def account_object(kind: str, sid: str) -> ResponseReturnValue:
    """Shows an object of the account. A PATCH sets its callback URL first, if it names one, and nothing else."""
    target = engine().account.find(kind, sid)
    if target is None:
        title = {"partner": "Partner", "did": "DID", "did_group": "DID group"}[kind]
        raise ApiError(404, f"{title} not found.", (f"{kind}_sid", "Not found."))
    if request.method == "PATCH":
        values = json_object(request.get_data())
        if kind == "partner":
            callbacks = values.get("callbacks", {})
            if not isinstance(callbacks, dict):
                raise ApiError(400, "Invalid request.", ("callbacks", "Not an object."))
            if "sms" in callbacks:
                target["callbacks"]["sms"] = _callback_url(callbacks["sms"], "callbacks.sms")
        elif "callback_url" in values:
            target["callback_url"] = _callback_url(values["callback_url"], "callback_url")
    return target


def _callback_url(url: object, name: str) -> str | None:
    """Checks a callback URL that an error calls `name`. None and the empty text remove it."""
    if url is None or url == "":
        return None
    if not isinstance(url, str):
        raise ApiError(400, "Invalid request.", (name, "Not a valid string."))
    if not _URL.fullmatch(url):
        raise ApiError(422, "Invalid request.", (name, "Not a valid URL."))
    return url


def _list_answer(found: Sequence[T], as_json: Callable[[T], str]) -> Response:
    """One page of a list. Put together from texts: messages keep theirs ready, as thousands are asked for often."""
    limit, offset = _integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT), _integer("offset", 0, 0, 2**31)
    page, total = found[offset : offset + limit], len(found)
    rest = {"count": len(page), "has_more": offset + limit < total, "limit": limit, "offset": offset, "total": total}
    return json_answer(f'{{"items": [{", ".join(map(as_json, page))}], {json.dumps(rest)[1:]}')


def _integer(name: str, default: int, least: int, most: int) -> int:
    text = request.args.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise ApiError(400, "Invalid request.", (name, f"Not a number from {least} to {most}."))
    return int(text)


# For people and tests


@control.get("/")
def about() -> ResponseReturnValue:
    text = "A stand-in for CarrierX's Core API, at /core/v2. The last four digits of a handset's number choose:\n\n"
    return Response(f"{text}{scenario_table()}\n", mimetype="text/plain")


@control.post("/sandbox/inbound")
def inbound() -> ResponseReturnValue:
    """Takes a text from a handset: the fields of a request to send, `to` being one of the account's numbers."""
    text = read_send_request(request.get_data(), None)
    if engine().account.did_of(text.to) is None:
        name = "to_did" if "from_did" in json_object(request.get_data()) else "to"
        raise ApiError(400, "Invalid request.", (name, "Is no phone number of this account."))
    return json_answer(engine().receive(text).as_json())


@control.get("/sandbox/messages")
def show_messages() -> ResponseReturnValue:
    """Every message, the oldest first; `?direction=` for one direction."""
    direction = request.args.get("direction", "")
    messages = [
        message.attributes()
        | {
            "statuses": [status for status, _ in message.statuses],
            "acknowledged": message.acknowledged,
            "given_up": message.given_up,
        }
        for message in engine().messages.all()
        if direction in ("", message.direction)
    ]
    return {"messages": messages}


@control.post("/sandbox/forget")
def forget() -> ResponseReturnValue:
    """Forgets all messages."""
    engine().messages.clear()
    return {}


@control.get("/sandbox/idle")
def idle() -> ResponseReturnValue:
    """Shows whether anything is still to come: statuses, callbacks, replies."""
    outstanding = engine().poster.outstanding
    return {"idle": not outstanding, "outstanding": outstanding, **engine().poster.counts}


@control.get("/sandbox/misbehave")
def show_misbehaviour() -> ResponseReturnValue:
    return asdict(engine().misbehaviour)


@control.post("/sandbox/misbehave")
def misbehave() -> ResponseReturnValue:
    """Sets faults: `{"lost_after": 0.1, "seed": 7}`.
    `"calm": true` ends all faults but those named beside it. `"next": ["conflict", "lost_after"]` answers the next
    requests like this."""
    stub, values = engine(), json_object(request.get_data())
    answers, calm = values.pop("next", []), values.pop("calm", False)
    if not isinstance(answers, list) or not all(answer in (*faults.ANSWERS, "refused", "") for answer in answers):
        raise ApiError(400, f"next: a list of {', '.join(faults.ANSWERS)}, refused.")
    try:
        new = faults.changed(Misbehaviour() if calm else stub.misbehaviour, values)
    except ValueError as error:
        raise ApiError(400, str(error)) from None
    if calm:
        stub.calm()
    stub.misbehaviour = new
    stub.force(answers)
    return asdict(new)
