"""The console's page about who wants no texts: search, and what a person records by hand."""

from __future__ import annotations

import re
from functools import partial

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gateway.store import Connection, opt_outs
from gateway.store.opt_outs import OptOut
from gateway.web.console.paging import PAGE
from gateway.web.console.search_forms import number_of
from gateway.web.context import config, now, web_context
from schemas.fields import number as normalised

BY_HAND = "by hand"
"""The word that was not said, but noted here."""
_PHONE = re.compile(r"[0-9]{3,15}")

blueprint = Blueprint("opt_outs", __name__)


@blueprint.get("/opt-outs")
def search() -> ResponseReturnValue:
    """By phone, by number, or all of them; on from `after`, a number and a phone, which the page before ended with."""
    typed = {name: request.args.get(name, "").strip() for name in ("phone", "number")}
    phone, number = normalised(typed["phone"], config().prefix), number_of(typed["number"], config())
    with web_context().store.reader() as connection:
        found = _found(connection, phone, number)
    return render_template(
        "opt_outs.html",
        found=found[:PAGE],
        typed=typed,
        count=_count(),
        numbers=config().numbers,
        after=found[PAGE - 1] if len(found) > PAGE else None,
        is_first="after_phone" not in request.args,
    )


def _found(connection: Connection, phone: str, number: str) -> list[OptOut]:
    after = request.args.get("after_number", ""), request.args.get("after_phone", "")
    if phone and number:
        one = opt_outs.opt_out_of(connection, number, phone)
        return [one] if one else []
    if phone:
        return opt_outs.of_phone(connection, phone)
    if number:
        return opt_outs.of_number(connection, number, after[1], PAGE + 1)
    return opt_outs.opt_outs_after(connection, after, PAGE + 1)


def _count() -> int:
    return web_context().status_cache.snapshot(now()).gauges.opt_outs


@blueprint.post("/opt-outs")
def note() -> ResponseReturnValue:
    """Record that a phone wants no texts from a number, or lift it."""
    phone, number = _given("phone"), config().number_for(request.form.get("number", ""))
    if not _PHONE.fullmatch(phone):
        abort(400, "phone: this is no phone number.")
    kept = number.number if number else _given("number")
    if not _PHONE.fullmatch(kept):
        abort(400, "number: this is no number or short code.")
    out = request.form.get("what") != "lift"
    work = partial(opt_outs.record_opt_out, number=kept, phone=phone, word=BY_HAND, at=now(), out=out)
    web_context().store.writer.write(work)
    web_context().log.info("opt_out_noted", out=out)
    flash(
        f"Noted: {phone} gets no texts from {kept} any more."
        if out
        else f"Lifted: {phone} gets texts from {kept} again.",
        "good",
    )
    return redirect(url_for(".search", phone=phone), 303)


def _given(name: str) -> str:
    return normalised(request.form.get(name, ""), config().prefix)
