"""The web application: the console for people, and beside it the application that programs call."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Blueprint, Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from gateway.config import Settings
from gateway.metrics import Metrics
from gateway.store import Store
from gateway.store.wakeup import WorkerNotifier
from gateway.web import auth, callbacks, health, legacy_api
from gateway.web.console import events, opt_outs, sends, templating, test_posts
from gateway.web.context import WebContext
from gateway.web.limits import RateLimits, UnnamedProxies, is_trusted_proxy
from gateway.web.status_cache import StatusCache

MONITORS = frozenset({"/healthz", "/readyz", "/metrics"})  # called from beside the gateway, whatever stands in front


def build_app(settings: Settings, store: Store, login_token: str | None, extra_pages: Iterable[Blueprint]) -> Flask:
    """Builds the console's application, whose `wsgi_app` passes the calls of programs on to the one of `callbacks`.
    `extra_pages`: pages of the console that `web` itself does not know, such as the sandbox's."""
    app = Flask("gateway.web")
    size = callbacks.MAX_BODY_BYTES
    app.config.update(MAX_CONTENT_LENGTH=size, MAX_FORM_MEMORY_SIZE=size, MAX_FORM_PARTS=1000, LOGIN_TOKEN=login_token)
    data = settings.current.data
    context = app.extensions["gateway"] = WebContext(
        settings=settings,
        store=store,
        notifier=WorkerNotifier(data),
        metrics=Metrics(data),
        status_cache=StatusCache(store),
        limits=RateLimits(store),
    )
    auth.secure(app, settings)
    templating.install(app)
    for part in (health, auth, events, sends, opt_outs, test_posts):
        app.register_blueprint(part.blueprint)
    for blueprint in extra_pages:
        app.register_blueprint(blueprint)
    program_app = callbacks.build_app(context, legacy_api.blueprint)
    app.wsgi_app = partial(_dispatch, settings, context.proxies, program_app, app.wsgi_app)  # type: ignore[method-assign]
    return app


def _dispatch(
    settings: Settings,
    proxies: UnnamedProxies,
    program_app: WSGIApplication,
    console: WSGIApplication,
    environ: WSGIEnvironment,
    start_response: StartResponse,
) -> Iterable[bytes]:
    """Passes what programs call to their application and everything else to the console.
    `X-Forwarded-*` counts only where a proxy sends it that the configuration trusts: such requests go through
    werkzeug's `ProxyFix`."""
    path = environ["PATH_INFO"]
    is_call = path == "/carrierx/callback" or path.startswith(("/carrierx/callback/", "/legacy/"))
    app = program_app if is_call else console
    peer = environ.get("REMOTE_ADDR", "")
    if settings.current.trusted_proxies and is_trusted_proxy(settings, peer):
        app = ProxyFix(app, x_for=1, x_proto=1, x_host=1)
    elif path not in MONITORS:
        proxies.note(peer, "HTTP_X_FORWARDED_FOR" in environ or "HTTP_FORWARDED" in environ)
    return app(environ, start_response)
