"""The console's pages about what is sent: the search of the ledger, one send whole, and what a person decides."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gateway.delivery.redaction import EndpointRedaction
from gateway.sender import deciding
from gateway.store import Connection, ledger
from gateway.store.events import Event
from gateway.store.ledger import LedgerEntry
from gateway.store.search import Delivery, EventDetail, EventSearch, load_delivery, load_event, search_events
from gateway.store.statement import index_key
from gateway.web.console import words
from gateway.web.console.paging import PAGE, offset_asked, other_page
from gateway.web.console.search_forms import SENDS, send_query
from gateway.web.context import config, now, web_context
from schemas import BadCallback, wire
from schemas.status import WORDS

UPDATES = 100
"""Updates of one message that are shown: the flow has no more than nine, a platform may repeat itself."""
LONGEST_SID = 200

blueprint = Blueprint("sends", __name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendDetail:
    """One send with everything that belongs to it; what was swept away is missing."""

    entry: LedgerEntry
    event: Event | None
    delivery: Delivery | None
    updates: tuple[Event, ...]
    posts: tuple[Delivery, ...]
    """Status posts that are owed for it, or were."""


@blueprint.get("/sends")
def search() -> ResponseReturnValue:
    question, offset = send_query(dict(request.args.items()), config()), offset_asked()
    with web_context().store.reader() as connection:
        page = ledger.search_sends(connection, question.search, limit=PAGE, offset=offset)
        found = [entry for one in page.send_ids if (entry := ledger.of_send(connection, one))]
    return render_template(
        "sends.html",
        found=found,
        typed=question.typed,
        errors=question.errors,
        states=ledger.STATES,
        statuses=[word for word in WORDS if word != "received"],
        older=other_page(SENDS, offset + PAGE) if page.more else None,
        newer=other_page(SENDS, max(offset - PAGE, 0)) if offset else None,
    ), 400 if question.errors else 200


@blueprint.get("/sends/<uuid:send_id>")
def one(send_id: uuid.UUID) -> ResponseReturnValue:
    with web_context().store.reader() as connection:
        whole = _whole(connection, str(send_id)) or abort(404, "There is no such send, or not any more.")
    return render_template(
        "send.html",
        entry=whole.entry,
        event=whole.event,
        delivery=whole.delivery,
        updates=whole.updates,
        posts=whole.posts,
        request_=_request(whole.delivery),
        words=words,
        no_secrets=EndpointRedaction.none(),
        now=now(),
    )


def _whole(connection: Connection, send_id: str) -> SendDetail | None:
    entry = ledger.of_send(connection, send_id)
    if entry is None:
        return None
    call = load_event(connection, entry.ticket_number)
    updates = _updates(connection, entry)
    owing = [*(call.deliveries if call else ()), *(one for each in updates for one in each.deliveries)]
    return SendDetail(
        entry=entry,
        event=call.event if call else None,
        delivery=load_delivery(connection, send_id),
        updates=tuple(each.event for each in updates),
        posts=tuple(sorted((one for one in owing if _is_post(one, entry)), key=lambda one: one.id)),
    )


def _updates(connection: Connection, entry: LedgerEntry) -> list[EventDetail]:
    """What came for its message_sid, the oldest first."""
    if not entry.message_sid:
        return []
    page = search_events(connection, EventSearch(message_sid=entry.message_sid), limit=UPDATES)
    wholes = [load_event(connection, found.event.id) for found in reversed(page.found)]
    return [whole for whole in wholes if whole is not None]


def _is_post(delivery: Delivery, entry: LedgerEntry) -> bool:
    """Not the text itself, and not what the same call owes for its other recipients."""
    names = (entry.message_sid or entry.send_id, entry.send_id)
    return delivery.ordering_key in {index_key(f"{delivery.endpoint}/message/{name}") for name in names}


def _request(delivery: Delivery | None) -> dict[str, object]:
    """What is asked of CarrierX, out of the very bytes that are posted."""
    try:
        return dict(wire.read_object(delivery.body)) if delivery else {}
    except BadCallback:
        return {}


@blueprint.post("/sends/<uuid:send_id>/sent")
def was_sent(send_id: uuid.UUID) -> ResponseReturnValue:
    message_sid = request.form.get("message_sid", "").strip()
    if len(message_sid) > LONGEST_SID or not message_sid.isprintable():
        abort(400, "message_sid: this is none.")
    return _decide(
        send_id, "sent", lambda: deciding.was_sent(web_context().store, str(send_id), message_sid, config(), now())
    )


@blueprint.post("/sends/<uuid:send_id>/again")
def again(send_id: uuid.UUID) -> ResponseReturnValue:
    return _decide(send_id, "again", lambda: deciding.send_again(web_context().store, str(send_id), now()))


@blueprint.post("/sends/<uuid:send_id>/given-up")
def give_up(send_id: uuid.UUID) -> ResponseReturnValue:
    return _decide(send_id, "given up", lambda: deciding.give_up(web_context().store, str(send_id), config(), now()))


SAID = {
    "sent": "Noted: it was sent. It is not sent again.",
    "again": "It is owed again.",
    "given up": "Given up: its sender is told that it failed.",
}


def _decide(send_id: uuid.UUID, what: str, decide: Callable[[], frozenset[str]]) -> ResponseReturnValue:
    there = redirect(url_for(".one", send_id=send_id), 303)
    if "confirmed" not in request.form:
        flash("Nothing was done: tick what you decide, then press the button.", "wait")
        return there
    try:
        endpoints = decide()
    except deciding.AlreadyDecided as error:
        flash(str(error), "wait")
        return there
    web_context().notifier.ring(endpoints)
    web_context().log.info("send_decided", send=str(send_id), decision=what)
    flash(SAID[what], "good")
    return there
