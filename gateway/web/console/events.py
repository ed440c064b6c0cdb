"""The console's pages of events: overview, search, deliveries, replays; also the configuration and `explain`."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gateway.delivery.redaction import EndpointRedaction
from gateway.inbound.accept import keys_used_up, reroute, reroute_all
from gateway.preview import facts
from gateway.routing.explain import explain
from gateway.routing.route import load_message
from gateway.safe_http.ssrf import mask_url, origin_of
from gateway.store import ledger, replay, search
from gateway.store.events import Event
from gateway.web.console import config as configuration
from gateway.web.console import search_forms, templating
from gateway.web.console.search_forms import PAGE_ROWS
from gateway.web.context import audit_entry, config, now, record_audit, web_context
from schemas import FORMATS, BadCallback, Message, ReceiveContext

DAY_SECONDS = 86_400
NO_DELIVERY = "There is no such delivery, or not any more."

blueprint = Blueprint("console", __name__)


@blueprint.get("/")
def overview() -> ResponseReturnValue:
    current, status_cache, at = config(), web_context().status_cache, now()
    with web_context().store.reader() as connection:
        state = search.overview(connection, at - DAY_SECONDS, current.endpoints)
        open_sends = ledger.open_sends(connection)
    snapshot = status_cache.snapshot(at)
    return render_template(
        "overview.html",
        state=state,
        sending=open_sends,
        has_account=current.carrierx.is_set,
        now=at,
        configured=current.endpoints,
        breakers={name: templating.breaker_label(each, at) for name, each in snapshot.breakers.items()},
        worker=snapshot.gauges.worker,
        worker_warning=templating.worker_warning(snapshot.gauges.worker, at),
        silent=templating.silent_keywords(status_cache.last_heard(current, at), current, at),
        since=snapshot.gauges.oldest_event,
    )


@blueprint.get("/events")
@blueprint.get("/unrouted", endpoint="unrouted")
@blueprint.get("/refused", endpoint="refused")
def events() -> ResponseReturnValue:
    """The search; or, on pages of their own, all events of one state."""
    page_name = request.path.strip("/")
    arguments = dict(request.args.items()) if page_name == "events" else {"state": page_name}
    typed, conditions, errors = search_forms.event_form(arguments, config())
    offset = search_forms.requested_offset()
    with web_context().store.reader() as connection:
        page = search.search_events(connection, conditions, limit=PAGE_ROWS, offset=offset)
        used_up = keys_used_up(connection, config(), now()) if page_name == "refused" else []
    messages = {found.event.id: _message(found.event) for found in page.found}
    return render_template(
        "events.html",
        title=page_name.capitalize(),
        page=page,
        used_up=used_up,
        texts={event_id: message.message for event_id, message in messages.items() if message},
        typed=typed,
        errors=errors,
        states=search_forms.EVENT_STATES,
        sources=search_forms.EVENT_SOURCES,
        **search_forms.page_links(search_forms.EVENT_FIELDS, offset, page.more),
    ), 400 if errors else 200


def _message(event: Event) -> Message | None:
    """Reads an event's body again, by today's configuration. None where it is no message, was cut or is blanked."""
    if event.source not in FORMATS or event.blanked_at:
        return None
    received_at = datetime.fromtimestamp(event.received_at, UTC)
    context = ReceiveContext(now=received_at, sid=event.message_sid, prefix=config().prefix)
    try:
        return load_message(event.body, event.content_type or None, event.source, context, config())[0]
    except BadCallback:
        return None


@blueprint.get("/events/<int:event_id>")
def event(event_id: int) -> ResponseReturnValue:
    """One event: what came in, byte for byte, what it became, every attempt."""
    detail = _load_event(event_id)
    message = _message(detail.event)
    with web_context().store.reader() as connection:
        entries = ledger.of_event(connection, event_id)
    endpoints = {each.endpoint: config().endpoint(each.endpoint) for each in detail.deliveries}
    return render_template(
        "event.html",
        event=detail.event,
        entries=entries,
        refused={entry.send_id for entry in entries if entry.state == "refused"},
        deliveries=detail.deliveries,
        facts=facts(message) if message else [],
        # The secrets that answers may hold, also those of URLs that a call named.
        secrets={name: EndpointRedaction.of(endpoint) for name, endpoint in endpoints.items() if endpoint},
        no_secrets=EndpointRedaction.none(),
        now=now(),
    )


@blueprint.get("/events/<int:event_id>/body")
def body(event_id: int) -> ResponseReturnValue:
    """The body as a file to save: no browser renders it as the type that it claims to be."""
    record_audit("export", f"event {event_id}")
    response = Response(_load_event(event_id).event.body, mimetype="application/octet-stream")
    response.headers["Content-Disposition"] = f'attachment; filename="event-{event_id}.bin"'
    return response


def _load_event(event_id: int) -> search.EventDetail:
    with web_context().store.reader() as connection:
        return search.load_event(connection, event_id) or abort(404, "There is no such event, or not any more.")


@blueprint.get("/deliveries")
def deliveries() -> ResponseReturnValue:
    """Settled deliveries, to one endpoint or all."""
    state = "succeeded" if request.args.get("state") == "succeeded" else "dead"
    endpoint, offset = request.args.get("to") or None, search_forms.requested_offset()
    with web_context().store.reader() as connection:
        found = search.settled_deliveries(connection, state, endpoint, limit=PAGE_ROWS + 1, offset=offset)
    return render_template(
        "deliveries.html",
        found=found[:PAGE_ROWS],
        state=state,
        endpoint=endpoint,
        endpoints=sorted({*config().endpoints, *([endpoint] if endpoint else []), ledger.ENDPOINT}),
        **search_forms.page_links(("state", "to"), offset, len(found) > PAGE_ROWS),
    )


@blueprint.get("/deliveries/<uuid:delivery_id>")
def delivery(delivery_id: uuid.UUID) -> ResponseReturnValue:
    """The page of its event, by the id that the endpoint got."""
    with web_context().store.reader() as connection:
        found = search.load_delivery(connection, str(delivery_id)) or abort(404, NO_DELIVERY)
    return redirect(url_for(".event", event_id=found.event_id, _anchor=f"delivery-{found.delivery_id}"))


@blueprint.post("/deliveries/<uuid:delivery_id>/replay")
def replay_one(delivery_id: uuid.UUID) -> ResponseReturnValue:
    with web_context().store.reader() as connection:
        found = search.load_delivery(connection, str(delivery_id)) or abort(404, NO_DELIVERY)
        entry = ledger.of_send(connection, found.delivery_id) if found.endpoint == ledger.ENDPOINT else None
    if found.endpoint == ledger.ENDPOINT and (entry is None or entry.state != "refused"):
        flash("No text is sent twice: decide on its own page what is to become of this one.", "wait")
    elif not found.content_type and found.attempts_made:
        flash("It cannot be sent again: its body is deleted after its retention.", "bad")
    elif found.state != "pending":
        _replay(replay.ReplayFilter(state=_settled_state(found.state), delivery_ids=[found.delivery_id]))
    else:
        flash("It is on its way already.", "wait")
    return redirect(url_for(".event", event_id=found.event_id, _anchor=f"delivery-{found.delivery_id}"), 303)


@blueprint.post("/deliveries/replay")
def replay_filter() -> ResponseReturnValue:
    """Replays all settled deliveries of one state: to one endpoint or all, settled since a time or ever."""
    state, endpoint = _settled_state(request.form.get("state", "dead")), request.form.get("to") or None
    try:
        since = search_forms.epoch_time(request.form.get("since", "").strip())
    except ValueError:
        abort(400, "since: write a time like 2026-11-20T08:00.")
    _replay(replay.ReplayFilter(state=state, endpoint=endpoint, since=since))
    return redirect(url_for(".deliveries", state=state, to=endpoint), 303)


def _settled_state(text: str) -> Literal["dead", "succeeded"]:
    if text not in ("dead", "succeeded"):
        abort(400, "state: dead or succeeded.")
    return "succeeded" if text == "succeeded" else "dead"


def _replay(which: replay.ReplayFilter) -> None:
    subject = (
        f"delivery {which.delivery_ids[0]}" if which.delivery_ids else mask_url(origin_of(which.endpoint or "every"))
    )
    record_audit("replay", subject, state=which.state, since=which.since)
    count = replay.replay_all(web_context().store, which, now())
    if count:
        web_context().notifier.notify()
    with web_context().store.reader() as connection:
        blanked = replay.count_blanked(connection, which)
    web_context().log.info(
        "replayed", state=which.state, endpoint=which.endpoint and mask_url(which.endpoint), count=count
    )
    flash(f"Put back {count} {'delivery' if count == 1 else 'deliveries'}.", "good" if count else "wait")
    if blanked:
        flash(f"{blanked} cannot be sent again: their bodies are deleted after their retention.", "wait")


@blueprint.post("/events/<int:event_id>/route")
def route_one(event_id: int) -> ResponseReturnValue:
    if _load_event(event_id).event.blanked_at:
        flash("It cannot be routed: its text is deleted after its retention.", "bad")
        return redirect(url_for(".event", event_id=event_id), 303)
    is_routed = reroute(event_id, config(), web_context().store, audit_entry("reroute", f"event {event_id}"))
    _tell_routed(int(is_routed), int(not is_routed))
    return redirect(url_for(".event", event_id=event_id), 303)


@blueprint.post("/unrouted/route")
def route_all() -> ResponseReturnValue:
    record_audit("reroute", "unrouted")
    _tell_routed(*reroute_all(config(), web_context().store))
    return redirect(url_for(".unrouted"), 303)


def _tell_routed(routed: int, left: int, blanked: int = 0) -> None:
    """Tells the worker, the log and the user how many events have a route now."""
    if routed:
        web_context().notifier.notify()
    web_context().log.info("routed_later", routed=routed, left=left)
    flash(f"Routed {routed}; {left} still go nowhere.", "good" if routed and not left else "wait")
    if blanked:
        flash(f"{blanked} cannot be routed: their texts are deleted after their retention.", "wait")


@blueprint.get("/configuration")
def settings() -> ResponseReturnValue:
    """The configuration in force with its warnings, and the mistakes in a newer one."""
    current, error = config(), web_context().settings.refused
    return render_template(
        "configuration.html",
        config=current,
        gateway=configuration.gateway_rows(current),
        endpoints=[(each.name, configuration.endpoint_rows(each)) for each in current.endpoints.values()],
        numbers=[(each, configuration.setting_rows("number", each)) for each in current.numbers],
        keyword=partial(configuration.setting_rows, "number.keyword"),
        operator_rows=partial(configuration.setting_rows, "operator"),
        faults=[fault.message(error.file) for fault in error.faults] if error else [],
    )


@blueprint.get("/explain")
def explained() -> ResponseReturnValue:
    """Which keyword a text matches, why, and where it would go."""
    to, text = request.args.get("to", "").strip(), request.args.get("text", "").replace("\r\n", "\n")
    number = config().number_for(to) if to else None
    return render_template(
        "explain.html",
        config=config(),
        to=to,
        text=text,
        number=number,
        explanation=explain(text, number, config()) if number else None,
    )
