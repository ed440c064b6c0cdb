"""For people and tests: `/sandbox/…` of the stand-in. Texts come in here, things are made to go wrong, all is shown."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from gateway.sandbox.carrierx import faults, scenarios
from gateway.sandbox.carrierx.api import exchange
from gateway.sandbox.carrierx.asking import Refused, json_object, read
from gateway.sandbox.carrierx.messages import Message
from gateway.sandbox.carrierx.shapes import moment

blueprint = Blueprint("control", __name__)


@blueprint.before_request
def take_json_only() -> None:
    """A form of some page in a browser must not get in here."""
    if request.method == "POST" and request.mimetype != "application/json":
        raise Refused(415, "Send application/json.")


@blueprint.get("/")
def about() -> ResponseReturnValue:
    text = "A stand-in of CarrierX's Core API, at /core/v2. Handsets whose numbers end so:\n\n"
    return Response(f"{text}{scenarios.table()}\n", mimetype="text/plain")


@blueprint.post("/sandbox/inbound")
def inbound() -> ResponseReturnValue:
    """A text from a handset: the fields of a request to send, `to` being one of the account's numbers."""
    value = json_object(request.get_data())
    names = ("from_did", "to_did") if "from_did" in value else ("from", "to")
    wanted = read(request.get_data(), _Handsets())
    if exchange().account.did_of(wanted.to) is None:
        raise Refused(400, "Invalid request.", (names[1], "Is no phone number of this account."))
    return Response(exchange().inbound(wanted).as_json(), mimetype="application/json")


class _Handsets:
    """Stands for an account in the other direction: anybody may text."""

    def only_number(self) -> str | None:
        return None

    def did_of(self, number: str) -> object:
        return number


@blueprint.get("/sandbox/messages")
def messages() -> ResponseReturnValue:
    """Every message, the oldest first; `?direction=` for one side."""
    side = request.args.get("direction", "")
    return {"messages": [_shown(one) for one in exchange().messages.all() if side in ("", one.text.direction)]}


@blueprint.post("/sandbox/forget")
def forget() -> ResponseReturnValue:
    """All messages."""
    exchange().messages.clear()
    return {}


@blueprint.get("/sandbox/idle")
def idle() -> ResponseReturnValue:
    """Whether anything is still to come: statuses, callbacks, replies."""
    posting = exchange().posting
    outstanding = posting.outstanding
    return {
        "idle": not outstanding,
        "outstanding": outstanding,
        "attempted": posting.attempted,
        "acknowledged": posting.acknowledged,
        "given_up": posting.given_up,
    }


@blueprint.get("/sandbox/misbehave")
def shown() -> ResponseReturnValue:
    return asdict(exchange().misbehaviour)


@blueprint.post("/sandbox/misbehave")
def misbehave() -> ResponseReturnValue:
    """`{"lost_after": 0.1, "seed": 7}`; `"calm": true`: nothing goes wrong any more, but for what stands beside it;
    `"next": ["conflict", "lost_after"]`: what the next requests are answered with."""
    here, values = exchange(), json_object(request.get_data())
    answers, calm = values.pop("next", []), values.pop("calm", False)
    if not isinstance(answers, list) or not all(one in (*faults.ANSWERS, "refused", "") for one in answers):
        raise Refused(400, f"next: a list of {', '.join(faults.ANSWERS)}, refused.")
    try:
        new = faults.changed(faults.Misbehaviour() if calm else here.misbehaviour, values)
    except ValueError as error:
        raise Refused(400, str(error)) from None
    if calm:
        here.calm()
    here.misbehaviour = new
    here.force(answers)
    return asdict(new)


def _shown(message: Message) -> dict[str, Any]:
    text = message.text
    return {
        "message_sid": text.sid,
        "direction": text.direction,
        "from": text.sender,
        "to": text.to,
        "group_recipients": list(text.group),
        "message": text.message,
        "media_urls": list(text.media_urls),
        "user_data": text.user_data,
        "date_created": moment(text.created),
        "status": message.status,
        "statuses": [status for status, _ in message.statuses],
        "acknowledged": list(message.acknowledged),
        "given_up": message.given_up,
    }
