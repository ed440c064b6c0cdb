"""What monitors ask."""

from __future__ import annotations

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from gateway.store import StoreUnavailable
from gateway.store.overview import overview
from gateway.web.site import Site, site

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """The process runs."""
    return Response("ok\n", 200, mimetype="text/plain")


@blueprint.get("/readyz")
def readyz() -> Response:
    """A callback could be kept now: the store commits."""
    if site().store.ready():
        return Response("ok\n", 200, mimetype="text/plain")
    return Response("The store cannot keep anything now.\n", 503, mimetype="text/plain")


@blueprint.get("/metrics")
def metrics() -> Response:
    """Counters of this process, and the outbox as it stands."""
    here = site()
    text = generate_latest(here.counts.registry)
    try:
        text += generate_latest(_outbox(here))
    except StoreUnavailable:
        here.log.warning("metrics_without_store")
    return Response(text, 200, content_type=CONTENT_TYPE_LATEST)


def _outbox(here: Site) -> CollectorRegistry:
    registry = CollectorRegistry()
    owed = Gauge("gateway_deliveries_owed", "Deliveries not settled yet.", ("endpoint",), registry=registry)
    dead = Gauge("gateway_deliveries_dead", "Dead deliveries that are kept.", ("endpoint",), registry=registry)
    age = Gauge("gateway_oldest_owed_seconds", "Age of the oldest delivery owed.", ("endpoint",), registry=registry)
    now = here.clock().timestamp()
    with here.store.reader() as connection:
        found = overview(connection, now, here.settings.current.endpoints)
    for one in found.endpoints:
        owed.labels(one.endpoint).set(one.pending)
        dead.labels(one.endpoint).set(one.dead)
        age.labels(one.endpoint).set(0 if one.oldest is None else max(0.0, now - one.oldest))
    return registry
