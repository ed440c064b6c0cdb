"""The Core API as the vendor documents it: `/core/v2`."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, g, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from gateway.sandbox.carrierx.asking import Refused, json_object, read
from gateway.sandbox.carrierx.engine import Exchange
from gateway.sandbox.carrierx.faults import Fate
from gateway.sandbox.carrierx.model import Place

EARLY = 10.0
"""Seconds that an answer waits at most for updates that are to come before it."""
LIMIT, MOST = 10, 1000
CUT = "standin.cut"
"""In the WSGI environment: how the server is to lose the answer. See `server`."""

blueprint = Blueprint("core", __name__, url_prefix="/core/v2")


def exchange() -> Exchange:
    found: Exchange = current_app.extensions["carrierx"]
    return found


@blueprint.before_request
def log_in() -> None:
    setup, given = exchange().setup, request.authorization
    known = {("bearer", setup.token)} if setup.token else set()
    known |= {("basic", f"{setup.login}:{setup.password}")} if setup.login else set()
    said = ("", "")
    if given is not None:
        said = (given.type, given.token if given.token is not None else f"{given.username}:{given.password}")
    if known and not any(kind == said[0] and _same(secret, said[1]) for kind, secret in known):
        raise Refused(401, "Not authorized.")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


@blueprint.before_request
def take_json_only() -> None:
    if request.method in ("POST", "PATCH") and request.mimetype != "application/json":
        raise Refused(415, "Unsupported media type: send application/json.")


@blueprint.before_request
def misbehave() -> ResponseReturnValue | None:
    """For all but sending, which has a way of its own."""
    if request.endpoint == "core.send":
        return None
    g.fate = exchange().fate_of_read()
    return None if g.fate.accepts else _not_accepted(g.fate)


@blueprint.after_request
def misbehave_afterwards(answer: Response) -> Response:
    return _spoilt(answer, g.fate) if "fate" in g else answer


@blueprint.post("/sms/messages")
def send() -> ResponseReturnValue:
    here, body = exchange(), request.get_data()
    wanted = read(body, here.account)
    fate = here.fate_of_send(wanted, body)
    if not fate.accepts:
        return _not_accepted(fate)
    message = here.accept(wanted, fate)
    answer = _spoilt(_answer(message.as_json()), fate)
    if fate.early:
        here.posting.begin(message)
        message.heard.wait(EARLY)
    else:
        # The server closes an answer when it is sent, or was cut off: then the first update may go.
        answer.call_on_close(lambda: here.posting.begin(message))
    return answer


def _not_accepted(fate: Fate) -> Response:
    if fate.answer == "refused":
        raise Refused(400, "Invalid request.", ("to", "This phone number cannot be reached."))
    if fate.answer == "conflict":
        raise Refused(409, "Conflict: try again later.")
    if fate.answer == "too_many":
        after = str(exchange().misbehaviour.retry_after)
        raise Refused(429, "Too many requests.", headers={"Retry-After": after})
    return _lost(fate) if fate.answer == "lost_before" else _error()


def _spoilt(answer: Response, fate: Fate) -> Response:
    if fate.answer == "slow":
        time.sleep(exchange().misbehaviour.slow_for)
    if fate.answer == "broken_json":
        return _answer(answer.get_data(as_text=True)[:-2])
    if fate.answer == "error_after":
        return _error()
    if fate.answer == "lost_after":
        request.environ[CUT] = fate.cut
    return answer


def _lost(fate: Fate) -> Response:
    request.environ[CUT] = "close" if fate.cut == "half" else fate.cut
    return _error()


def _error() -> Response:
    return _answer('{"message": "Internal error.", "errors": []}', 500)


@blueprint.get("/sms/messages")
def messages() -> ResponseReturnValue:
    limit, offset = _whole("limit", LIMIT, 1, MOST), _whole("offset", 0, 0, 2**31)
    found, total = exchange().messages.page(limit, offset, newest_first=exchange().setup.newest_first)
    # Put together from what each of them keeps ready: lists of a thousand are asked for often.
    items = ", ".join(message.as_json() for message in found)
    return _answer(f'{{"items": [{items}], {_envelope(len(found), total, limit, offset)}')


@blueprint.get("/sms/messages/<sid>")
def message(sid: str) -> ResponseReturnValue:
    found = exchange().messages.get(sid)
    if found is None:
        raise Refused(404, "Message not found.", ("message_sid", "Not found."))
    return _answer(found.as_json())


@blueprint.get("/partners/<sid>")
@blueprint.patch("/partners/<sid>")
def partner(sid: str) -> ResponseReturnValue:
    account = exchange().account
    if sid != account.partner.sid:
        raise Refused(404, "Partner not found.", ("partner_sid", "Not found."))
    if request.method == "PATCH":
        callbacks = json_object(request.get_data()).get("callbacks", {})
        if not isinstance(callbacks, dict):
            raise Refused(400, "Invalid request.", ("callbacks", "Not an object."))
        _set(account.partner, callbacks, "sms", "callbacks.sms")
    return _json(account.partner_json())


@blueprint.get("/phonenumber/dids")
def dids() -> ResponseReturnValue:
    account = exchange().account
    wanted = request.args.get("phonenumber", "")
    return _list([account.did_json(did) for did in account.dids() if wanted in ("", did.name)])


@blueprint.get("/phonenumber/dids/<sid>")
@blueprint.patch("/phonenumber/dids/<sid>")
def did(sid: str) -> ResponseReturnValue:
    account = exchange().account
    found = account.did(sid)
    if found is None:
        raise Refused(404, "DID not found.", ("did_sid", "Not found."))
    if request.method == "PATCH":
        _set(found, json_object(request.get_data()), "callback_url")
    return _json(account.did_json(found))


@blueprint.get("/phonenumber/did_groups")
def did_groups() -> ResponseReturnValue:
    return _list([exchange().account.group_json()])


@blueprint.get("/phonenumber/did_groups/<sid>")
@blueprint.patch("/phonenumber/did_groups/<sid>")
def did_group(sid: str) -> ResponseReturnValue:
    account = exchange().account
    if sid != account.group.sid:
        raise Refused(404, "DID group not found.", ("did_group_sid", "Not found."))
    if request.method == "PATCH":
        _set(account.group, json_object(request.get_data()), "callback_url")
    return _json(account.group_json())


def _set(place: Place, values: Mapping[str, Any], name: str, shown: str = "") -> None:
    """Only what is there is changed."""
    if name not in values:
        return
    url = values[name]
    if url is not None and not isinstance(url, str):
        raise Refused(400, "Invalid request.", (shown or name, "Not a valid string."))
    if url and not _is_url(url):
        raise Refused(422, "Invalid request.", (shown or name, "Not a valid URL."))
    place.callback_url = url or None


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _list(items: list[dict[str, Any]]) -> Response:
    limit, offset = _whole("limit", LIMIT, 1, MOST), _whole("offset", 0, 0, 2**31)
    page = items[offset : offset + limit]
    return _answer(f'{{"items": {json.dumps(page)}, {_envelope(len(page), len(items), limit, offset)}')


def _envelope(count: int, total: int, limit: int, offset: int) -> str:
    rest = {"count": count, "has_more": offset + count < total, "limit": limit, "offset": offset, "total": total}
    return json.dumps(rest)[1:]


def _whole(name: str, otherwise: int, least: int, most: int) -> int:
    text = request.args.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise Refused(400, "Invalid request.", (name, f"Not a number from {least} to {most}."))
    return int(text)


def _json(value: object) -> Response:
    return _answer(json.dumps(value, ensure_ascii=False))


def _answer(text: str, status: int = 200) -> Response:
    return Response(text, status, mimetype="application/json")


def refused(error: Refused) -> Response:
    answer = _answer(json.dumps(error.body), error.status)
    answer.headers.update(error.headers)
    return answer


def plain_error(error: HTTPException) -> Response:
    """Flask's own, in the vendor's shape."""
    return _answer(json.dumps({"message": error.description, "errors": []}), error.code or 500)
