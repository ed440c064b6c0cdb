"""Long lists, a page at a time: how far back the reader is, and the addresses of the pages beside this one."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode

from flask import request

PAGE = 50
"""Rows on a page."""


def offset_asked() -> int:
    return max(request.args.get("offset", 0, type=int), 0)


def other_page(names: Iterable[str], offset: int) -> str:
    """The address of this page further back. Only names of ours: `url_for` has some of its own, such as `_scheme`."""
    kept = {name: request.args[name] for name in names if request.args.get(name)}
    return f"{request.script_root}{request.path}?{urlencode(kept | {'offset': str(offset)})}"
