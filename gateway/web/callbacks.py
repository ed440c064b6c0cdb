"""Where the platforms post callbacks. A 200 means: the callback is on disk, with all deliveries that it owes."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from functools import partial
from io import BytesIO
from time import perf_counter
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Blueprint, Flask, Request, Response, json, request
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, TooManyRequests, UnsupportedMediaType
from werkzeug.routing import MapAdapter
from werkzeug.sansio.response import Response as WSGIResponse

from gateway.config import Config, Key
from gateway.inbound.accept import accept
from gateway.inbound.callback import Accepted, Callback
from gateway.metrics import CALLBACK_SECONDS, CALLBACKS_KEPT, CALLBACKS_TURNED_AWAY, ORPHAN_UPDATES
from gateway.routing.route import HOPS
from gateway.store import StoreUnavailable
from gateway.store.greenlets import current
from gateway.web import limits
from gateway.web.context import WebContext

MAX_BODY_BYTES = 1024 * 1024
MAX_QUICK_BYTES = 16 * 1024
"""A larger body is expensive to read: it is read on a thread, beside few others, and after its sender is known."""
TOO_LARGE = f"Larger than {MAX_BODY_BYTES} bytes."
RETRY_AFTER_SECONDS = 5
NOSNIFF = ("X-Content-Type-Options", "nosniff")  # on every answer of the gateway
ROUTE_OPTIONS: dict[str, Any] = {"provide_automatic_options": False, "strict_slashes": False}
_MAX_HOPS_DIGITS = 4
_HOPS = f"HTTP_{HOPS.upper().replace('-', '_')}"
_WIRE_FORMATS = {
    "/carrierx/callback": "carrierx",
    "/legacy/callback": "legacy-callback",
    "/legacy/status": "legacy-status",
}
_KEY_GUESSES = partial(limits.guesses, "key")
_PREFIXES = tuple(f"{path}/" for path in _WIRE_FORMATS)


def are_quick(environ: WSGIEnvironment) -> bool:
    """Says whether a request is a callback: it waits for the store's writer alone, and does so as a greenlet."""
    path = str(environ["PATH_INFO"])
    return path.startswith(_PREFIXES) or path in _WIRE_FORMATS


def build_app(context: WebContext, *blueprints: Blueprint) -> Flask:
    """Builds the application for callbacks and for everything else that programs call."""
    app = _ProgramApp(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # a redirect would name the host that the caller names
    app.extensions["gateway"] = context
    for path, wire_format in _WIRE_FORMATS.items():
        view = partial(_receive, context, wire_format)
        for rule in (path, f"{path}/<key>"):
            app.add_url_rule(rule, wire_format, view, methods=["POST"], **ROUTE_OPTIONS)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    app.register_error_handler(HTTPException, _as_text)
    return app


class _NoSessions(SessionInterface):
    """Gives every request the same null session, which Flask does not save: no program logs in."""

    _session = NullSession()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:
        return self._session


class _ProgramApp(Flask):
    """Flask without the work that only pages need: it looks for no session, host name or coroutine in a callback."""

    session_interface = _NoSessions()

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        if request is None:
            return None
        environ = request.environ
        # Decodes PEP 3333's strings as werkzeug does. No rule here depends on a host or a query.
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        return self.url_map.bind("", path_info=path, default_method=environ["REQUEST_METHOD"])

    def ensure_sync(self, func: Any) -> Any:
        return func


def _as_text(error: HTTPException) -> WSGIResponse:
    response = error.get_response()
    response.data, response.mimetype = f"{error.description}\n".encode(), "text/plain"
    return response


class _ConstantResponse(Response):
    """A response that is the same for every request, so that werkzeug computes none of it anew."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(self.status, list(self.headers))
        return cast("Iterable[bytes]", self.response)


_KEPT = {name: _ConstantResponse("", 200, mimetype="text/plain") for name in _WIRE_FORMATS.values()}
_KEPT["carrierx"] = _ConstantResponse("{}", 200, mimetype="application/json")


def _receive(context: WebContext, wire_format: str, key: str = "") -> Response:
    started = perf_counter()
    try:
        response = _keep(context, wire_format, key)
        context.metrics.observe(CALLBACK_SECONDS, perf_counter() - started, wire_format)
        return response
    except TooManyRequests as error:  # keys that were not compared, or not to be heard
        context.metrics.count(CALLBACKS_TURNED_AWAY, wire_format, "guesses", "")
        response = _refuse(wire_format, 429, {"key": (str(error.description),)})
        response.headers["Retry-After"] = str(error.retry_after)
        return response
    except HTTPException:
        raise
    except Exception as error:  # a fault of the gateway, not of the caller, who is asked to send it again
        context.log.error("callback_failed", exc_info=error)
        context.metrics.count(CALLBACKS_TURNED_AWAY, wire_format, "fault", "")
        return _try_later(wire_format)


def _keep(context: WebContext, wire_format: str, key: str) -> Response:
    """Makes the checks that need no body, reads the body, keeps the callback, and returns the answer."""
    environ, config, now = request.environ, context.settings.current, context.clock()
    caller = limits.caller_key(environ.get("REMOTE_ADDR"))
    given = _given_keys(key, config)
    granted = next((each.name for each in given if wire_format in each.wire_formats), None)
    if granted is None:
        name = given[0].name if given else ""
        if not name:
            context.limits.count_later(now.timestamp(), *_KEY_GUESSES(caller))
        context.metrics.count(CALLBACKS_TURNED_AWAY, wire_format, "scope" if name else "key", name)
        sentence = f"This key is not for {wire_format} callbacks." if name else "Not one of the configured keys."
        return _refuse(wire_format, 403, {"key": (sentence,)})
    try:
        body = read_body()
    except UnsupportedMediaType as error:
        context.metrics.count(CALLBACKS_TURNED_AWAY, wire_format, "encoding", granted)
        return _refuse(wire_format, 415, {"body": (str(error.description),)})
    except RequestEntityTooLarge:
        context.metrics.count(CALLBACKS_TURNED_AWAY, wire_format, "size", granted)
        return _refuse(wire_format, 413, {"body": (TOO_LARGE,)})
    hops = environ.get(_HOPS, "")
    callback = Callback(
        format=wire_format,
        body=body,
        content_type=environ.get("CONTENT_TYPE"),
        remote=environ.get("REMOTE_ADDR", ""),
        now=now,
        key=granted,
        hops=int(hops) if hops.isascii() and hops.isdigit() and len(hops) <= _MAX_HOPS_DIGITS else 0,
    )
    try:
        context.limits.admit(granted, now.timestamp(), caller, _KEY_GUESSES)
        accepted = accept(callback, config, context.store, context.refused)
    except StoreUnavailable as error:
        context.log.error("store_unavailable", reason=str(error))
        context.metrics.count(CALLBACKS_TURNED_AWAY, wire_format, "store", granted)
        return _try_later(wire_format)
    return _answer(context, callback, accepted)


def _answer(context: WebContext, callback: Callback, accepted: Accepted) -> Response:
    """Counts and logs what became of the callback, wakes the worker, and returns the answer."""
    wire_format, key, state = callback.format, callback.key, accepted.state
    if accepted.event_id is None:
        context.metrics.count(CALLBACKS_TURNED_AWAY, wire_format, "budget", key)
    else:
        context.metrics.count(CALLBACKS_KEPT, wire_format, state, key)
        context.log.info("callback_kept", format=wire_format, state=state, event_id=accepted.event_id, key=key)
    if accepted.orphan:
        context.metrics.count(ORPHAN_UPDATES, accepted.orphan)
    if accepted.errors is not None:
        return _refuse(wire_format, 403 if accepted.forbidden else 400, accepted.errors)
    if accepted.endpoints:
        greenlet = current()
        if greenlet is None:
            context.notifier.notify(accepted.endpoints)
        else:  # once for all callbacks that were committed together
            context.notifier.notify_later(accepted.endpoints, greenlet.loop.call_soon)
    return _KEPT[wire_format]


def _given_keys(key: str, config: Config) -> list[Key]:
    """Returns the configured keys that the path or the password of HTTP Basic is a value of.
    Each candidate is compared with each value, so that a wrong one takes as long as a right one."""
    basic = request.authorization if "HTTP_AUTHORIZATION" in request.environ else None
    password = (basic.password or "") if basic is not None and basic.type == "basic" else ""
    candidates = [candidate.encode("utf-8", "surrogatepass") for candidate in (key, password)]
    return [
        each for candidate in candidates for value, each in config.key_values if hmac.compare_digest(candidate, value)
    ]


def read_body() -> bytes:
    """Reads the body before any parser of forms, which would drop raw bytes, doubled names and wrong charsets.
    Raises `RequestEntityTooLarge`, and `UnsupportedMediaType` for a compressed body: its true size is unknown."""
    if request.environ.get("HTTP_CONTENT_ENCODING", "").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType("Content-Encoding other than identity is not accepted.")
    stream = request.environ["wsgi.input"]
    if isinstance(stream, BytesIO):  # `gateway serve` has read all of it
        body = stream.getvalue()
        if len(body) > MAX_BODY_BYTES:
            raise RequestEntityTooLarge
        return body
    request.max_content_length = MAX_BODY_BYTES
    return request.get_data(cache=False)


def _refuse(wire_format: str, status: int, errors: dict[str, tuple[str, ...]]) -> Response:
    """Names every mistake: in JSON for CarrierX, in lines of text for the keyword platform."""
    if wire_format == "carrierx":
        return Response(json.dumps({"errors": errors}), status, mimetype="application/json")
    lines = (f"{name}: {sentence}\n" for name, sentences in errors.items() for sentence in sentences)
    return Response("".join(lines), status, mimetype="text/plain")


def _try_later(wire_format: str) -> Response:
    """Answers with the status that every platform understands as "send it again later"."""
    response = _refuse(wire_format, 503, {"gateway": ("It cannot be kept now. Please send it again.",)})
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response
