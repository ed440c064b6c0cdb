"""What every page and every callback needs of the gateway: one object, put into the Flask application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import structlog
from flask import Flask, current_app
from prometheus_client import CollectorRegistry, Counter

from gateway.bell import Ringer
from gateway.config import Settings
from gateway.store import Store


def utc_now() -> datetime:
    return datetime.now(UTC)


class Counts:
    """What this process took in since it started, for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.kept = Counter(
            "gateway_callbacks_kept", "Callbacks that are on disk.", ("format", "state"), registry=self.registry
        )
        self.refused = Counter(
            "gateway_callbacks_turned_away",
            "Callbacks that were answered without being kept.",
            ("format", "reason"),
            registry=self.registry,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    settings: Settings
    store: Store
    ringer: Ringer
    clock: Callable[[], datetime] = utc_now
    counts: Counts = field(default_factory=Counts)
    log: Any = field(default_factory=structlog.get_logger)


def install(app: Flask, here: Site) -> None:
    app.extensions["gateway"] = here


def site() -> Site:
    return cast(Site, current_app.extensions["gateway"])
