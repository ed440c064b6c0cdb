"""The console's page of one's own account: sessions and one-time codes; for admins also the sessions of the others."""

from __future__ import annotations

from functools import partial

import pyotp
import segno
from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from gateway.config import ConfigError
from gateway.config.fields import Mistake, totp_secret
from gateway.config.operators import change_operator
from gateway.store import sessions as kept
from gateway.store.audit import audited
from gateway.web.auth import WRONG_CODE, knows_code, totp_step
from gateway.web.context import audit_entry, config, now, record_audit, web_context
from gateway.web.sessions import SESSION_SECONDS

blueprint = Blueprint("account", __name__)


@blueprint.get("/account")
def page() -> ResponseReturnValue:
    """Who is logged in, and from where; to admins, of all operators."""
    current, at = config(), now()
    others = current.all_operators() if g.operator.role == "admin" else {}
    shown = {g.operator.name: g.operator, **others}
    with web_context().store.reader() as connection:
        found = {name: kept.of_operator(connection, name) for name in shown}
    idle = current.session_idle_minutes * 60
    return render_template(
        "account.html",
        operators=shown,
        sessions={
            name: [each for each in sessions if at - each.began_at < SESSION_SECONDS and at - each.seen_at < idle]
            for name, sessions in found.items()
        },
        is_in_file=g.operator.name in current.operators,
    )


@blueprint.post("/account/sessions/end")
def end_own_sessions() -> ResponseReturnValue:
    """Logs the operator out everywhere, here too."""
    _end_sessions(g.operator.name)
    return redirect(url_for("login.form"), 303)


@blueprint.post("/account/sessions/end/<name>")
def end_sessions(name: str) -> ResponseReturnValue:
    """Ends all sessions of an operator, for admins."""
    count = _end_sessions(name)
    flash(f"Ended {count} {'session' if count == 1 else 'sessions'} of {name}.", "good")
    return redirect(url_for(".page"), 303)


def _end_sessions(name: str) -> int:
    end = partial(kept.end_all, operator=name)
    return web_context().store.writer.write(audited(end, audit_entry("sessions ended", name)))


@blueprint.post("/account/totp")
def switch_on() -> ResponseReturnValue:
    """Shows a new secret for one-time codes; with a code that was made of it, writes it into the configuration."""
    if g.operator.name not in config().operators or g.operator.totp:
        abort(400, "One-time codes are on already, or this operator is not in the file.")
    secret, error = request.form.get("secret") or pyotp.random_base32(), ""
    try:
        step = totp_step(totp_secret(secret), request.form.get("code", ""), now())
    except Mistake:
        abort(400, "secret: this is not one.")
    if step is not None and not (error := _write_totp(secret)):
        flash("One-time codes are on.", "good")
        return redirect(url_for(".page"), 303)
    if "code" in request.form:
        error = error or WRONG_CODE
    uri = pyotp.TOTP(secret).provisioning_uri(name=g.operator.name, issuer_name="SMS gateway")
    drawn = segno.make(uri).svg_inline(dark="black", light="white", omitsize=True)
    image = Markup(drawn)  # noqa: S704 - segno draws squares, nothing of the text
    return render_template("account_totp.html", secret=secret, image=image, error=error), 400 if error else 200


@blueprint.post("/account/totp/off")
def switch_off() -> ResponseReturnValue:
    is_right = g.operator.totp and knows_code(g.operator, request.form.get("code", ""))
    error = _write_totp("") if is_right else WRONG_CODE
    flash(error or "One-time codes are off.", "bad" if error else "good")
    return redirect(url_for(".page"), 303)


def _write_totp(secret: str) -> str:
    """Writes the operator's secret into the configuration; an empty one is taken out. Returns why it cannot."""
    path, name = config().path, g.operator.name
    try:
        if path is None:
            raise FileNotFoundError
        change = change_operator(path, name, {"totp": secret})
        record_audit("operator totp", name, on=bool(secret))
        change.save()
    except (ConfigError, OSError):
        web_context().log.warning("configuration_not_written")
        todo = f'add this line below name = "{name}": totp = "{secret}"' if secret else "take out its line totp = …"
        return f"The gateway cannot write {path}. Somebody who can must {todo}"
    return ""
