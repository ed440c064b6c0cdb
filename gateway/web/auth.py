"""Who may see the console and change something there; what every page of it tells the browser.

One function stands before every request. Everything is shut unless it is named here: the
blueprints that monitors call (`OPEN`), and the two things that a visitor needs to
log in. Callbacks do not come here: they have an application of their own (`gateway.web.callbacks`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from flask import Flask, Response, abort, current_app, g, jsonify, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect

from gateway.config import Settings
from gateway.web.context import config, now
from gateway.web.limits import GUESSES_PER_MINUTE, RateLimits, caller_key
from gateway.web.password import Password
from gateway.web.sessions import HOURS, Ended, Sessions, user_of

OPEN = frozenset({"health"})
"""Blueprints with locks of their own, or none: no session, no CSRF token, no headers of ours."""
VISITORS = frozenset({"login.form", "login.enter", "static"})
"""What one may call without being logged in."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(slots=True, kw_only=True)
class AuthState:
    """What an application remembers about those who come in. `app.extensions["doorkeeper"]`."""

    settings: Settings
    password: Password = field(default_factory=Password)
    limits: RateLimits = field(default_factory=RateLimits)
    ended: Ended = field(default_factory=Ended)
    csrf: CSRFProtect = field(default_factory=CSRFProtect)
    sessions: Sessions = field(init=False)

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.settings, self.password)


def auth_state() -> AuthState:
    keeper: AuthState = current_app.extensions["doorkeeper"]
    return keeper


def secure(app: Flask, settings: Settings) -> None:
    """Put the doorkeeper before every request of `app`."""
    keeper = app.extensions["doorkeeper"] = AuthState(settings=settings)
    app.session_interface = keeper.sessions
    app.config.update(
        SESSION_COOKIE_NAME="gateway_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=HOURS * 3_600,
        # The token lives as long as the session; `authenticate_request` decides when it is asked for, and
        # judges the origin itself, also behind a proxy that rewrites the Host header.
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,
    )
    keeper.csrf.init_app(app)
    app.before_request(authenticate_request)
    app.after_request(add_headers)


def authenticate_request() -> ResponseReturnValue | None:
    """None lets the request pass; anything else is the answer."""
    if request.blueprint in OPEN:
        return None
    auth_state().sessions.get_signing_serializer(current_app)  # CSRF tokens are signed with the same key
    if request.routing_exception is not None:  # what is no page at all (404, 405) is said to everybody
        g.user = user_of(auth_state().ended, now())
        return None
    if request.method not in SAFE:
        refuse_foreign_origin()
    g.user = current_user()
    if g.user is None and request.endpoint not in VISITORS:
        return ask_for_login()
    if request.method not in SAFE and not g.get("program"):
        auth_state().csrf.protect()
    return None


def current_user() -> str | None:
    """The user of this request: of its session, or a program with HTTP Basic; None is a visitor."""
    if request.endpoint == "static":
        return None
    given = request.authorization
    if given is None or given.type != "basic":
        return user_of(auth_state().ended, now())
    if not knows_password(given.password or ""):
        abort(unauthorized())
    g.program = True
    return f"program {request.remote_addr}"


def knows_password(candidate: str) -> bool:
    """Is this the console's password? Guesses are counted; after too many the address is not heard for a while.

    Counted before the password is looked at, so that guesses sent all at once are counted too;
    one that was right before is no guess.
    """
    keeper, caller = auth_state(), caller_key(request.remote_addr)
    keeper.limits.check(GUESSES_PER_MINUTE, caller)
    if keeper.password.was_right(candidate, config()):
        return True
    keeper.limits.count(GUESSES_PER_MINUTE, caller)
    return keeper.password.is_right(candidate, config())


def ask_for_login() -> ResponseReturnValue:
    """People get the form, programs a 401."""
    if wants_json():
        return unauthorized()
    going = request.script_root + request.full_path.rstrip("?") if request.method in SAFE else None
    return redirect(url_for("login.form", next=going), 303)


def unauthorized() -> Response:
    answer = jsonify({"errors": {"authorization": ["HTTP Basic with the console's password."]}})
    answer.status_code = 401
    answer.headers["WWW-Authenticate"] = 'Basic realm="gateway", charset="UTF-8"'
    return answer


def wants_json() -> bool:
    """Does the caller ask for the JSON twin of a page? Browsers name HTML first."""
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"


def refuse_foreign_origin() -> None:
    """403 for what another site made this browser send; programs send neither header.

    `Sec-Fetch-Site` is the browser's own word and survives every proxy. Without it (plain HTTP to
    another machine, old browsers) `Origin` must be the host that was called, or `public_url`.
    """
    web_context = request.headers.get("Sec-Fetch-Site")
    if web_context is not None:
        foreign = web_context not in ("same-origin", "none")
    else:
        origin = request.headers.get("Origin")
        ours = {request.host.lower(), _host(config().public_url)} - {""}
        foreign = origin is not None and _host(origin) not in ours
    if foreign:
        abort(403, "This was sent by another site.")


def _host(url: str) -> str:
    """``sms.example.com:8443``; empty for what is no URL, such as the origin ``null``."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def add_headers(response: Response) -> Response:
    """What browsers must know about every page of the console."""
    if request.blueprint in OPEN:
        return response
    for name, value in HEADERS.items():
        response.headers[name] = value
    if request.endpoint == "static" and response.status_code in (200, 304):
        response.headers["Cache-Control"] = "public, max-age=3600"
    return response
