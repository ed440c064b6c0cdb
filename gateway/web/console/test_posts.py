"""The test forms: send one callback or status post as a delivery would, or paste one and see what becomes of it."""

from __future__ import annotations

import uuid

from flask import Blueprint, Flask, current_app, g, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import TooManyRequests

from gateway import preview
from gateway.safe_http.ssrf import NO_ADDRESSES
from gateway.test_posts import FIELDS, InvalidTestPost, TestPost, samples, send_test_post
from gateway.trial_result import TestPostResult
from gateway.web.auth import auth_state, wants_json
from gateway.web.context import config, web_context
from gateway.web.sessions import TEST_POSTS_PER_MINUTE
from schemas import BadCallback, ReceiveContext, credentials

blueprint = Blueprint("try_out", __name__)

ADDRESSED = frozenset({"endpoint", "url", "csrf_token"})
"""What the form has besides fields of the format."""
HINTS = {
    "title": "of the keyword's campaign",
    "code": "the number or short code that was texted",
    "shortcode": "the same, by its older name",
    "message": "the whole text, keyword included",
    "phone": "the handset, with country code",
    "carrier": "the handset's operator",
    "keyword": "the word that matched",
    "group": "of the keyword",
    "custom_ticket": "your own id of the message",
    "default_keyword": "the group's own keyword",
    "sendTo": "the handset, with country code",
    "status": "a word or a number",
    "ticket": "the platform's id of the message",
}


def register(app: Flask) -> None:
    app.register_blueprint(blueprint)


@blueprint.get("/test/<any(callback, status):kind>")
def form(kind: str) -> ResponseReturnValue:
    return _page(kind, samples(kind, config()))


@blueprint.post("/test/<any(callback, status):kind>")
def send(kind: str) -> ResponseReturnValue:
    given = _given()
    fields = {name: value for name, value in given.items() if name not in ADDRESSED}
    trial = TestPost(kind=kind, endpoint=given.get("endpoint", ""), url=given.get("url", "").strip(), fields=fields)
    try:
        result = _alone(trial)
    except InvalidTestPost as error:
        if wants_json():
            return {"errors": error.errors}, 400
        return _page(kind, samples(kind, config()) | given, errors=error.errors), 400
    if wants_json():
        return result.as_json()
    return _page(kind, samples(kind, config()) | given, result=result)


def _given() -> dict[str, str]:
    """The form's first values. Browsers send every line end as CR LF; what was typed is a line feed."""
    given = {name: value for name, value in request.form.items() if name != "csrf_token"}
    return given if g.get("program") else {name: value.replace("\r\n", "\n") for name, value in given.items()}


def _alone(trial: TestPost) -> TestPostResult:
    """One test at a time for each user, and not too many: a form that posts anywhere is a tool for others, too."""
    limits, user = auth_state().limits, g.user
    with limits.exclusive(user) as is_free:
        if not is_free:
            raise TooManyRequests("A test of yours is still running.", retry_after=1)
        limits.count(TEST_POSTS_PER_MINUTE, user)
        result = send_test_post(
            trial, config(), web_context().clock(), current_app.config.get("OWN_ADDRESSES", NO_ADDRESSES)
        )
    _log(trial, result)
    return result


def _log(trial: TestPost, result: TestPostResult) -> None:
    web_context().log.info(
        "test_post",
        test=True,
        kind=trial.kind,
        endpoint=trial.endpoint or None,
        address=result.address,
        verdict=result.verdict,
        status=result.response and result.response.status,
        total_ms=result.times.total,
    )


def _page(
    kind: str,
    values: dict[str, str],
    *,
    result: TestPostResult | None = None,
    errors: dict[str, list[str]] | None = None,
) -> str:
    return render_template(
        "try_out.html",
        kind=kind,
        names=FIELDS[kind],
        trio=credentials.CREDENTIALS,
        hints=HINTS,
        values=values,
        endpoints=list(config().endpoints.values()),
        result=result,
        errors=errors or {},
    )


@blueprint.route("/test/paste", methods=["GET", "POST"])
def pasted() -> ResponseReturnValue:
    body = _body()
    source = request.form.get("format", "")
    if request.method == "GET":
        return _paste_page("", "")
    try:
        if source not in ("", *preview.FORMATS):
            raise BadCallback({"format": ("One of carrierx, legacy-callback, legacy-status, or empty to guess.",)})
        receipt = ReceiveContext(now=web_context().clock(), sid=str(uuid.uuid4()), prefix=config().prefix)
        crossing = preview.preview(body.encode(), source, receipt, config())
    except BadCallback as error:
        if wants_json():
            return {"errors": error.errors}, 400
        return _paste_page(body, source, errors=error.errors), 400
    return crossing.as_json() if wants_json() else _paste_page(body, source, crossing=crossing)


def _body() -> str:
    """What was pasted. A line end behind a form is no part of it."""
    return request.form.get("body", "").replace("\r\n", "\n").strip("\n")


def _paste_page(
    body: str,
    source: str,
    *,
    crossing: preview.Preview | None = None,
    errors: dict[str, tuple[str, ...]] | None = None,
) -> str:
    return render_template(
        "paste.html",
        body=credentials.scrub_refused(body.encode()).decode("utf-8", "replace"),
        source=source,
        formats=preview.FORMATS,
        crossing=crossing,
        facts=preview.facts(crossing.message) if crossing else [],
        errors=errors or {},
    )
