"""How an account is told to CarrierX: the URL and the `Authorization` header, checked once. Pure."""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import urlsplit

_TOKEN = re.compile(r"[\x21-\x7e]+")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def checked_base(url: str) -> str:
    """`url` without a slash at its end. ValueError for what no request can be made to."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or parts.username is not None or _CONTROL.search(url):
        raise ValueError("base_url is no http or https URL, or has a user, a query or a fragment.")
    return url.rstrip("/")


def authorization_header(token: str, login: str, password: str) -> str:
    """The value of the header. ValueError where it is not exactly one way to log in."""
    if bool(token) == bool(login or password):
        raise ValueError("Give a token, or login and password: exactly one of the two.")
    if token:
        if not _TOKEN.fullmatch(token):
            raise ValueError("The token has characters that no header can hold.")
        return f"Bearer {token}"
    if not login or ":" in login or not password:
        raise ValueError("login and password belong together, and there is no colon in a login.")
    return f"Basic {b64encode(f'{login}:{password}'.encode()).decode()}"
