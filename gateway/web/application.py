"""Puts the web half together."""

from __future__ import annotations

from flask import Flask
from werkzeug.exceptions import HTTPException

from gateway.bell import Ringer
from gateway.config import Config, Settings
from gateway.store import Store
from gateway.web import callbacks, console, errors, health, login, security, try_out
from gateway.web.proxies import TrustedProxies
from gateway.web.site import Site, install

MAX_BODY = callbacks.MAX_BODY


def application(settings: Settings | None, store: Store | None, login_token: str | None) -> Flask:
    settings = settings or Settings.found(otherwise=_sandbox)
    if store is None:
        store = Store(settings.current.database)
        store.migrate()
    app = Flask("gateway.web")
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY,
        MAX_FORM_MEMORY_SIZE=MAX_BODY,
        MAX_FORM_PARTS=1000,
        LOGIN_TOKEN=login_token,
    )
    install(app, Site(settings=settings, store=store, ringer=Ringer(settings.current.data)))
    app.register_blueprint(callbacks.blueprint)
    app.register_blueprint(health.blueprint)
    security.secure(app, settings)
    for part in (login, console, try_out):
        part.register(app)
    if settings.current.sandbox:
        from gateway.sandbox import handset

        handset.register(app)
    app.register_error_handler(HTTPException, errors.say)
    app.wsgi_app = TrustedProxies(app.wsgi_app, settings)  # type: ignore[method-assign]
    return app


def _sandbox() -> Config:
    from gateway.sandbox import sample_config

    return sample_config()
