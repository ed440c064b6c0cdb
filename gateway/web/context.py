"""The parts of the gateway that views use: one `WebContext` in each Flask application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

import structlog
from flask import Flask, current_app, g, request

from gateway.config import Config, Settings
from gateway.inbound.accept import RefusedBudget
from gateway.metrics import Metrics
from gateway.store import Store, audit
from gateway.store.audit import AuditEntry
from gateway.store.wakeup import WorkerNotifier
from gateway.web.limits import RateLimits, UnnamedProxies
from gateway.web.status_cache import StatusCache

utc_now = partial(datetime.now, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebContext:
    """The parts that views use, kept in ``app.extensions["gateway"]``."""

    settings: Settings
    store: Store
    notifier: WorkerNotifier
    metrics: Metrics
    status_cache: StatusCache
    limits: RateLimits
    refused: RefusedBudget = field(default_factory=RefusedBudget)
    proxies: UnnamedProxies = field(default_factory=UnnamedProxies)
    clock: Callable[[], datetime] = utc_now
    log: Any = field(default_factory=structlog.get_logger)


def web_context(app: Flask = current_app) -> WebContext:
    return cast(WebContext, app.extensions["gateway"])


def config() -> Config:
    """The configuration in force."""
    return web_context().settings.current


def audit_entry(action: str, subject: str = "", *, who: str = "", **details: object) -> AuditEntry:
    """The entry of the audit trail for what the operator of this request does; `who`: where nobody is logged in."""
    return AuditEntry(
        at=now(),
        who=who or g.operator.name,
        remote=request.remote_addr or "",
        action=action,
        subject=subject,
        details=details,
    )


def record_audit(action: str, subject: str = "", *, who: str = "", **details: object) -> None:
    """Records it by itself, right before it is done: for what is no single transaction of the store."""
    entry = audit_entry(action, subject, who=who, **details)
    web_context().store.writer.write(partial(audit.record, entry=entry))


def now() -> float:
    """Seconds since the epoch, by the application's clock."""
    return web_context().clock().timestamp()
