"""Pages for monitors: `/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flask import Blueprint, Response

from gateway.config.model import STATUS_URLS, is_url
from gateway.metrics import CONTENT_TYPE, Gauge, text
from gateway.store import StoreUnavailable
from gateway.web.context import WebContext, web_context

BREAKERS = {"closed": 0.0, "ramp": 1.0, "half_open": 2.0, "open": 3.0}

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """The process runs."""
    return Response("ok\n", 200, mimetype="text/plain")


@blueprint.get("/readyz")
def readyz() -> Response:
    """A callback could be kept now: the store commits. Whether a worker delivers is seen at `/metrics`."""
    if web_context().store.ready():
        return Response("ok\n", 200, mimetype="text/plain")
    return Response("The store cannot keep anything now.\n", 503, mimetype="text/plain")


@blueprint.get("/metrics")
def metrics() -> Response:
    """The counts of all processes of this machine, and gauges of this process and of the store.
    Without the store, its gauges are left out: they are not known, and a zero would be wrong."""
    context = web_context()
    settings, ready, has_room = context.settings, context.store.ready(), context.store.has_room()
    try:
        release = version("sms-gateway")
    except PackageNotFoundError:  # run from its source
        release = "source"
    build = (release, platform.python_version(), context.store.name)
    retention = settings.current.retention.phones * 86_400
    refused = settings.refused is not None
    gauges = [
        Gauge("gateway_build_info", "Always 1.", ("version", "python", "database"), {build: 1}),
        _gauge("gateway_configuration_refused", "1: the file has mistakes; the one before it counts.", refused),
        _gauge("gateway_retention_seconds", "How long settled deliveries and their events are kept.", retention),
        _gauge("gateway_store_ready", "1: the store commits, as /readyz asks.", ready),
        _gauge("gateway_store_has_room", "0: the disk is nearly full; no callback is taken in.", has_room),
    ]
    with suppress(OSError, KeyError, ValueError):  # on Linux only, and not in every container
        # The server library does not report a connection that ends before its first request: the kernel counts it.
        found = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Tcp:")]
        resets = float(dict(zip(*found, strict=True))["EstabResets"])
        gauges.append(_gauge("gateway_tcp_resets", "Connections reset since this machine started.", resets))
    if ready or not has_room:
        try:
            gauges += _store_gauges(context)
        except StoreUnavailable:
            context.log.warning("metrics_without_store")
    return Response(text([*context.metrics.collect(), *gauges]), 200, content_type=CONTENT_TYPE)


def _store_gauges(context: WebContext) -> list[Gauge]:
    now = context.clock().timestamp()
    snapshot = context.status_cache.snapshot(now)
    found, sends = snapshot.gauges, snapshot.gauges.sends
    owed, dead = _join_urls(found.owed, sum), _join_urls(found.dead, sum)
    ages = {name: max(0.0, now - since) for name, since in _join_urls(found.oldest, min).items()}
    states = _join_urls({name: BREAKERS.get(each.state, 0.0) for name, each in snapshot.breakers.items()}, max)
    endpoints = sorted({*context.settings.current.endpoints, *owed, *dead})

    def by_endpoint(name: str, help_text: str, values: Mapping[str, float]) -> Gauge:
        return Gauge(name, help_text, ("endpoint",), {(each,): values.get(each, 0) for each in endpoints})

    def age(name: str, help_text: str, since: float | None) -> Gauge:
        return Gauge(name, help_text, (), {} if since is None else {(): max(0.0, now - since)})

    heard = context.status_cache.last_heard(context.settings.current, now)
    return [
        by_endpoint("gateway_deliveries_owed", "Deliveries not settled yet.", owed),
        by_endpoint("gateway_oldest_owed_seconds", "Age of the oldest delivery owed; 0 without one.", ages),
        by_endpoint("gateway_deliveries_dead", "Dead deliveries that are kept.", dead),
        by_endpoint("gateway_breaker_state", "0: closed, 1: ramp, 2: half open (probed), 3: open.", states),
        age(
            "gateway_oldest_event_seconds",
            "Age of the oldest event kept. Far above the retention: the sweep does not keep up, or the event is owed.",
            found.oldest_event,
        ),
        age(
            "gateway_worker_heartbeat_seconds",
            "Since the last heartbeat of any worker, on any machine; one comes every ten seconds.",
            found.worker,
        ),
        Gauge(
            "gateway_sends_open",
            "Messages to be sent whose end is open: owed, sending, undecided (for a person).",
            ("state",),
            {(state,): sends.open.get(state, 0) for state in ("owed", "sending", "undecided")},
        ),
        _gauge("gateway_updates_waiting", "Status updates whose message is not known yet.", sends.waiting),
        _gauge("gateway_opt_outs", "Phones that have opted out of texts from a number.", found.opt_outs),
        Gauge(
            "gateway_keyword_silent_seconds",
            "Since the last event of a configured keyword; where none is kept, since the oldest event of all.",
            ("number", "keyword"),
            {pair: max(0.0, now - since) for pair, since in heard.items()},
        ),
    ]


def _gauge(name: str, help_text: str, value: float) -> Gauge:
    return Gauge(name, help_text, (), {(): value})


def _join_urls(values: Mapping[str, float], join: Callable[[list[float]], float]) -> dict[str, float]:
    """Joins the values of URLs that calls named: there may be any number of them, with secrets in their addresses."""
    urls = [value for name, value in values.items() if is_url(name)]
    named = {name: value for name, value in values.items() if not is_url(name)}
    return named | ({STATUS_URLS: join(urls)} if urls else {})
