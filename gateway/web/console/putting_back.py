"""What the console changes: deliveries are put back into the outbox, unrouted events are routed after all."""

from __future__ import annotations

import uuid
from typing import Literal

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from gateway.inbound.rerouting import reroute, reroute_all
from gateway.store import ledger, replay, search
from gateway.web.console.search_forms import moment
from gateway.web.context import config, now, web_context

blueprint = Blueprint("putting_back", __name__)


@blueprint.post("/deliveries/<uuid:delivery_id>/replay")
def replay_one(delivery_id: uuid.UUID) -> ResponseReturnValue:
    with web_context().store.reader() as connection:
        found = search.load_delivery(connection, str(delivery_id))
    if found is None:
        abort(404, "There is no such delivery, or not any more.")
    if found.endpoint == ledger.ENDPOINT and not _was_refused(found.delivery_id):
        flash("Nothing is texted twice: what is to become of this text is decided on its own page.", "wait")
    elif found.state != "pending":
        _replay(replay.ReplayFilter(state=_state(found.state), delivery_ids=[found.delivery_id]))
    else:
        flash("It is on its way already.", "wait")
    return redirect(url_for("console.event", event_id=found.event_id, _anchor=f"delivery-{found.delivery_id}"), 303)


def _was_refused(send_id: str) -> bool:
    with web_context().store.reader() as connection:
        entry = ledger.of_send(connection, send_id)
    return entry is not None and entry.state == "refused"


@blueprint.post("/deliveries/replay")
def replay_filter() -> ResponseReturnValue:
    """All settled deliveries of one state: of an endpoint or all, settled since then or ever."""
    state, endpoint = _state(request.form.get("state", "dead")), request.form.get("to") or None
    try:
        since = moment(request.form.get("since", "").strip())
    except ValueError:
        abort(400, "since: write a time like 2026-11-20T08:00.")
    _replay(replay.ReplayFilter(state=state, endpoint=endpoint, since=since))
    return redirect(url_for("console.deliveries", state=state, to=endpoint), 303)


def _state(text: str) -> Literal["dead", "succeeded"]:
    if text not in ("dead", "succeeded"):
        abort(400, "state: dead or succeeded.")
    return "succeeded" if text == "succeeded" else "dead"


def _replay(which: replay.ReplayFilter) -> None:
    count = replay.replay_all(web_context().store, which, now())
    if count:
        web_context().notifier.ring()
    web_context().log.info("replayed", state=which.state, endpoint=which.endpoint, count=count)
    flash(f"Put back {count} {'delivery' if count == 1 else 'deliveries'}.", "good" if count else "wait")


@blueprint.post("/events/<int:event_id>/route")
def route_one(event_id: int) -> ResponseReturnValue:
    _routed(*((1, 0) if reroute(event_id, config(), web_context().store) else (0, 1)))
    return redirect(url_for("console.event", event_id=event_id), 303)


@blueprint.post("/unrouted/route")
def route_all() -> ResponseReturnValue:
    _routed(*reroute_all(config(), web_context().store))
    return redirect(url_for("console.unrouted"), 303)


def _routed(routed: int, left: int) -> None:
    if routed:
        web_context().notifier.ring()
    web_context().log.info("routed_later", routed=routed, left=left)
    flash(f"Routed {routed}; {left} still go nowhere.", "good" if routed and not left else "wait")
