"""The console's pages of texts to be sent: search, one send with all that belongs to it, and what a person decides."""

from __future__ import annotations

import uuid

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gateway.delivery.redaction import EndpointRedaction
from gateway.sender import settle
from gateway.store import ledger
from gateway.store.search import EventSearch, load_delivery, load_event, search_events
from gateway.store.statement import index_key
from gateway.web.console.search_forms import PAGE_ROWS, SEND_FIELDS, page_links, requested_offset, send_form
from gateway.web.context import audit_entry, config, now, web_context
from schemas import wire
from schemas.status import WORDS

MAX_UPDATES = 100
"""Updates of one message that are shown: there are no more than nine statuses, but a platform may repeat them."""
MAX_SID_CHARACTERS = 200
DECIDED = {
    "sent": "Noted: it was sent. It is not sent again.",
    "again": "It will be sent again.",
    "given-up": "Given up: its sender is told that it failed.",
}

blueprint = Blueprint("sends", __name__)


@blueprint.get("/sends")
def search() -> ResponseReturnValue:
    typed, conditions, errors = send_form(dict(request.args.items()), config())
    offset = requested_offset()
    with web_context().store.reader() as connection:
        page = ledger.search_sends(connection, conditions, limit=PAGE_ROWS, offset=offset)
        found = [entry for send_id in page.send_ids if (entry := ledger.of_send(connection, send_id))]
    return render_template(
        "sends.html",
        found=found,
        typed=typed,
        errors=errors,
        states=ledger.STATES,
        statuses=[word for word in WORDS if word != "received"],
        **page_links(SEND_FIELDS, offset, page.more),
    ), 400 if errors else 200


@blueprint.get("/sends/<uuid:send_id>")
def detail(send_id: uuid.UUID) -> ResponseReturnValue:
    """One send with everything that belongs to it; what was deleted after its retention is missing."""
    with web_context().store.reader() as connection:
        entry = ledger.of_send(connection, str(send_id)) or abort(404, "There is no such send, or not any more.")
        call = load_event(connection, entry.ticket_number)
        delivery = load_delivery(connection, entry.send_id)
        updates = []
        if entry.message_sid:
            page = search_events(connection, EventSearch(message_sid=entry.message_sid), limit=MAX_UPDATES)
            loaded = (load_event(connection, found.event.id) for found in reversed(page.found))
            updates = [update for update in loaded if update is not None]
    # Its status posts: not the text itself, and not what the same call owes for its other recipients.
    sids = (entry.message_sid or entry.send_id, entry.send_id)
    owed = [*(call.deliveries if call else ()), *(each for update in updates for each in update.deliveries)]
    posts = [
        each for each in owed if each.ordering_key in {index_key(f"{each.endpoint}/message/{sid}") for sid in sids}
    ]
    return render_template(
        "send.html",
        entry=entry,
        event=call.event if call else None,
        delivery=delivery,
        updates=[update.event for update in updates],
        posts=sorted(posts, key=lambda each: each.id),
        request_=wire.read_object(delivery.body) if delivery and delivery.body else {},
        no_secrets=EndpointRedaction.none(),
        now=now(),
    )


@blueprint.post("/sends/<uuid:send_id>/<any(sent, again, 'given-up'):decision>")
def decide(send_id: uuid.UUID, decision: str) -> ResponseReturnValue:
    """Records what a person decides of an undecided send: it was sent, is to be sent again, or is given up."""
    message_sid = request.form.get("message_sid", "").strip()
    if len(message_sid) > MAX_SID_CHARACTERS or not message_sid.isprintable():
        abort(400, "message_sid: this is not one.")
    page = redirect(url_for(".detail", send_id=send_id), 303)
    if "confirmed" not in request.form:
        flash("Nothing was done: tick what you decide, then press the button.", "wait")
        return page
    store, entry = web_context().store, audit_entry("decision", f"send {send_id}", decision=decision)
    try:
        if decision == "sent":
            endpoints = settle.decide_sent(store, str(send_id), message_sid, config(), now(), entry)
        elif decision == "again":
            endpoints = settle.decide_send_again(store, str(send_id), now(), entry)
        else:
            endpoints = settle.decide_given_up(store, str(send_id), config(), now(), entry)
    except settle.AlreadyDecided as error:
        flash(str(error), "wait")
        return page
    web_context().notifier.notify(endpoints)
    web_context().log.info("send_decided", send=str(send_id), decision=decision.replace("-", " "))
    flash(DECIDED[decision], "good")
    return page
