"""Endpoints that nobody configured: URLs that came with a request, such as a `status_url`. Pure.

A delivery's endpoint is a name of the configuration, or such a URL. There may be any number of them, some with an id
of their own in each query. So what is remembered of them is remembered by origin, and people, logs and metrics see
their shown forms alone.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit

from gateway.safe_http.ssrf import check_url, place

NOWHERE = "://"
"""The origin of what cannot be called at all."""


def is_url(name: str) -> bool:
    """Whether an endpoint's name is such a URL; no name of a configuration has a colon in it."""
    return "://" in name


def origin_of(name: str) -> str:
    """``https://pages.example.com:443``; an endpoint of the configuration is one by itself."""
    return _origin(name) if "://" in name else name


def mask_url(name: str) -> str:
    """As it may stand in logs and pages: without query, fragment and userinfo."""
    if "://" not in name:
        return name
    try:
        parts = urlsplit(name)
    except ValueError:
        return "a URL that cannot be read"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@lru_cache(maxsize=4_096)
def _origin(url: str) -> str:
    if check_url(url):
        return NOWHERE
    host, port = place(url)
    return f"{url.partition('://')[0].lower()}://{f'[{host}]' if ':' in host else host}:{port}"
