"""The page `/sandbox/send`: send a text as a legacy application would, and see which statuses come back."""

from __future__ import annotations

import secrets
from dataclasses import asdict

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from gateway.config import Config
from gateway.sandbox.platforms import Text, post, send_message
from gateway.sandbox.stories import AGAIN, Step, number_of, own_address, remember, replies, steps, under_way
from gateway.store import ledger
from gateway.store import search as kept
from gateway.store.ledger import LedgerEntry
from gateway.web.context import config, web_context

HANDSET = "15162060001"
"""One that gets what it is sent; other endings do other things."""
LONGEST = 1600

blueprint = Blueprint("sandbox_send", __name__, url_prefix="/sandbox/send", template_folder="templates")


@blueprint.post("")
def send() -> ResponseReturnValue:
    """By HTTP through the gateway's own front door, as a form post, with the credentials of the configuration."""
    number = number_of(request.form.get("number", ""))
    text = Text(
        handset=request.form.get("phone", "").strip() or HANDSET,
        number=number.number,
        text=request.form.get("text", "").replace("\r\n", "\n")[:LONGEST],
        id=f"sandbox-{secrets.token_hex(8)}",
    )
    remember(text.id, [post(send_message(text, number.shortcode, _credentials(config())), own_address())])
    return redirect(url_for("sandbox_send.story", id=text.id), 303)


@blueprint.get("/<id>")
def story(id: str) -> ResponseReturnValue:
    """The answer with its ticket, what was sent to CarrierX, and every status with what the page read of it."""
    entries, came = _entries(id), replies().get(id)
    found = _steps(entries)
    if not found and came is None:
        raise NotFound
    goes_on = under_way(found) or any(
        entry.state in ("owed", "sending", "sent") and not entry.final for entry in entries
    )
    answer = current_app.make_response(
        render_template("story.html", kind="send", steps=found, replies=came or [], under_way=goes_on, entries=entries)
    )
    if goes_on:
        answer.headers["Refresh"] = str(AGAIN)
    return answer


def _credentials(now: Config) -> dict[str, str]:
    """Those that are checked."""
    trio = asdict(now.legacy) if now.legacy is not None else {}
    return {name: value for name, value in trio.items() if value}


def _entries(custom_ticket: str) -> list[LedgerEntry]:
    with web_context().store.reader() as connection:
        return ledger.of_custom_ticket(connection, custom_ticket)


def _steps(entries: list[LedgerEntry]) -> list[Step]:
    """The call, and every update of what it became."""
    updates = (kept.EventSearch(message_sid=entry.message_sid) for entry in entries if entry.message_sid)
    return steps(*updates, ids={entry.ticket_number for entry in entries})
