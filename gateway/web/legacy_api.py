"""Where applications call to send, as they called the keyword platform: by SOAP, or by plain form posts.

``/legacy/webservices/`` takes envelopes and gives the WSDL at ``?wsdl``; ``/legacy/sendMessage`` and so on take forms.
A ticket means: it is on disk, and will be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import limits
from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import (
    HTTPException,
    MethodNotAllowed,
    RequestEntityTooLarge,
    TooManyRequests,
    UnsupportedMediaType,
)

from gateway.outbound import accept, codes, status_query
from gateway.outbound.model import CallAnswer, StatusRow
from gateway.store import StoreUnavailable
from gateway.web import forms, legacy_forms, soap, soap_answers
from gateway.web.callbacks import RETRY_AFTER_SECONDS, TOO_LARGE, read_body
from gateway.web.context import WebContext, web_context
from gateway.web.soap_xml import Unreadable
from schemas import BadCallback, credentials, wire

PATH = "/legacy/webservices/"
STRANGERS = limits.parse("60/minute")
"""Calls with wrong credentials, and such as cannot be read, that are kept: all together, by one process."""
KEPT = 4096
"""Bytes of what cannot be read: nobody knows who sent it."""
_XML = "text/xml; charset=utf-8"

blueprint = Blueprint("sending", __name__)


class _Fault(Exception):
    """No call came of it: the HTTP status, `outcome` as it is counted, what the caller is told."""

    def __init__(self, status: int, outcome: str, text: str, code: int = codes.MALFORMED) -> None:
        super().__init__(text)
        self.status, self.outcome, self.text, self.code = status, outcome, text, code


@blueprint.route(PATH, methods=["GET", "POST"], provide_automatic_options=False, strict_slashes=False)
def webservices() -> Response:
    if request.method == "POST":
        return _soap(web_context())
    if not any(name.lower() == "wsdl" for name in request.args):
        raise MethodNotAllowed(["POST"], "Post an envelope here, or get the WSDL by ?wsdl.")
    said = render_template("webservices.wsdl.xml", namespace=soap.NAMESPACE, address=_address(web_context()))
    return Response(said, content_type=_XML)


def _address(here: WebContext) -> str:
    """Where clients are sent to by the WSDL: never by what a caller says of our name."""
    public = here.settings.current.public_url
    if public:
        return public + PATH
    environ = request.environ
    host = environ["SERVER_NAME"]
    name = f"[{host}]" if ":" in host else host
    return f"{environ['wsgi.url_scheme']}://{name}:{environ['SERVER_PORT']}{environ.get('SCRIPT_NAME', '')}{PATH}"


def _soap(here: WebContext) -> Response:
    version, name = soap.SOAP_11, "unknown"
    try:
        body = _taken()
        envelope = _envelope(here, body)
        version, name = envelope.version, envelope.name or name
        if not envelope.name:
            _malformed(here, name, {"body": ("The Body has no operation of ours.",)}, envelope.kept, _XML)
            raise _Fault(
                400, "malformed", f"There is no such operation. There are: {', '.join(legacy_forms.OPERATIONS)}."
            )
        done = _do(here, name, envelope.said, envelope.kept, _XML)
        text = _in_xml(envelope, done)
    except Exception as error:
        fault = _fault(here, name, error)
        mismatch = isinstance(error.__cause__, soap.WrongVersion)
        who = "VersionMismatch" if mismatch else "Client" if fault.status < 500 else "Server"
        return _reply(soap_answers.fault(version, who, fault.text), soap_answers.CONTENT_TYPES[version], fault.status)
    return _reply(text, soap_answers.CONTENT_TYPES[version])


def _envelope(here: WebContext, body: bytes) -> soap.SoapEnvelope:
    try:
        return soap.read(body, request.environ.get("CONTENT_TYPE"))
    except Unreadable as error:
        # Nobody can tell what in it is a secret, so nothing of it is kept.
        _malformed(here, "", {"body": (str(error),)}, b"", "")
        raise _Fault(400, "malformed", str(error)) from error


def _in_xml(envelope: soap.SoapEnvelope, done: CallAnswer | list[StatusRow]) -> bytes:
    if isinstance(done, list):
        return soap_answers.known(envelope, done)
    return (soap_answers.unknown if envelope.name in legacy_forms.QUERIES else soap_answers.sent)(envelope, done)


def _register(name: str) -> None:
    def receive() -> Response:
        return _form(web_context(), name)

    blueprint.add_url_rule(
        f"/legacy/{name}", name, receive, methods=["POST"], provide_automatic_options=False, strict_slashes=False
    )


for _name in legacy_forms.OPERATIONS:
    _register(_name)


def _form(here: WebContext, name: str) -> Response:
    as_json = request.accept_mimetypes.best_match([wire.FORM, forms.JSON]) == forms.JSON
    status = 200
    try:
        done = _do_form(here, name, _taken())
    except Exception as error:
        fault = _fault(here, name, error)
        status, done = fault.status, CallAnswer(result=False, error_code=fault.code, message=fault.text)
    return _reply(_in_form(name, done, as_json), forms.JSON if as_json else forms.FORM, status)


def _do_form(here: WebContext, name: str, body: bytes) -> CallAnswer | list[StatusRow]:
    content_type = request.environ.get("CONTENT_TYPE")
    try:
        said = forms.read(body, content_type)
    except BadCallback as error:
        _malformed(here, name, error.errors, credentials.scrub_refused(body), content_type or "")
        raise _Fault(400, "malformed", str(error)) from None
    return _do(here, name, said, credentials.scrub_call(body, content_type), content_type or "")


def _in_form(name: str, done: CallAnswer | list[StatusRow], as_json: bool) -> bytes:
    if isinstance(done, list):
        return forms.known(done, as_json)
    say: Callable[[CallAnswer, bool], bytes] = forms.unknown if name in legacy_forms.QUERIES else forms.sent
    return say(done, as_json)


def _taken() -> bytes:
    """The body, if it is one that we take. Raises `_Fault`."""
    try:
        return read_body()
    except UnsupportedMediaType as error:
        raise _Fault(415, "encoding", str(error.description)) from None
    except RequestEntityTooLarge:
        raise _Fault(413, "size", TOO_LARGE) from None


def _do(
    here: WebContext, name: str, said: legacy_forms.Pairs, kept: bytes, content_type: str
) -> CallAnswer | list[StatusRow]:
    """The call itself; it is counted and logged. Raises `StoreUnavailable`."""
    config = here.settings.current
    if name in legacy_forms.QUERIES:
        done = status_query.statuses(legacy_forms.query_of(name, said), config, here.store)
        return _told(here, name, done, rows=len(done) if isinstance(done, list) else 0)
    came = legacy_forms.RequestMeta(kept, content_type, request.environ.get("REMOTE_ADDR", ""), here.clock())
    call = legacy_forms.call_of(name, said, came)
    accepted = accept.accept(call, config, here.store, _may_keep)
    if accepted.endpoints:
        here.notifier.ring(accepted.endpoints)
    return _told(here, name, accepted.answer, recipients=len(call.recipients), event_id=accepted.event_id)


def _told(
    here: WebContext, name: str, done: CallAnswer | list[StatusRow], **facts: int
) -> CallAnswer | list[StatusRow]:
    error_code = codes.OK if isinstance(done, list) else done.error_code
    outcome = "refused" if error_code else "answered" if name in legacy_forms.QUERIES else "accepted"
    here.metrics.legacy_call(name, outcome)
    here.log.info("legacy_call", call=name, outcome=outcome, error_code=error_code, **facts)
    return done


def _malformed(
    here: WebContext, name: str, faults: Mapping[str, tuple[str, ...]], body: bytes, content_type: str
) -> None:
    if _may_keep():
        remote = request.environ.get("REMOTE_ADDR", "")
        accept.malformed(name, faults, body[:KEPT], content_type, remote, here.clock(), here.store)


def _may_keep() -> bool:
    """Of strangers: what is beyond this is counted and logged, and that is all."""
    try:
        web_context().unauthenticated.count(STRANGERS, "")
    except TooManyRequests:
        return False
    return True


def _fault(here: WebContext, name: str, error: Exception) -> _Fault:
    """What the caller is told, counted and logged. What is no fault of his is to be sent again."""
    if isinstance(error, _Fault):
        fault = error
    elif isinstance(error, StoreUnavailable):
        here.log.error("store_unavailable", reason=str(error))
        fault = _Fault(503, "store", codes.SENTENCES[codes.LATER], codes.LATER)
    elif isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        fault = _Fault(error.code, "malformed", error.description or error.name)
    else:
        here.log.error("legacy_call_failed", call=name, exc_info=error)
        fault = _Fault(503, "fault", codes.SENTENCES[codes.LATER], codes.LATER)
    here.metrics.legacy_call(name, fault.outcome)
    return fault


def _reply(body: bytes, content_type: str, status: int = 200) -> Response:
    answer = Response(body, status, content_type=content_type)
    answer.headers["Cache-Control"] = "no-store"
    if status == 503:
        answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer
