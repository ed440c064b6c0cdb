"""What every page and every callback needs of the gateway: one object, put into the Flask application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import structlog
from flask import Flask, current_app

from gateway.config import Settings
from gateway.figures import Figures, Histogram, Series, folder_of, merged
from gateway.figures.slots import Merged
from gateway.store import Store
from gateway.store.wakeup import WorkerNotifier
from gateway.web.limits import RateLimits
from gateway.web.status_cache import StatusCache


def utc_now() -> datetime:
    return datetime.now(UTC)


class WebMetrics:
    """What becomes of callbacks, counted for Prometheus: a look into a dictionary and an addition each."""

    def __init__(self, data: Path) -> None:
        self._folder = folder_of(data)
        self._figures = Figures(self._folder)
        self._series: dict[tuple[str, ...], Series] = {}
        self._times: dict[str, Histogram] = {}

    def kept(self, format_name: str, state: str) -> None:
        """On disk."""
        self._count("gateway_callbacks_kept_total", format=format_name, state=state)

    def refused(self, format_name: str, reason: str) -> None:
        """Answered without being kept: ``key``, ``encoding``, ``size``, ``store`` or ``fault``."""
        self._count("gateway_callbacks_turned_away_total", format=format_name, reason=reason)

    def orphan(self, reason: str) -> None:
        """A status update of no message of ours: ``number``, ``endpoints`` or ``message``, see `gateway.figures`."""
        self._count("gateway_orphan_updates_total", reason=reason)

    def sent_call(self, name: str, outcome: str) -> None:
        """A legacy call: accepted, answered, refused, malformed, size, encoding, store or fault."""
        self._count("gateway_calls_total", call=name, outcome=outcome)

    def started(self) -> None:
        """A web process."""
        self._count("gateway_process_starts_total", process="web")

    def took(self, format_name: str, seconds: float) -> None:
        """From a callback to its answer."""
        known = self._times.get(format_name)
        if known is None:
            known = self._figures.histogram("gateway_callback_seconds", format=format_name)
            self._times[format_name] = known
        known.observe(seconds)

    def merged(self) -> Merged:
        """The figures of every process of this machine."""
        return merged(self._folder)

    def _count(self, name: str, **labels: str) -> None:
        key = (name, *labels.values())
        known = self._series.get(key)
        if known is None:
            known = self._series[key] = self._figures.series(name, **labels)
        known.inc()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebContext:
    settings: Settings
    store: Store
    ringer: WorkerNotifier
    counts: WebMetrics
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
