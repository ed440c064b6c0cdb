"""The common parts of the console's pages: filters, labels of states, and the pages for errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from flask import Flask, Response, g, make_response, render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from gateway.config import Config
from gateway.config.model import STATUS_URLS
from gateway.safe_http.ssrf import mask_url
from gateway.store import StoreUnavailable, health, ledger
from gateway.store.health import BreakerState
from gateway.test_posts import readable
from gateway.web.auth import wants_json
from gateway.web.context import web_context
from gateway.web.status_cache import Pair
from schemas import BadCallback, wire

ENDPOINT_NAMES = {ledger.ENDPOINT: "CarrierX (sending)", STATUS_URLS: "status_url of calls"}
"""Endpoints that no configuration has."""
ABSENT_SECONDS = 6 * health.HEARTBEAT_SECONDS
"""After this long without a heartbeat the overview says that no worker runs."""
SILENT_SECONDS = 86_400.0  # after this long the overview lists a keyword as silent
MAX_SILENT_KEYWORDS = 50
_SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def install(app: Flask) -> None:
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(
        when=when, ago=ago, fields=fields, readable=readable, hexdump=hexdump, endpoint_name=endpoint_name
    )
    style = Path(str(app.static_folder)) / "console.css"
    # Browsers keep the style sheet for an hour; a changed one has another address.
    app.jinja_env.globals["style"] = hashlib.sha256(style.read_bytes()).hexdigest()[:12]
    app.register_error_handler(StoreUnavailable, _store_unavailable)
    app.register_error_handler(HTTPException, _error_page)

    @app.context_processor
    def layout() -> dict[str, Any]:
        settings, operator = web_context().settings, g.get("operator")
        return {
            "user": g.get("user"),
            "operator": operator,
            "may_change": operator is not None and operator.role != "read",
            "sandbox": settings.current.sandbox,
            "refused": settings.refused is not None,
            "proxy": web_context().proxies.found(settings) if g.get("user") else "",
        }


def _store_unavailable(error: StoreUnavailable) -> Response:
    web_context().log.error("store_unavailable", reason=str(error))
    text = "The store cannot be reached now. Nothing is lost: try again."
    return _error_page(ServiceUnavailable(text, retry_after=5))


def _error_page(error: HTTPException) -> Response:
    """Answers as HTML, JSON or text, as the caller asks. Status and headers (`Allow`, say) are the error's own."""
    text = error.description or error.name
    body: ResponseReturnValue
    if wants_json():
        body = {"errors": {"request": [text]}}
    elif "text/html" in request.headers.get("Accept", ""):
        body = render_template("error.html", name=error.name, text=text)
    else:
        body = Response(f"{text}\n", mimetype="text/plain")
    response = make_response(body, error.code or 500)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def when(seconds: float | None) -> str:
    """Shows an epoch time as an HTML `time`, to the second; a dash for none."""
    if seconds is None:
        return "–"
    moment = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}">{:%Y-%m-%d %H:%M:%S}</time>').format(moment.isoformat(), moment)


def ago(seconds: float) -> str:
    """Shows a span in its largest whole unit: ``3 min``, ``5 h``."""
    for length, unit in _SPANS:
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def endpoint_name(endpoint: str) -> str:
    """Names an endpoint for people. One that a caller named is a URL, which may have secrets in it."""
    return ENDPOINT_NAMES.get(endpoint) or mask_url(endpoint)


def fields(body: bytes, content_type: str) -> list[tuple[str, str]]:
    """Reads the fields of a form or the attributes of a JSON object; none where a body is neither."""
    if not body.strip():
        return []
    try:
        if "json" in content_type.lower() or body.lstrip().startswith(b"{"):
            write = partial(json.dumps, ensure_ascii=False, default=str)
            pairs = wire.read_object(body).items()
            return [(name, str(value) if isinstance(value, str | Decimal) else write(value)) for name, value in pairs]
        return list(wire.read_form(body, content_type or None).pairs)
    except BadCallback:
        return []


def hexdump(body: bytes) -> str:
    """Shows sixteen bytes a line: offset, hexadecimal, ASCII."""
    lines = []
    for start in range(0, len(body), 16):
        row = body[start : start + 16]
        plain = "".join(chr(each) if 32 <= each < 127 else "." for each in row)
        lines.append(f"{start:06x}  {row[:8].hex(' '):23}  {row[8:].hex(' '):23}  {plain}")
    return "\n".join(lines)


class BreakerLabel(NamedTuple):
    badge: str
    text: str


def breaker_label(breaker: BreakerState, now: float) -> BreakerLabel:
    """``paused until 12:03:10: 7 failures in a row; next probe in 20 s``"""
    # The page shows the endpoint's last answer beside this.
    reason = breaker.reason.rstrip(". ") or "it failed"
    why = f"{breaker.failures} failures in a row" if breaker.failures > 1 else reason
    since = f"since {datetime.fromtimestamp(breaker.since, UTC):%H:%M:%S}"
    if breaker.state == "open":
        until = f"until {datetime.fromtimestamp(breaker.until, UTC):%H:%M:%S}"
        return BreakerLabel("paused", f"{until}: {why}; next probe in {ago(breaker.until - now)}")
    if breaker.state == "half_open":
        return BreakerLabel("probed", f"{since}, one delivery at a time: {why}")
    return BreakerLabel("recovering", f"{since}: more and more deliveries side by side")


def worker_warning(heartbeat: float | None, now: float) -> str:
    """Says that no worker runs; empty where one does. `heartbeat`: when the last one of any worker was."""
    if heartbeat is None:
        return "No worker has ever run with this store: nothing is delivered until one does."
    if now - heartbeat <= ABSENT_SECONDS:
        return ""
    return f"No worker has been seen for {ago(now - heartbeat)}: nothing is delivered until one runs."


def silent_keywords(heard: Mapping[Pair, float], config: Config, now: float) -> list[tuple[str, str, str, float]]:
    """The keywords that nobody has texted for long, the longest silent first: number, title, word, and when it was
    last texted, or the time of the oldest event of all."""
    titles = {
        (number.number, keyword.word): (number.shortcode, keyword.title or number.title)
        for number in config.numbers
        for keyword in number.keywords
    }
    found = sorted((last, pair) for pair, last in heard.items() if now - last >= SILENT_SECONDS)
    return [(*titles.get(pair, (pair[0], "")), pair[1], last) for last, pair in found[:MAX_SILENT_KEYWORDS]]
