"""The web application: the console for people, and beside it the application that programs call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from typing import IO, Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Blueprint, Flask, Request
from werkzeug.exceptions import RequestEntityTooLarge, RequestURITooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.middleware.proxy_fix import ProxyFix

from gateway.config import Settings
from gateway.metrics import Metrics
from gateway.store import Store
from gateway.store.audit import follow_configuration
from gateway.store.wakeup import WorkerNotifier
from gateway.web import auth, callbacks, health, legacy_api
from gateway.web.console import account, audit, events, opt_outs, sends, templating, test_posts
from gateway.web.context import WebContext
from gateway.web.limits import RateLimits, UnnamedProxies, is_trusted_proxy
from gateway.web.status_cache import StatusCache
from schemas.wire import MAX_PAIRS

MAX_PAGE_BYTES = 64 * 1024  # the largest body of a request to the console


class _FormParser(FormDataParser):
    """Counts the pairs of a form before they are decoded: werkzeug limits only the parts of a multipart body."""

    def _parse_urlencoded(self, stream: IO[bytes], *args: Any) -> Any:
        body = stream.read()
        if body.count(b"&") >= MAX_PAIRS:
            raise RequestEntityTooLarge(f"More than {MAX_PAIRS} form pairs.")
        return super()._parse_urlencoded(BytesIO(body), *args)


class _PageRequest(Request):
    form_data_parser_class = _FormParser


_PLAIN = (callbacks.NOSNIFF,)
_TLS = (callbacks.NOSNIFF, ("Strict-Transport-Security", f"max-age={365 * 24 * 3600}"))
MONITORS = frozenset({"/healthz", "/readyz", "/metrics"})  # called from beside the gateway, whatever stands in front


def build_app(settings: Settings, store: Store, login_token: str | None, extra_pages: Iterable[Blueprint]) -> Flask:
    """Builds the console's application, whose `wsgi_app` passes the calls of programs on to the one of `callbacks`.
    `extra_pages`: pages of the console that `web` itself does not know, such as the sandbox's."""
    app = Flask("gateway.web")
    app.request_class = _PageRequest
    app.url_map.merge_slashes = False  # a redirect would name the host that the caller names
    app.config.update(MAX_CONTENT_LENGTH=MAX_PAGE_BYTES, MAX_FORM_MEMORY_SIZE=MAX_PAGE_BYTES, MAX_FORM_PARTS=MAX_PAIRS)
    app.config["LOGIN_TOKEN"] = login_token
    data = settings.current.data
    context = app.extensions["gateway"] = WebContext(
        settings=settings,
        store=store,
        notifier=WorkerNotifier(data),
        metrics=Metrics(data),
        status_cache=StatusCache(store),
        limits=RateLimits(store),
    )
    follow_configuration(settings, store)
    auth.secure(app, settings)
    templating.install(app)
    for part in (health, auth, events, sends, opt_outs, test_posts, account, audit):
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
    werkzeug's `ProxyFix`. Every answer gets the headers that all have."""
    config = settings.current
    more = _TLS if config.public_url[:6].lower() == "https:" else _PLAIN

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
        return start_response(status, [*headers, *more], exc_info)

    if environ.get("QUERY_STRING", "").count("&") >= MAX_PAIRS:
        return RequestURITooLarge(f"More than {MAX_PAIRS} pairs.")(environ, start)
    environ["PATH_INFO"] = environ["PATH_INFO"] or "/"  # an empty one would be redirected, to any host
    app = program_app if _is_call(environ) else console
    peer = environ.get("REMOTE_ADDR", "")
    if config.trusted_proxies and is_trusted_proxy(settings, peer):
        app = ProxyFix(app, x_for=1, x_proto=1, x_host=1)
    elif environ["PATH_INFO"] not in MONITORS:
        proxies.note(peer, "HTTP_X_FORWARDED_FOR" in environ or "HTTP_FORWARDED" in environ)
    return app(environ, start)


def _is_call(environ: WSGIEnvironment) -> bool:
    """Says whether a program calls: a platform, or an application that sends."""
    path = str(environ["PATH_INFO"])
    return path == "/carrierx/callback" or path.startswith(("/carrierx/callback/", "/legacy/"))


def max_body_bytes(environ: WSGIEnvironment) -> int:
    """The size of body that this request may have."""
    return callbacks.MAX_BODY_BYTES if _is_call(environ) else MAX_PAGE_BYTES
