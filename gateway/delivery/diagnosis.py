"""Explains in plain words what is wrong with an answer, for the person who has to mend it. Pure.

`headline` is the one sentence that is kept with an attempt. `diagnose` adds what helps: the cause, where the answer
shows it, and what to change. No sentence holds a body, a query or a header's secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

from gateway.config import Endpoint
from gateway.safe_http.error_pages import FAILURE_BODY, WARNING, decode_body, find_page, page_name
from gateway.safe_http.models import Request, Response

_PASSWORD = re.compile(r"<input[^<>]{1,300}type=[\"']?password", re.IGNORECASE)
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_LOGIN = re.compile(r"log[-_]?in|log[-_]?on|sign[-_]?[io]n|\bauth|\bsso\b|\bsaml|\boauth|\baccount/", re.IGNORECASE)
_FAILURE_HINTS = {
    "name": "is the host's name spelt right, and known to this machine's name server?",
    "connect": "is the server running, on this port, and open to this machine?",
    "reset": "the application may have crashed: its own log tells",
    "too_large": "an answer needs a status and a few words",
    "resources": "this says nothing of the endpoint: the gateway may have too few files open to it (ulimit -n)",
    "proxy": "egress_proxy decides where we may go: ask whoever runs it",
}
_CRASHED = "the application failed: its own log tells why"
_STATUS_HINTS = {
    404: "there is no page at this path: is the URL right, letter for letter?",
    405: "the page takes no POST: is it the right one?",
    406: "a filter before the application (ModSecurity, say) refused the request",
    407: "the egress proxy asks for a login: write user and password into egress_proxy",
    408: "the server did not wait for the body: it, or a proxy before it, is overloaded",
    410: "the page is gone for good",
    411: "something on the way lost Content-Length: we always send one",
    413: "the server takes smaller bodies only",
    414: "the server takes shorter URLs only",
    419: "a framework asks for its CSRF token: exempt this path, a gateway has none",
    421: "the server does not serve this host",
    422: "the application cannot use a field, or asks for a CSRF token",
    431: "the server takes fewer or shorter headers only",
    501: "the server does not know POST",
    502: "the web server is there, the application behind it is not",
    503: "the server is overloaded or in maintenance",
    504: "the web server is there, the application behind it is too slow",
    511: "a portal on the way asks for a login",
}


def diagnose(request: Request, response: Response, endpoint: Endpoint) -> list[str]:
    """Short sentences, the most telling first. An answer that is fine has none, or a remark."""
    return list(dict.fromkeys(filter(None, (headline(response, endpoint), *_hints(request, response)))))


def _hints(request: Request, response: Response) -> Iterator[str]:
    failure, status = response.failure, response.status or 0
    if failure:
        yield _FAILURE_HINTS.get(failure.kind, "")
        if failure.sentence == "certificate expired":
            yield "its owner has to renew it; verify_tls = false would hide that, and with it any stranger in between"
    elif status in _HINTS:
        yield _HINTS[status](request, response)
    elif status >= 400:
        yield _STATUS_HINTS.get(status) or (_CRASHED if status >= 500 else "what it does not like stands in its answer")
    elif status >= 300:
        yield _redirect_hint(request, response)
    elif status >= 200:
        yield from _remarks(response)


def headline(response: Response, endpoint: Endpoint) -> str:
    """Why this is no success, in one sentence; empty where it is one."""
    if response.failure:
        return response.failure.sentence
    if response.status is None:
        return "no answer"
    if not endpoint.accepts(response.status):
        phrase = _PHRASES.get(response.status)
        return _redirect(response) or f"answered {response.status}{f' ({phrase})' if phrase else ''}"
    page = find_page(endpoint.failure_body, response.body)
    if page:
        return f"{page_name(page)} behind a {response.status}"
    if endpoint.success_body is None or endpoint.success_body.search(decode_body(response.body)):
        return ""
    body = "the body" if response.body else "an empty body"
    return f"answered {response.status}, but success_body is not found in {body}"


def _redirect(response: Response) -> str:
    location = response.header("Location")
    if location is None or response.status not in (301, 302, 303, 307, 308):
        return ""
    parts = urlsplit(location) if _splits(location) else urlsplit("")
    where = f"{parts.scheme}://{parts.hostname}" if parts.hostname else ""
    if _LOGIN.search(f"{parts.hostname or ''}{parts.path}"):
        return f"answered {response.status} to a login page"
    return f"answered {response.status} to {where}{parts.path or '/'}: redirects are not followed"


def _splits(location: str) -> bool:
    """True if it can be parsed, and shown: a stranger wrote it."""
    try:
        urlsplit(location)
    except ValueError:
        return False
    return location.isprintable()


def _redirect_hint(request: Request, response: Response) -> str:
    location = response.header("Location") or ""
    if _LOGIN.search(location.partition("?")[0]):
        return "the page stands behind a login for people: let the gateway in by HTTP Basic, a key or its address"
    if not location or not _splits(location):
        return ""
    old, new = urlsplit(request.url), urlsplit(urljoin(request.url, location))
    if (old.scheme, new.scheme) == ("http", "https") and new.path == old.path:
        return "the page wants https: write https:// in the URL"
    if new.path == f"{old.path}/":
        return "the page wants a slash at its end: write it in the URL"
    if new.netloc != old.netloc and new.path == old.path:
        return "the page has moved to another host: write that in the URL"
    return "if that is the page that is meant, write it in the URL"


def _unauthorized(request: Request, response: Response) -> str:
    asked = (response.header("WWW-Authenticate") or "").lower()
    if any(name.lower() == "authorization" for name, _ in request.headers):
        return "the server does not accept this user name and password"
    if "ntlm" in asked or "negotiate" in asked:
        return "the page asks for a Windows login: let this path be called with Basic, or without"
    if "digest" in asked:
        return "the page asks for Digest, which is not spoken here: let it be called with Basic"
    return "the page asks for a login: set username and password of the endpoint"


def _forbidden(request: Request, response: Response) -> str:
    text = decode_body(response.kept_body).lower()
    if "csrf" in text or "forgery" in text:
        return "a framework asks for its CSRF token: exempt this path, a gateway has none"
    if "cf-mitigated" in (name.lower() for name, _ in response.headers) or "just a moment" in text:
        return "a browser check before the page holds us up: exempt this path, or this machine's address"
    return "the server forbids it: a list of addresses, a firewall for applications, or rights of the file"


def _bad_request(request: Request, response: Response) -> str:
    text = decode_body(response.kept_body).lower()
    if "https port" in text or "ssl-enabled" in text:
        return "the port speaks TLS: write https:// in the URL"
    if "invalid hostname" in text:
        return "the server knows no site of this host's name"
    return "the server does not understand the request: what it misses may stand in its answer"


def _method(request: Request, response: Response) -> str:
    allow = response.header("Allow")
    return f"{_STATUS_HINTS[405]} It takes {allow[:60]}" if allow and allow.isprintable() else _STATUS_HINTS[405]


def _media_type(request: Request, response: Response) -> str:
    sent = next((value for name, value in request.headers if name.lower() == "content-type"), "none")
    return f"the page does not take {sent.partition(';')[0]}: is the endpoint's format right?"


def _slow_down(request: Request, response: Response) -> str:
    after = response.header("Retry-After")
    return f"the server asks us to be slower{f' (Retry-After: {after[:40]})' if after else ''}: lower concurrency"


def _crashed(request: Request, response: Response) -> str:
    text = decode_body(response.body)
    if "potentially dangerous Request." in text:
        return (
            "ASP.NET refuses texts that look like HTML, such as one with <: "
            'set ValidateRequest="false" for the page, and requestValidationMode="2.0" in web.config'
        )
    page = find_page(FAILURE_BODY, response.body)
    return f"{page_name(page)}: {_CRASHED}" if page else _CRASHED


_HINTS: dict[int, Callable[[Request, Response], str]] = {
    400: _bad_request,
    401: _unauthorized,
    403: _forbidden,
    405: _method,
    415: _media_type,
    429: _slow_down,
    500: _crashed,
}


def _remarks(response: Response) -> Iterator[str]:
    """Remarks on an answer with a good status: no reason to post again, but worth a look."""
    if not response.size:
        yield "the answer is empty, which is fine, but nothing in it tells what the page did"
        return
    text = decode_body(response.body)
    if " on line " in text and WARNING.search(text):
        yield "the page printed a PHP warning: it went on, and perhaps without what was missing"
    if "password" in text.lower() and _PASSWORD.search(text):
        yield "the answer looks like a login page: the application behind it has probably not been reached"
    if response.size > len(response.body):
        yield "the answer was longer than 64 KB and was not read to its end"
