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
    Without arguments it does what `gateway web` does: it reads the configuration that `GATEWAY_CONFIG` names (else
    ``gateway.toml``, else the sandbox's), and opens the store, which it brings up to date. `login_token`: whoever
    presents it is logged in; for the link to the sandbox's first page."""
    from gateway.config import Settings
    from gateway.sandbox import sample_config
    from gateway.store import Store
    from gateway.web.app import build_app

    settings = settings or Settings.found(otherwise=sample_config)
    if store is None:
        store = Store(settings.current.database)
        store.migrate()
    if not settings.current.sandbox:
        return build_app(settings, store, login_token, ())
    from gateway.sandbox import pages

    return build_app(settings, store, login_token, [pages.blueprint])
