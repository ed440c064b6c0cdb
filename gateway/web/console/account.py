"""The console's page of one's own account: sessions and one-time codes; for admins also the sessions of the others."""

from __future__ import annotations

from functools import partial
from pathlib import Path

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
    operators = {g.operator.name: g.operator, **(current.all_operators() if g.operator.role == "admin" else {})}
    began, seen = at - SESSION_SECONDS, at - current.session_idle_minutes * 60
    with web_context().store.reader() as connection:
        sessions = {
            name: [each for each in kept.of_operator(connection, name) if each.began_at > began and each.seen_at > seen]
            for name in operators
        }
    is_in_file = g.operator.name in current.operators
    return render_template("account.html", operators=operators, sessions=sessions, is_in_file=is_in_file)


@blueprint.post("/account/sessions/end", endpoint="end_own_sessions")
@blueprint.post("/account/sessions/end/<name>")
def end_sessions(name: str = "") -> ResponseReturnValue:
    """Logs the operator out everywhere, here too; or, for admins, another one."""
    ended = name or g.operator.name
    work = audited(partial(kept.end_all, operator=ended), audit_entry("sessions ended", ended))
    count = web_context().store.writer.write(work)
    if not name:
        return redirect(url_for("login.form"), 303)
    flash(f"Ended {count} {'session' if count == 1 else 'sessions'} of {name}.", "good")
    return redirect(url_for(".page"), 303)


@blueprint.post("/account/totp")
def switch_on() -> ResponseReturnValue:
    """Shows a new secret for one-time codes; with a code that was made of it, writes it into the configuration."""
    if g.operator.name not in config().operators or g.operator.totp:
        abort(400, "One-time codes are on already, or this operator is not in the file.")
    try:
        secret = totp_secret(request.form.get("secret") or pyotp.random_base32())
    except Mistake:
        abort(400, "secret: this is not one.")
    error, code = "", request.form.get("code")
    if code is not None:
        error = WRONG_CODE if totp_step(secret, code, now()) is None else _write_totp(secret)
        if not error:
            flash("One-time codes are on.", "good")
            return redirect(url_for(".page"), 303)
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
    path, name = Path(str(config().path)), g.operator.name
    try:
        with change_operator(path, name, {"totp": secret}):
            record_audit("operator totp", name, on=bool(secret))
    except (ConfigError, OSError):
        web_context().log.warning("configuration_not_written")
        todo = f'add this line below name = "{name}": totp = "{secret}"' if secret else "take out its line totp = …"
        return f"The gateway cannot write {path}. Somebody who can must {todo}"
    return ""
