"""What every page of the console has: the navigation, the filters, the answer while the store is away."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from flask import Flask, Response, g
from werkzeug.exceptions import ServiceUnavailable

from gateway.store import StoreUnavailable
from gateway.web.console import errors, filters
from gateway.web.context import config, web_context

NAVIGATION = (
    ("/", "Overview"),
    ("/events", "Events"),
    ("/sends", "Sends"),
    ("/deliveries", "Deliveries"),
    ("/unrouted", "Unrouted"),
    ("/refused", "Refused"),
    ("/opt-outs", "Opt-outs"),
    ("/test/callback", "Test"),
    ("/explain", "Explain"),
    ("/configuration", "Configuration"),
)
SANDBOX = ("/sandbox", "Sandbox")


def install(app: Flask) -> None:
    filters.install(app)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    style = Path(str(app.static_folder)) / "console.css"
    # Browsers keep the style sheet for an hour; a changed one has another address.
    app.jinja_env.globals["style"] = hashlib.sha256(style.read_bytes()).hexdigest()[:12]
    app.context_processor(around)
    app.register_error_handler(StoreUnavailable, without_store)


def around() -> dict[str, Any]:
    """What the layout asks for."""
    user = g.get("user")
    return {
        "user": user,
        "navigation": (*NAVIGATION, SANDBOX) if user and config().sandbox else NAVIGATION,
        "refused": bool(user and web_context().settings.refused),
    }


def without_store(error: StoreUnavailable) -> Response:
    web_context().log.error("store_unavailable", reason=str(error))
    return errors.say(ServiceUnavailable("The store cannot be reached now. Nothing is lost: try again.", retry_after=5))
