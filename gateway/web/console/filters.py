"""How templates show what is not text: times, bytes, forms."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from flask import Flask
from markupsafe import Markup

from gateway.metrics import STATUS_URLS
from gateway.safe_http.ssrf import mask_url
from gateway.store import ledger
from gateway.trial_result import readable
from schemas import BadCallback, wire

NAMES = {ledger.ENDPOINT: "CarrierX (sending)", STATUS_URLS: "status_url of calls"}
"""Endpoints that no configuration has."""
_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def install(app: Flask) -> None:
    app.jinja_env.filters.update(when=when, ago=ago, fields=fields, readable=readable, hexdump=hexdump, named=named)


def when(seconds: float | None) -> str:
    """An epoch time as an HTML `time`, to the second; a dash for none."""
    if seconds is None:
        return "–"
    moment = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}">{:%Y-%m-%d %H:%M:%S}</time>').format(moment.isoformat(), moment)


def ago(seconds: float) -> str:
    """``3 min``, ``5 h``: a span of seconds in its largest whole unit."""
    for length, unit in _STEPS:
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def named(endpoint: str) -> str:
    """An endpoint's name, or a URL, without what may be a secret in it."""
    return NAMES.get(endpoint) or mask_url(endpoint)


def fields(body: bytes, content_type: str) -> list[tuple[str, str]]:
    """The fields of a form or the attributes of a JSON object, as they were meant; none where it is neither."""
    if not body.strip():
        return []
    try:
        if "json" in content_type.lower() or body.lstrip().startswith(b"{"):
            return [(name, _attribute(value)) for name, value in wire.read_object(body).items()]
        return list(wire.read_form(body, content_type or None).pairs)
    except BadCallback:
        return []


def _attribute(value: Any) -> str:
    return str(value) if isinstance(value, (str, Decimal)) else json.dumps(value, ensure_ascii=False, default=str)


def hexdump(body: bytes) -> str:
    """Sixteen bytes a line: offset, hexadecimal, ASCII."""
    lines = []
    for start in range(0, len(body), 16):
        row = body[start : start + 16]
        plain = "".join(chr(each) if 32 <= each < 127 else "." for each in row)
        lines.append(f"{start:06x}  {row[:8].hex(' '):23}  {row[8:].hex(' '):23}  {plain}")
    return "\n".join(lines)
