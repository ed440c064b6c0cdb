"""The gateway between the old keyword platforms for SMS and CarrierX."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from gateway.config import Settings
    from gateway.store import Store


def create_app(
    settings: Settings | None = None, store: Store | None = None, *, login_token: str | None = None
) -> Flask:
    """The web half as a WSGI application, for any server.

    Without arguments it does what `gateway web` does: it reads the configuration that `GATEWAY_CONFIG` names
    (else ``gateway.toml``, else the sandbox's), and opens the store, which it brings up to date.
    `login_token`: who brings it along is logged in; for the sandbox's first page.
    """
    from gateway.web.app import application

    return application(settings, store, login_token)
