"""What monitors ask."""

from __future__ import annotations

from flask import Blueprint, Response

from gateway.metrics import CONTENT_TYPE
from gateway.web.context import web_context
from gateway.web.scrape import scrape

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """The process runs."""
    return Response("ok\n", 200, mimetype="text/plain")


@blueprint.get("/readyz")
def readyz() -> Response:
    """A callback could be kept now: the store commits. Whether somebody delivers is not asked here: see `/metrics`."""
    if web_context().store.ready():
        return Response("ok\n", 200, mimetype="text/plain")
    return Response("The store cannot keep anything now.\n", 503, mimetype="text/plain")


@blueprint.get("/metrics")
def metrics() -> Response:
    return Response(scrape(web_context()), 200, content_type=CONTENT_TYPE)
