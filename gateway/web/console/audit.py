"""The console's page of the audit trail: who did what, from where, and when. For admins."""

from __future__ import annotations

from dataclasses import asdict

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gateway.store import audit
from gateway.web.auth import wants_json
from gateway.web.console.search_forms import PAGE_ROWS
from gateway.web.context import web_context

blueprint = Blueprint("audit", __name__)


@blueprint.get("/audit")
def entries() -> ResponseReturnValue:
    """Lists entries by who, by action, or all; those older than `before`, where the last page ended."""
    typed = {name: request.args.get(name, "").strip() for name in ("who", "action")}
    before = request.args.get("before", audit.NEWEST_ID, type=int)
    with web_context().store.reader() as connection:
        found = audit.newest(connection, PAGE_ROWS + 1, before=max(min(before, audit.NEWEST_ID), 0), **typed)
    page, last = found[:PAGE_ROWS], found[PAGE_ROWS - 1].id if len(found) > PAGE_ROWS else None
    older = last and url_for(".entries", who=typed["who"] or None, action=typed["action"] or None, before=last)
    if wants_json():
        return {"entries": [asdict(each) for each in page], "older": older}
    return render_template("audit.html", found=page, typed=typed, older=older, is_first="before" not in request.args)
