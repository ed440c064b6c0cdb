"""Where applications call to send, as they called the keyword platform: by SOAP, or by plain form posts.

``/legacy/webservices/`` takes envelopes and gives the WSDL at ``?wsdl``; ``/legacy/sendMessage`` and so on take forms.
A ticket in the answer means: the call is on disk, and its texts will be sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import quote_plus, unquote_plus

from flask import Blueprint, Response, abort, render_template, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, TooManyRequests, UnsupportedMediaType

from gateway.config.known_secrets import known_secrets
from gateway.metrics import CALLS
from gateway.outbound import accept, validate
from gateway.outbound.model import CallAnswer, ErrorCode
from gateway.safe_http.ssrf import mask_url
from gateway.store import StoreUnavailable
from gateway.web import legacy_forms, soap
from gateway.web.callbacks import MAX_QUICK_BYTES, RETRY_AFTER_SECONDS, ROUTE_OPTIONS, TOO_LARGE, read_body
from gateway.web.context import WebContext, now, web_context
from gateway.web.legacy_forms import CallResult
from gateway.web.limits import UNREADABLE_KEPT, caller_key, guesses
from schemas import BadCallback, credentials, wire

PATH = "/legacy/webservices/"
MAX_KEPT_BYTES = 4096  # bytes that are kept of an unreadable call: its sender is not known
_XML = "text/xml; charset=utf-8"

_STATUS_URL = re.compile(rb"((?:^|&)status_url=)([^&]+)", re.IGNORECASE)

blueprint = Blueprint("legacy_api", __name__)


class _Fault(Exception):
    """A request that is not answered as a call: its HTTP status, `outcome` for the metrics, the text for the caller."""

    def __init__(self, status: int, outcome: str, text: str, code: ErrorCode = ErrorCode.MALFORMED) -> None:
        super().__init__(text)
        self.status, self.outcome, self.text, self.code = status, outcome, text, code
        self.retry_after = str(RETRY_AFTER_SECONDS) if status == 503 else ""


@blueprint.route(PATH, methods=["GET", "POST"], **ROUTE_OPTIONS)
def webservices() -> Response:
    context = web_context()
    if request.method == "POST":
        return _answer_envelope(context)
    if not any(name.lower() == "wsdl" for name in request.args):
        abort(405, ["POST"], "Post an envelope here, or get the WSDL by ?wsdl.")
    # The WSDL sends clients to the configured address or to the socket's, never to a host that the caller names.
    address = context.settings.current.public_url
    if not address:
        environ = request.environ
        host = environ["SERVER_NAME"]
        name = f"[{host}]" if ":" in host else host
        address = f"{environ['wsgi.url_scheme']}://{name}:{environ['SERVER_PORT']}{environ.get('SCRIPT_NAME', '')}"
    wsdl = render_template("webservices.wsdl.xml", namespace=soap.NAMESPACE, address=address + PATH)
    return Response(wsdl, content_type=_XML)


def _answer_envelope(context: WebContext) -> Response:
    version, name = soap.SOAP_11, "unknown"
    try:
        body = read_body()
        try:
            envelope = soap.read_envelope(body, request.environ.get("CONTENT_TYPE"))
        except soap.UnreadableEnvelope as error:
            # Nobody can tell which part of it is a secret, so none of it is kept.
            raise _malformed("", {"body": (str(error),)}, b"", "", str(error)) from error
        version, name = envelope.version, envelope.name or name
        if not envelope.name:
            errors = {"body": ("The Body has no known operation.",)}
            text = f"There is no such operation. There are: {', '.join(legacy_forms.OPERATIONS)}."
            raise _malformed(name, errors, envelope.scrubbed, _XML, text)
        answer = soap.write_answer(envelope, _call(context, name, envelope.arguments, lambda: envelope.scrubbed, _XML))
    except Exception as error:
        fault = _fault(context, name, error)
        is_mismatch = isinstance(error.__cause__, soap.WrongVersion)
        code = "VersionMismatch" if is_mismatch else "Client" if fault.status < 500 else "Server"
        return _respond(soap.write_fault(version, code, fault.text), soap.CONTENT_TYPES[version], fault)
    return _respond(answer, soap.CONTENT_TYPES[version])


def _answer_form(name: str) -> Response:
    context, content_type = web_context(), request.environ.get("CONTENT_TYPE")
    fault: _Fault | None = None
    as_json = request.accept_mimetypes.best_match([wire.FORM, legacy_forms.JSON]) == legacy_forms.JSON
    result: CallResult
    try:
        body = read_body()
        try:
            is_large, config = len(body) > MAX_QUICK_BYTES, context.settings.current
            arguments = legacy_forms.read_sender(body, content_type) if is_large else None
            if arguments is None or validate.is_authentic(legacy_forms.call_credentials(arguments), config):
                arguments = legacy_forms.read_form(body, content_type)
        except BadCallback as error:
            kept = _without_url_secrets(credentials.scrub_head(body, MAX_KEPT_BYTES))
            raise _malformed(name, error.errors, kept, content_type or "", str(error)) from None
        result = _call(
            context,
            name,
            arguments,
            lambda: _without_url_secrets(credentials.scrub_call(body, content_type)),
            content_type or "",
        )
    except Exception as error:
        fault = _fault(context, name, error)
        result = CallAnswer(result=False, error_code=fault.code.value, message=fault.text)
    answer = legacy_forms.write_answer(name, result, as_json)
    return _respond(answer, legacy_forms.JSON if as_json else legacy_forms.FORM, fault)


def _without_url_secrets(body: bytes) -> bytes:
    """Hides user, password and query of the `status_url` in a form, as people see URLs."""
    return _STATUS_URL.sub(
        lambda pair: pair[1] + quote_plus(mask_url(unquote_plus(pair[2].decode("latin-1")))).encode(), body
    )


for _name in legacy_forms.OPERATIONS:
    blueprint.add_url_rule(f"/legacy/{_name}", _name, partial(_answer_form, _name), methods=["POST"], **ROUTE_OPTIONS)


def _call(
    context: WebContext,
    name: str,
    arguments: legacy_forms.Pairs,
    scrubbed: Callable[[], bytes],
    content_type: str,
) -> CallResult:
    """Makes a call, counts and logs it. `scrubbed`: makes the body as it may be kept. Raises `StoreUnavailable`,
    and `TooManyRequests` where there were too many guesses at credentials."""
    config = context.settings.current
    auth, caller = legacy_forms.call_credentials(arguments), caller_key(request.environ.get("REMOTE_ADDR"))
    limits_of = partial(guesses, "call", account=auth.username)
    is_known = validate.is_authentic(auth, config)
    if is_known:
        context.limits.admit("[legacy]", now(), caller, limits_of)
    else:
        context.limits.count(now(), *limits_of(caller))
    result: CallResult
    if name in legacy_forms.QUERIES:
        result = accept.statuses(legacy_forms.status_query(name, arguments), config, context.store)
        facts = {"rows": len(result) if isinstance(result, list) else 0}
    else:
        remote = request.environ.get("REMOTE_ADDR", "")
        # A call with wrong credentials is kept without its body.
        kept = known_secrets(config).blank(scrubbed(), content_type) if is_known else b""
        call = legacy_forms.send_call(name, arguments, kept, content_type, remote, context.clock())
        accepted = accept.accept(call, config, context.store, _may_keep)
        if accepted.endpoints:
            context.notifier.notify(accepted.endpoints)
        result = accepted.answer
        facts = {"recipients": len(call.recipients), "event_id": accepted.event_id}
    error_code = ErrorCode.OK.value if isinstance(result, list) else result.error_code
    outcome = "refused" if error_code else "answered" if name in legacy_forms.QUERIES else "accepted"
    context.metrics.count(CALLS, name, outcome)
    context.log.info("legacy_call", call=name, outcome=outcome, error_code=error_code, **facts)
    return result


def _malformed(name: str, errors: Mapping[str, tuple[str, ...]], kept: bytes, content_type: str, text: str) -> _Fault:
    """Keeps an unreadable call, its body cut off. Returns the fault to raise."""
    if _may_keep():
        context, remote = web_context(), request.environ.get("REMOTE_ADDR", "")
        kept = known_secrets(context.settings.current).blank(kept, content_type)
        accept.malformed(name, errors, kept[:MAX_KEPT_BYTES], content_type, remote, context.clock(), context.store)
    return _Fault(400, "malformed", text)


def _may_keep() -> bool:
    """Counts a call of an unknown sender. Beyond the limit such calls only appear in metrics and log."""
    try:
        web_context().limits.count(now(), UNREADABLE_KEPT)
    except TooManyRequests:
        return False
    return True


def _fault(context: WebContext, name: str, error: Exception) -> _Fault:
    """Turns an exception into the answer, counted and logged. A caller who made no mistake is asked to call again."""
    if isinstance(error, _Fault):
        fault = error
    elif isinstance(error, StoreUnavailable):
        context.log.error("store_unavailable", reason=str(error))
        fault = _Fault(503, "store", ErrorCode.LATER.sentence, ErrorCode.LATER)
    elif isinstance(error, UnsupportedMediaType):
        fault = _Fault(415, "encoding", str(error.description))
    elif isinstance(error, RequestEntityTooLarge):
        fault = _Fault(413, "size", TOO_LARGE)
    elif isinstance(error, TooManyRequests):
        fault = _Fault(429, "guesses", str(error.description), ErrorCode.LATER)
        fault.retry_after = str(error.retry_after)
    elif isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        fault = _Fault(error.code, "malformed", error.description or error.name)
    else:
        context.log.error("legacy_call_failed", call=name, exc_info=error)
        fault = _Fault(503, "fault", ErrorCode.LATER.sentence, ErrorCode.LATER)
    context.metrics.count(CALLS, name, fault.outcome)
    return fault


def _respond(body: bytes, content_type: str, fault: _Fault | None = None) -> Response:
    response = Response(body, fault.status if fault else 200, content_type=content_type)
    response.headers["Cache-Control"] = "no-store"
    if fault and fault.retry_after:
        response.headers["Retry-After"] = fault.retry_after
    return response
