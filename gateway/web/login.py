"""Logging in and out: one password, or the link that `gateway serve` prints."""

from __future__ import annotations

import hmac
import re

import structlog
from flask import Blueprint, Flask, current_app, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from gateway.web import sessions
from gateway.web.auth import auth_state, knows_password
from gateway.web.context import config, now
from gateway.web.limits import GUESSES_PER_MINUTE, caller_key

blueprint = Blueprint("login", __name__)
log = structlog.get_logger(__name__)

LOCAL = re.compile(r"/(?!/)[\x21-\x5b\x5d-\x7e]*")
"""A path of ours: neither another scheme nor another host, in any browser's reading."""


def register(app: Flask) -> None:
    app.register_blueprint(blueprint)


@blueprint.get("/login")
def form() -> ResponseReturnValue:
    token = request.args.get("token")
    if token is not None:
        return enter_by_link(token)
    if g.user:
        return redirect(going(), 303)
    return page()


@blueprint.post("/login")
def enter() -> ResponseReturnValue:
    if not knows_password(request.form.get("password", "")):
        log.warning("login refused", address=request.remote_addr)
        return page("That is not the password."), 403
    return welcome(going())


@blueprint.post("/logout")
def leave() -> ResponseReturnValue:
    if user := session.get("user"):
        auth_state().ended.add(user, now())
    session.clear()
    return redirect(url_for("login.form"), 303)


def enter_by_link(token: str) -> ResponseReturnValue:
    """The link of `gateway serve`: its token came to this process from the supervisor, by no other way."""
    limits, caller = auth_state().limits, caller_key(request.remote_addr)
    limits.check(GUESSES_PER_MINUTE, caller)
    expected = current_app.config.get("LOGIN_TOKEN") or ""
    if not expected or not hmac.compare_digest(token.encode(), expected.encode()):
        limits.count(GUESSES_PER_MINUTE, caller)
        return page("This link is not, or no longer, valid. Use the newest one, or the password."), 403
    return welcome(request.script_root + ("/sandbox" if config().sandbox else "/"))


def welcome(path: str) -> ResponseReturnValue:
    sessions.begin(now())
    log.info("logged in", address=request.remote_addr)
    return redirect(path, 303)


def page(error: str = "") -> str:
    return render_template("login.html", error=error, next=going())


def going() -> str:
    """Where to after the login: a path of this console, whatever the caller asks for."""
    path = request.values.get("next", "")
    return path if LOCAL.fullmatch(path) else f"{request.script_root}/"
