"""Puts the web half together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.exceptions import HTTPException

from gateway.config import Config, Settings
from gateway.metrics import Metrics
from gateway.store import Store
from gateway.store.wakeup import WorkerNotifier
from gateway.web import auth, callbacks, health, legacy_api, login
from gateway.web.console import errors, events, test_posts
from gateway.web.context import WebContext, install
from gateway.web.proxies import TrustedProxies
from gateway.web.status_cache import StatusCache

MAX_BODY = callbacks.MAX_BODY

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class _Doors:
    """What programs call to the application that takes it, everything else to the pages."""

    def __init__(self, taking: WSGIApplication, pages: WSGIApplication) -> None:
        self._taking, self._pages = taking, pages

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return (self._taking if callbacks.are_calls(environ) else self._pages)(environ, start_response)


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
    here = _site(settings, store)
    install(app, here)
    app.register_blueprint(health.blueprint)
    auth.secure(app, settings)
    for part in (login, events, test_posts):
        part.register(app)
    if settings.current.sandbox:
        from gateway.sandbox import pages as handset

        handset.register(app)
    app.register_error_handler(HTTPException, errors.say)
    taking = callbacks.application(here, legacy_api.blueprint)
    app.wsgi_app = TrustedProxies(_Doors(taking, app.wsgi_app), settings)  # type: ignore[method-assign]
    return app


def _site(settings: Settings, store: Store) -> WebContext:
    data = settings.current.data
    return WebContext(
        settings=settings,
        store=store,
        ringer=WorkerNotifier(data),
        metrics=Metrics(data),
        status_cache=StatusCache(store),
    )


def _sandbox() -> Config:
    from gateway.sandbox import sample_config

    return sample_config()
