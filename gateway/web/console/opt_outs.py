"""The console's page of opt-outs: search, and those that a person records by hand."""

from __future__ import annotations

import re
from functools import partial

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gateway.store import message_status
from gateway.store.audit import audited
from gateway.web.console.search_forms import PAGE_ROWS
from gateway.web.context import audit_entry, config, now, web_context
from schemas.fields import number as normalised

BY_HAND = "by hand"  # in the place of the word that was texted
_PHONE = re.compile(r"[0-9]{3,15}")

blueprint = Blueprint("opt_outs", __name__)


@blueprint.get("/opt-outs")
def search() -> ResponseReturnValue:
    """Lists opt-outs by phone, by number, or all; after `after_number` and `after_phone`, where the last page ended."""
    typed = {name: request.args.get(name, "").strip() for name in ("phone", "number")}
    phone, number = normalised(typed["phone"], config().prefix), config().stored_number(typed["number"])
    after_number, after_phone = request.args.get("after_number", ""), request.args.get("after_phone", "")
    with web_context().store.reader() as connection:
        if phone and number:
            found = [each] if (each := message_status.opt_out_of(connection, number, phone)) else []
        elif phone:
            found = message_status.opt_outs_of_phone(connection, phone)
        elif number:
            found = message_status.opt_outs_of_number(connection, number, after_phone, PAGE_ROWS + 1)
        else:
            found = message_status.opt_outs_after(connection, (after_number, after_phone), PAGE_ROWS + 1)
    return render_template(
        "opt_outs.html",
        found=found[:PAGE_ROWS],
        typed=typed,
        count=web_context().status_cache.snapshot(now()).gauges.opt_outs,
        numbers=config().numbers,
        after=found[PAGE_ROWS - 1] if len(found) > PAGE_ROWS else None,
        is_first="after_phone" not in request.args,
    )


@blueprint.post("/opt-outs")
def record() -> ResponseReturnValue:
    """Records that a phone wants no texts from a number, or lifts it."""
    phone = normalised(request.form.get("phone", ""), config().prefix)
    if not _PHONE.fullmatch(phone):
        abort(400, "phone: this is not a phone number.")
    number = config().stored_number(request.form.get("number", ""))
    if not _PHONE.fullmatch(number):
        abort(400, "number: this is not a number or short code.")
    out = request.form.get("what") != "lift"
    work = partial(message_status.record_opt_out, number=number, phone=phone, word=BY_HAND, at=now(), out=out)
    entry = audit_entry("opt-out" if out else "opt-out lifted", f"phone …{phone[-4:]}", number=f"…{number[-4:]}")
    web_context().store.writer.write(audited(work, entry))
    web_context().log.info("opt_out_noted", out=out)
    recorded = f"Recorded: {phone} gets no texts from {number} any more."
    flash(recorded if out else f"Lifted: {phone} gets texts from {number} again.", "good")
    return redirect(url_for(".search", phone=phone), 303)
