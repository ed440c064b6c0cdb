"""What every page and every callback needs of the gateway: one object, put into the Flask application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import structlog
from flask import Flask, current_app

from gateway.config import Settings
from gateway.metrics import Metrics
from gateway.store import Store
from gateway.store.wakeup import WorkerNotifier
from gateway.web.limits import RateLimits
from gateway.web.status_cache import StatusCache


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebContext:
    settings: Settings
    store: Store
    ringer: WorkerNotifier
    metrics: Metrics
    status_cache: StatusCache
    clock: Callable[[], datetime] = utc_now
    log: Any = field(default_factory=structlog.get_logger)
    strangers: RateLimits = field(default_factory=RateLimits)
    """Of those who call without a key, and have not shown who they are."""


def install(app: Flask, here: WebContext) -> None:
    app.extensions["gateway"] = here


def web_context_of(app: Flask) -> WebContext:
    return cast(WebContext, app.extensions["gateway"])


def web_context() -> WebContext:
    return web_context_of(current_app)
