"""Where the platforms call. 200 means: it is on disk, with all that it owes."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from io import BytesIO
from time import perf_counter
from typing import TypeVar, cast
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Blueprint, Flask, Request, Response, json, request
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.routing import MapAdapter
from werkzeug.sansio.response import Response as WSGIResponse

from gateway.inbound import accept
from gateway.inbound.callback import Callback
from gateway.routing.deliveries import HOPS
from gateway.store import StoreUnavailable
from gateway.store.greenlets import current
from gateway.web.context import WebContext, web_context

MAX_BODY = 1024 * 1024
RETRY_AFTER = "5"
_DIGITS = 5
T = TypeVar("T")
_HOPS = f"HTTP_{HOPS.upper().replace('-', '_')}"

blueprint = Blueprint("callbacks", __name__)

_PLACES = {
    "/carrierx/callback": "carrierx",
    "/legacy/callback": "legacy-callback",
    "/legacy/status": "legacy-status",
}
_PREFIXES = tuple(f"{place}/" for place in _PLACES)  # asked twice for each request
_OURS = (*_PREFIXES, "/legacy/")


def are_quick(environ: WSGIEnvironment) -> bool:
    """Whether a request is a callback: these wait for nothing but the store's writer, which knows errands."""
    path = str(environ["PATH_INFO"])
    return path.startswith(_PREFIXES) or path in _PLACES


def are_calls(environ: WSGIEnvironment) -> bool:
    """Whether a request is a platform's or an application's, and no person's: these are asked for no session."""
    path = str(environ["PATH_INFO"])
    return path.startswith(_OURS) or path in _PLACES


class _NoSessions(SessionInterface):
    """Nobody is logged in here."""

    def open_session(self, app: Flask, request: Request) -> SessionMixin:
        return _NOBODY

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        return None


_NOBODY = NullSession()


class _Application(Flask):
    """Flask without what pages need: for each callback it is asked for neither sessions nor hosts nor coroutines."""

    session_interface = _NoSessions()

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        if request is None:
            return None
        environ = request.environ
        # Werkzeug's way to read PEP 3333's strings. No rule here asks for a host or a query.
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        return self.url_map.bind("", path_info=path, default_method=environ["REQUEST_METHOD"])

    def ensure_sync(self, func: Callable[..., T]) -> Callable[..., T]:
        return func


def application(here: WebContext, *more: Blueprint) -> Flask:
    """Takes callbacks, and what else programs call."""
    app = _Application(__name__, static_folder=None)
    app.extensions["gateway"] = here
    for part in (blueprint, *more):
        app.register_blueprint(part)
    app.register_error_handler(HTTPException, _plainly)
    return app


def _plainly(error: HTTPException) -> WSGIResponse:
    answer = error.get_response()
    answer.data, answer.mimetype = f"{error.description}\n".encode(), "text/plain"
    return answer


class _Same(Response):
    """An answer that is the same every time; nothing of it is worked out anew."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(self.status, list(self.headers))
        return cast("Iterable[bytes]", self.response)


def _register(path: str, format_name: str) -> None:
    def receive(key: str = "") -> Response:
        began, here = perf_counter(), web_context()
        answer = _receive(here, format_name, key)
        here.metrics.callback_answered(format_name, perf_counter() - began)
        return answer

    for rule in (path, f"{path}/<key>"):
        blueprint.add_url_rule(
            rule, format_name, receive, methods=["POST"], provide_automatic_options=False, strict_slashes=False
        )


for _path, _format in _PLACES.items():
    _register(_path, _format)


def _receive(here: WebContext, format_name: str, key: str) -> Response:
    """The checks that need no body, the body, and the answer for what became of it."""
    if not _is_ours(_candidates(key), here.settings.current.keys):
        here.metrics.callback_turned_away(format_name, "key")
        return _say(format_name, 403, {"key": ("Not one of the configured keys.",)})
    if is_coded():
        here.metrics.callback_turned_away(format_name, "encoding")
        return _say(format_name, 415, {"body": ("Content-Encoding other than identity is not taken.",)})
    try:
        body = whole_body()
    except RequestEntityTooLarge:
        here.metrics.callback_turned_away(format_name, "size")
        return _say(format_name, 413, {"body": (f"Larger than {MAX_BODY} bytes.",)})
    return _keep(here, format_name, body)


def is_coded() -> bool:
    """Packed bodies are not taken: nobody knows how large they are."""
    return request.environ.get("HTTP_CONTENT_ENCODING", "").strip().lower() not in ("", "identity")


def whole_body() -> bytes:
    """Before any parser of forms: it would drop the raw bytes, doubled names and bad charsets.

    Raises `RequestEntityTooLarge`.
    """
    whole = request.environ["wsgi.input"]
    if isinstance(whole, BytesIO):  # our own server has read it all
        body = whole.getvalue()
        if len(body) > MAX_BODY:
            raise RequestEntityTooLarge
        return body
    request.max_content_length = MAX_BODY
    return request.get_data(cache=False)


def _keep(here: WebContext, format_name: str, body: bytes) -> Response:
    environ = request.environ
    callback = Callback(
        format=format_name,
        body=body,
        content_type=environ.get("CONTENT_TYPE"),
        remote=environ.get("REMOTE_ADDR", ""),
        now=here.clock(),
        hops=_hops(environ.get(_HOPS, "")),
    )
    try:
        kept = accept.accept(callback, here.settings.current, here.store)
    except StoreUnavailable as error:
        here.log.error("store_unavailable", reason=str(error))
        here.metrics.callback_turned_away(format_name, "store")
        return _later(format_name)
    here.metrics.callback_kept(format_name, kept.state)
    if kept.orphan:
        here.metrics.orphan_update(kept.orphan)
    here.log.info("callback_kept", format=format_name, state=kept.state, event_id=kept.event_id)
    if kept.errors is not None:
        return _say(format_name, 403 if kept.forbidden else 400, kept.errors)
    if kept.endpoints:
        _ring(here, kept.endpoints)
    return _KEPT[format_name]


def _ring(here: WebContext, endpoints: tuple[str, ...]) -> None:
    """Among errands once for all that were committed together."""
    errand = current()
    if errand is None:
        here.notifier.ring(endpoints)
    else:
        here.notifier.ring_later(endpoints, errand.loop.call_soon)


def _hops(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else 0


def _candidates(key: str) -> tuple[str, ...]:
    """The key of the path, and the password of HTTP Basic."""
    basic = request.authorization if "HTTP_AUTHORIZATION" in request.environ else None
    return (key, (basic.password or "") if basic is not None and basic.type == "basic" else "")


def _is_ours(candidates: Iterable[str], keys: Iterable[str]) -> bool:
    """Every candidate against every key: a wrong one costs the same as a right one."""
    known = [key.encode() for key in keys if key]
    tried = [one.encode("utf-8", "surrogatepass") for one in candidates]
    same = [hmac.compare_digest(one, key) for one in tried for key in known]
    return any(same)


_KEPT = {name: _Same("", 200, mimetype="text/plain") for name in _PLACES.values()}
_KEPT["carrierx"] = _Same("{}", 200, mimetype="application/json")


def _say(format_name: str, status: int, errors: dict[str, tuple[str, ...]]) -> Response:
    """Every fault by name: JSON for CarrierX, lines of text for the keyword platform."""
    if format_name == "carrierx":
        return Response(json.dumps({"errors": errors}), status, mimetype="application/json")
    lines = (f"{name}: {fault}\n" for name, faults in errors.items() for fault in faults)
    return Response("".join(lines), status, mimetype="text/plain")


def _later(format_name: str) -> Response:
    """What every platform takes as "not now"."""
    answer = _say(format_name, 503, {"gateway": ("It cannot be kept now. Please send it again.",)})
    answer.headers["Retry-After"] = RETRY_AFTER
    return answer


@blueprint.errorhandler(Exception)
def _accident(error: Exception) -> Response | WSGIResponse:
    """A fault of ours, not the caller's: it is logged, and the caller asked to send it again."""
    if isinstance(error, HTTPException):
        return _plainly(error)
    here, format_name = web_context(), _PLACES.get("/".join(request.path.split("/")[:3]), "legacy-callback")
    here.log.error("callback_failed", exc_info=error)
    here.metrics.callback_turned_away(format_name, "fault")
    return _later(format_name)
