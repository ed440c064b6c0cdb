"""Access to the console: who may see it and change something there, logging in and out, the headers of every page.

`authenticate_request` runs before every request. Everything is closed unless it is named here: the blueprints that
monitors call (`OPEN`), and the pages that a visitor needs to log in (`VISITORS`). Callbacks have an
application of their own (`gateway.web.callbacks`).
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from functools import partial
from typing import cast
from urllib.parse import urlsplit

import pyotp
from flask import Blueprint, Flask, Response, current_app, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect
from werkzeug.exceptions import abort

from gateway.config import ADMIN, Operator, Settings
from gateway.config.fields import MAX_NAME_CHARACTERS
from gateway.store.limits import count as counted
from gateway.web import limits, sessions
from gateway.web.context import audit_entry, config, now, record_audit, web_context

OPEN = frozenset({"health"})
"""Blueprints that check callers themselves, or need not: no session, no CSRF token, no headers of the console."""
VISITORS = frozenset({"login.form", "login.enter", "login.code", "static"})  # endpoints that are open without a login
EVERYBODYS = frozenset({"login", "account"})
"""Blueprints whose posts every operator may send, whatever the role: they change nothing but one's own."""
ADMINS = frozenset({"audit.entries", "account.end_sessions"})  # endpoints for admins alone
CODE_PAGE_SECONDS = 300.0  # from the right password to the right code
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LOCAL = re.compile(r"/(?!/)[\x21-\x5b\x5d-\x7e]*")
"""A path of the console: neither another scheme nor another host, however a browser reads it."""
WRONG_CODE = "That is not the code, or it was used before: wait for the next one."

blueprint = Blueprint("login", __name__)


@dataclass(slots=True, kw_only=True)
class AuthState:
    """The logins of one application, kept in ``app.extensions["auth"]``."""

    session_interface: sessions.Sessions
    passwords: sessions.Passwords = field(default_factory=sessions.Passwords)
    csrf: CSRFProtect = field(default_factory=CSRFProtect)


def auth_state() -> AuthState:
    return cast(AuthState, current_app.extensions["auth"])


def secure(app: Flask, settings: Settings) -> None:
    """Puts `authenticate_request` before every request of `app`."""
    app.session_interface = interface = sessions.Sessions(settings)
    state = app.extensions["auth"] = AuthState(session_interface=interface)
    app.config.update(
        SESSION_COOKIE_NAME="gateway_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=sessions.SESSION_SECONDS,
        # The token lives as long as the session; `authenticate_request` decides when it is asked for, and
        # judges the origin itself, also behind a proxy that rewrites the Host header.
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,
    )
    state.csrf.init_app(app)
    app.before_request(authenticate_request)
    app.after_request(add_headers)


def authenticate_request() -> ResponseReturnValue | None:
    """Returns None to let the request pass; anything else is the answer."""
    if request.blueprint in OPEN:
        return None
    auth_state().session_interface.get_signing_serializer(current_app)  # CSRF tokens are signed with the same key
    if request.routing_exception is not None:  # everybody may learn that there is no such page (404, 405)
        g.user = session_user()
        return None
    if request.method not in SAFE:
        refuse_foreign_origin()
    g.user = current_user()
    if g.user is None and request.endpoint not in VISITORS:
        if wants_json():  # a program; people get the form
            return unauthorized()
        path = request.script_root + request.full_path.rstrip("?") if request.method in SAFE else None
        return redirect(url_for("login.form", next=path), 303)
    if request.method not in SAFE and not g.get("program"):
        auth_state().csrf.protect()
    if g.user is not None:
        refuse_by_role(g.operator.role)
    return None


def refuse_by_role(role: str) -> None:
    """Raises 403, and logs it, for what operators with this role may not do."""
    reason = ""
    if role == "read" and request.method not in SAFE and request.blueprint not in EVERYBODYS:
        reason = "Your role is read: you see everything and change nothing."
    elif role != "admin" and request.endpoint in ADMINS:
        reason = "This is for operators with the role admin."
    if reason:
        web_context().log.warning("refused_by_role", operator=g.operator.name, endpoint=request.endpoint)
        abort(403, reason)


def current_user() -> str | None:
    """The user of this request: of its session, or a program with HTTP Basic; None is a visitor. The limits of a user
    are counted by it. `g.operator` is who that is."""
    if request.endpoint == "static":
        return None
    given = request.authorization
    if given is None or given.type != "basic":
        return session_user()
    # Any name does for the single password: programs were told so before operators had names.
    operator = config().operator(given.username or "") or config().operator(ADMIN)
    if operator is None or not knows_program_password(operator, given.password or ""):
        record_audit("login refused", who=(given.username or ADMIN)[:MAX_NAME_CHARACTERS], by="HTTP Basic")
        abort(unauthorized())
    if operator.totp:
        abort(403, f"{operator.name} logs in with one-time codes: programs need an operator of their own, without.")
    g.program, g.operator = True, operator
    return f"program {request.remote_addr}"


def session_user() -> str | None:
    """The user by this request's session. Sets `g.operator`."""
    found = sessions.find(web_context().store, config(), now())
    g.operator = config().operator(found.operator) if found else None
    return found.id if found else None


def knows_password(name: str, candidate: str) -> bool:
    """Says whether this is the operator's password. After too many guesses from an address, or at an operator, 429 is
    raised for a while, but not for a device on which that operator logged in before."""
    rates, passwords, operator = web_context().limits, auth_state().passwords, config().operator(name)
    these = guesses("login", name)
    if passwords.was_right(candidate, operator):  # no guess, and not counted
        rates.check(now(), *these)
        return True
    rates.count(now(), *these)
    return passwords.is_right(candidate, operator)


def guesses(what: str, name: str) -> tuple[limits.Limit, ...]:
    """The limits of guesses at an operator by this request."""
    if device := auth_state().session_interface.known_device(request, name):
        return limits.guesses(what, f"device {device}")
    return limits.guesses(what, limits.caller_key(request.remote_addr), name)


def knows_program_password(operator: Operator, candidate: str) -> bool:
    """Does as `knows_password` for HTTP Basic, where a known address stands for the known device."""
    rates, passwords, caller = web_context().limits, auth_state().passwords, limits.caller_key(request.remote_addr)
    credential = f"operator {operator.name}"
    if passwords.was_right(candidate, operator):
        rates.admit(credential, now(), caller, partial(limits.guesses, "login", account=operator.name))
        return True
    is_known = rates.knows(caller, credential)
    these = limits.guesses("program", caller) if is_known else limits.guesses("login", caller, operator.name)
    rates.count(now(), *these)
    return passwords.is_right(candidate, operator)


def unauthorized() -> Response:
    errors = {"errors": {"authorization": ["HTTP Basic with the console's password."]}}
    headers = {"WWW-Authenticate": 'Basic realm="gateway", charset="UTF-8"'}
    return current_app.make_response((errors, 401, headers))


def wants_json() -> bool:
    """Says whether the caller asks for the JSON twin of a page. Browsers name HTML first."""
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"


def refuse_foreign_origin() -> None:
    """Raises 403 for a request that another site made this browser send; programs send neither header.
    `Sec-Fetch-Site` is set by the browser itself and survives every proxy. Without it (plain HTTP to another machine,
    old browsers) `Origin` must be the host that was called, or `public_url`."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        is_foreign = site not in ("same-origin", "none")
    else:
        origin = request.headers.get("Origin")
        ours = {request.host.lower(), _host(config().public_url)} - {""}
        is_foreign = origin is not None and _host(origin) not in ours
    if is_foreign:
        abort(403, "This was sent by another site.")


def _host(url: str) -> str:
    """``sms.example.com:8443``; empty for what is no URL, such as the origin ``null``."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def add_headers(response: Response) -> Response:
    """Sets the headers that protect every page of the console."""
    if request.blueprint in OPEN:
        return response
    response.headers.update(HEADERS)
    if request.endpoint == "static" and response.status_code in (200, 304):
        response.headers["Cache-Control"] = "public, max-age=3600"
    return response


@blueprint.get("/login")
def form() -> ResponseReturnValue:
    """The login form; or the login itself, by the link of `gateway serve`.
    Only the supervisor hands the link's token to this process."""
    token = request.args.get("token")
    if token is None:
        return redirect(next_path(), 303) if g.user else login_page()
    rates, these = web_context().limits, guesses("login", ADMIN)
    rates.check(now(), *these)
    expected = current_app.config.get("LOGIN_TOKEN") or ""
    operator = config().operator(ADMIN)
    if operator is None or not expected or not hmac.compare_digest(token.encode(), expected.encode()):
        rates.count(now(), *these)
        record_audit("login refused", who=ADMIN, by="link")
        return login_page("This link is not, or no longer, valid. Use the newest one, or the password."), 403
    return log_in(operator, "link", request.script_root + ("/sandbox" if config().sandbox else "/"))


@blueprint.post("/login")
def enter() -> ResponseReturnValue:
    name = request.form.get("name", "").strip() or ADMIN
    operator = config().operator(name)
    if not knows_password(name, request.form.get("password", "")) or operator is None:
        web_context().log.warning("login refused", address=request.remote_addr)
        record_audit("login refused", who=name[:MAX_NAME_CHARACTERS], by="password")
        return login_page("That is not the password."), 403
    if operator.totp:
        session["password_was_right"] = [operator.name, sessions.password_mark(operator), now()]
        return redirect(url_for(".code", next=next_path()), 303)
    return log_in(operator, "password", next_path())


@blueprint.route("/login/code", methods=["GET", "POST"])
def code() -> ResponseReturnValue:
    """Asks for the one-time code of an operator whose password was right a moment ago."""
    name, mark, at = session.get("password_was_right", ("", "", 0.0))
    operator = config().operator(name)
    is_valid = operator is not None and mark == sessions.password_mark(operator)
    if operator is None or not is_valid or not 0 <= now() - at < CODE_PAGE_SECONDS:
        return redirect(url_for(".form", next=next_path()), 303)
    error = ""
    if request.method == "POST":
        if knows_code(operator, request.form.get("code", "")):
            return log_in(operator, "password and code", next_path())
        record_audit("login refused", who=operator.name, by="code")
        error = WRONG_CODE
    return render_template("login_code.html", error=error, next=next_path()), 403 if error else 200


def knows_code(operator: Operator, candidate: str) -> bool:
    """Says whether this is the operator's one-time code of now, of the last half minute, or of the next one, and was
    not used before. After too many guesses 429 is raised for a while."""
    context = web_context()
    context.limits.count(now(), *guesses("code", operator.name))
    step = totp_step(operator.totp, candidate, now())
    if step is None:
        return False
    use = partial(counted, name=f"code {step} of {operator.name}", now=now(), seconds=CODE_PAGE_SECONDS)
    return context.store.writer.write(use)[0] == 1


def totp_step(secret: str, candidate: str, at: float) -> int | None:
    """The number of the half minute that a one-time code is of: this one, or the one before or after; else None."""
    codes, given = pyotp.TOTP(secret), "".join(candidate.split()).encode()
    steps = [int(at // codes.interval) + drift for drift in (0, -1, 1)]
    return next((step for step in steps if hmac.compare_digest(codes.generate_otp(step).encode(), given)), None)


@blueprint.post("/logout")
def leave() -> ResponseReturnValue:
    sessions.end(web_context().store, audit_entry("logout"))
    response = current_app.make_response(redirect(url_for("login.form"), 303))
    response.headers["Clear-Site-Data"] = '"cache", "storage"'  # not the cookie of the known device
    return response


def log_in(operator: Operator, by: str, path: str) -> ResponseReturnValue:
    interface, entry = auth_state().session_interface, audit_entry("login", who=operator.name, by=by)
    sessions.begin(web_context().store, operator, entry, config().session_idle_minutes * 60)
    web_context().log.info("logged in", operator=operator.name, address=request.remote_addr)
    response = current_app.make_response(redirect(path, 303))
    interface.remember_device(current_app, response, operator.name, interface.known_device(request, operator.name))
    return response


def login_page(error: str = "") -> str:
    return render_template("login.html", error=error, next=next_path())


def next_path() -> str:
    """The path to open after the login: one of this console, whatever the caller asks for."""
    path = request.values.get("next", "")
    return path if LOCAL.fullmatch(path) else f"{request.script_root}/"
