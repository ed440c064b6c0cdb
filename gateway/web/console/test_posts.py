"""The test pages: post one callback or status as a delivery would, or paste a body and see what becomes of it."""

from __future__ import annotations

import uuid

from flask import Blueprint, current_app, g, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import TooManyRequests

from gateway import preview
from gateway.safe_http.ssrf import NO_ADDRESSES, mask_url, origin_of
from gateway.test_posts import FIELDS, TestPost, TestPostResult, samples, send_test_post
from gateway.web.auth import wants_json
from gateway.web.context import config, now, record_audit, web_context
from gateway.web.limits import Limit
from schemas import BadCallback, ReceiveContext, credentials

TEST_POSTS_PER_MINUTE = 120
"""Test posts of one user: enough for a script that walks through its cases, no use as a port scanner."""

blueprint = Blueprint("test_posts", __name__)


@blueprint.route("/test/<any(callback, status):kind>", methods=["GET", "POST"])
def form(kind: str) -> ResponseReturnValue:
    given: dict[str, str] = {}
    result: TestPostResult | None = None
    errors: dict[str, tuple[str, ...]] = {}
    if request.method == "POST":
        given = {name: value for name, value in request.form.items() if name != "csrf_token"}
        if not g.get("program"):  # browsers send every line end as CR LF; what was typed is a line feed
            given = {name: value.replace("\r\n", "\n") for name, value in given.items()}
        fields = {name: value for name, value in given.items() if name not in ("endpoint", "url")}
        url = given.get("url", "").strip()
        try:
            result = _send_exclusively(TestPost(kind=kind, endpoint=given.get("endpoint", ""), url=url, fields=fields))
        except BadCallback as error:
            errors = error.errors
        if wants_json():
            return result.as_json() if result else ({"errors": errors}, 400)
    return render_template(
        "test_posts.html",
        kind=kind,
        names=FIELDS[kind],
        credentials=credentials.CREDENTIALS,
        values=samples(kind, config()) | given,
        endpoints=list(config().endpoints.values()),
        result=result,
        errors=errors,
    ), 400 if errors else 200


def _send_exclusively(test_post: TestPost) -> TestPostResult:
    """Sends one test at a time for each user, and not too many: others could misuse a form that posts anywhere."""
    user, context = g.user, web_context()
    with context.limits.exclusive(user) as is_free:
        if not is_free:
            raise TooManyRequests("A test of yours is still running.", retry_after=1)
        context.limits.count(now(), Limit(f"test of {user}", TEST_POSTS_PER_MINUTE))
        own = current_app.config.get("OWN_ADDRESSES", NO_ADDRESSES)
        record_audit("test post", mask_url(origin_of(test_post.endpoint or test_post.url)), kind=test_post.kind)
        result = send_test_post(test_post, config(), context.clock(), own)
    context.log.info(
        "test_post",
        test=True,
        kind=test_post.kind,
        endpoint=test_post.endpoint or None,
        address=result.address,
        verdict=result.verdict,
        status=result.response and result.response.status,
        total_ms=result.times.total,
    )
    return result


@blueprint.route("/test/paste", methods=["GET", "POST"])
def paste() -> ResponseReturnValue:
    # A line end after a form does not belong to it.
    body = request.form.get("body", "").replace("\r\n", "\n").strip("\n")
    source = request.form.get("format", "")
    found: preview.Preview | None = None
    errors: dict[str, tuple[str, ...]] = {}
    if request.method == "POST":
        try:
            if source not in ("", *preview.FORMATS):
                raise BadCallback({"format": ("One of carrierx, legacy-callback, legacy-status, or empty to guess.",)})
            context = ReceiveContext(now=web_context().clock(), sid=str(uuid.uuid4()), prefix=config().prefix)
            found = preview.preview(body.encode(), source, context, config())
        except BadCallback as error:
            errors = error.errors
        if wants_json():
            return found.as_json() if found else ({"errors": errors}, 400)
    return render_template(
        "paste.html",
        body=credentials.scrub_refused(body.encode()).decode("utf-8", "replace"),
        source=source,
        formats=preview.FORMATS,
        preview=found,
        facts=preview.facts(found.message) if found else [],
        errors=errors,
    ), 400 if errors else 200
