"""The console's pages that only show: what came in, what it became, how it was delivered."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial

from flask import Blueprint, Flask, Response, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gateway.config import ConfigError
from gateway.delivery.redaction import EndpointRedaction
from gateway.preview import facts
from gateway.routing.explain import explain
from gateway.routing.route import load_message
from gateway.store import ledger, search
from gateway.store.events import Event
from gateway.web.console import config as configuration
from gateway.web.console import opt_outs, putting_back, templating, words
from gateway.web.console import sends as sent
from gateway.web.console.paging import PAGE, offset_asked, other_page
from gateway.web.console.search_forms import NAMES, SOURCES, STATES, event_query
from gateway.web.context import config, now, web_context
from schemas import FORMATS, BadCallback, Message, ReceiveContext

DAY = 86_400

blueprint = Blueprint("console", __name__)


def register(app: Flask) -> None:
    templating.install(app)
    app.register_blueprint(blueprint)
    for part in (putting_back, sent, opt_outs):
        app.register_blueprint(part.blueprint)


@blueprint.get("/")
def overview() -> ResponseReturnValue:
    current, here, at = config(), web_context().status_cache, now()
    with web_context().store.reader() as connection:
        state = search.overview(connection, at - DAY, current.endpoints)
        sending = ledger.open_sends(connection)
    figures = here.snapshot(at)
    return render_template(
        "overview.html",
        state=state,
        sending=sending,
        has_account=current.carrierx.is_set,
        now=at,
        configured=current.endpoints,
        paused={name: words.breaker(each, at) for name, each in figures.breakers.items()},
        worker=figures.gauges.worker,
        absent=words.absent(figures.gauges.worker, at),
        silent=words.silent(here.last_heard(current, at), current, at),
        since=figures.gauges.oldest_event,
    )


@blueprint.get("/events")
def events() -> ResponseReturnValue:
    return _events("Events", dict(request.args.items()))


@blueprint.get("/unrouted")
def unrouted() -> ResponseReturnValue:
    return _events("Unrouted", {"state": "unrouted"})


@blueprint.get("/refused")
def refused() -> ResponseReturnValue:
    return _events("Refused", {"state": "refused"})


def _events(title: str, arguments: dict[str, str]) -> ResponseReturnValue:
    question, offset = event_query(arguments, config()), offset_asked()
    with web_context().store.reader() as connection:
        page = search.search_events(connection, question.search, limit=PAGE, offset=offset)
    return render_template(
        "events.html",
        title=title,
        page=page,
        texts={found.event.id: _text(found.event) for found in page.found},
        typed=question.typed,
        errors=question.errors,
        states=STATES,
        sources=SOURCES,
        words=words,
        older=other_page(NAMES, offset + PAGE) if page.more else None,
        newer=other_page(NAMES, max(offset - PAGE, 0)) if offset else None,
    ), 400 if question.errors else 200


def _text(event: Event) -> str | None:
    """The text of an event in a list; None where its body has none, is none, or was cut."""
    message = _message(event)
    return message.message if message else None


def _message(event: Event) -> Message | None:
    """The event's body, read again by today's configuration; None also for what is no message, such as a call."""
    if event.source not in FORMATS:
        return None
    receipt = ReceiveContext(
        now=datetime.fromtimestamp(event.received_at, UTC), sid=event.message_sid, prefix=config().prefix
    )
    try:
        return load_message(event.body, event.content_type or None, event.source, receipt, config())[0]
    except BadCallback:
        return None


@blueprint.get("/events/<int:event_id>")
def event(event_id: int) -> ResponseReturnValue:
    """One event whole: what came in, byte for byte, what it became, every attempt."""
    whole = _whole(event_id)
    message = _message(whole.event)
    with web_context().store.reader() as connection:
        entries = ledger.of_event(connection, event_id)
    return render_template(
        "event.html",
        event=whole.event,
        entries=entries,
        refused={entry.send_id for entry in entries if entry.state == "refused"},
        words=words,
        deliveries=whole.deliveries,
        facts=facts(message) if message else [],
        secrets=_secrets(whole.deliveries),
        no_secrets=EndpointRedaction.none(),
        now=now(),
    )


def _secrets(deliveries: Iterable[search.Delivery]) -> dict[str, EndpointRedaction]:
    """What may not be shown of their answers; also of pages that a call named."""
    known = {one.endpoint: config().endpoint(one.endpoint) for one in deliveries}
    return {name: EndpointRedaction.of(endpoint) for name, endpoint in known.items() if endpoint}


@blueprint.get("/events/<int:event_id>/body")
def body(event_id: int) -> ResponseReturnValue:
    """The bytes themselves, to be saved: never shown as what they say they are."""
    answer = Response(_whole(event_id).event.body, mimetype="application/octet-stream")
    answer.headers["Content-Disposition"] = f'attachment; filename="event-{event_id}.bin"'
    return answer


def _whole(event_id: int) -> search.EventDetail:
    with web_context().store.reader() as connection:
        return search.load_event(connection, event_id) or abort(404, "There is no such event, or not any more.")


@blueprint.get("/deliveries")
def deliveries() -> ResponseReturnValue:
    """Settled deliveries; those of one endpoint or all."""
    state = "succeeded" if request.args.get("state") == "succeeded" else "dead"
    endpoint, offset = request.args.get("to") or None, offset_asked()
    with web_context().store.reader() as connection:
        found = search.settled_deliveries(connection, state, endpoint, limit=PAGE + 1, offset=offset)
    return render_template(
        "deliveries.html",
        found=found[:PAGE],
        state=state,
        endpoint=endpoint,
        endpoints=sorted({*config().endpoints, *([endpoint] if endpoint else []), ledger.ENDPOINT}),
        older=other_page(("state", "to"), offset + PAGE) if len(found) > PAGE else None,
        newer=other_page(("state", "to"), max(offset - PAGE, 0)) if offset else None,
    )


@blueprint.get("/deliveries/<uuid:delivery_id>")
def delivery(delivery_id: uuid.UUID) -> ResponseReturnValue:
    """By the id that its receiver saw: the page of its event."""
    with web_context().store.reader() as connection:
        found = search.load_delivery(connection, str(delivery_id))
    if found is None:
        abort(404, "There is no such delivery, or not any more.")
    return redirect(url_for(".event", event_id=found.event_id, _anchor=f"delivery-{found.delivery_id}"))


@blueprint.get("/configuration")
def settings() -> ResponseReturnValue:
    """As it was read, with its warnings, and with what is wrong with a newer one."""
    current, error = config(), web_context().settings.refused
    return render_template(
        "configuration.html",
        config=current,
        gateway=configuration.gateway(current),
        endpoints=[(each.name, configuration.endpoint(each)) for each in current.endpoints.values()],
        numbers=[(each, configuration.rows("number", each)) for each in current.numbers],
        keyword=partial(configuration.rows, "number.keyword"),
        faults=_faults(error) if error else [],
    )


def _faults(error: ConfigError) -> list[str]:
    return [fault.message(error.file) for fault in error.faults]


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
