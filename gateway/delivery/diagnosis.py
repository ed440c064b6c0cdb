"""What is wrong with an answer, in plain words, for whoever has to mend it. Pure.

`headline` is the one sentence that is kept with an attempt. `diagnose` adds what helps: the cause where the answer
betrays it, and what to change. No sentence holds a body, a query or a header's secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from gateway.safe_http.error_pages import FAILURE_BODY, WARNING, decode, find, name_of
from gateway.safe_http.models import Request, Response

__all__ = ["FAILURE_BODY", "Expected", "diagnose", "headline"]


class Expected(Protocol):
    """What an endpoint counts as success; `config.Endpoint` is one."""

    @property
    def success_body(self) -> re.Pattern[str] | None: ...

    @property
    def failure_body(self) -> tuple[re.Pattern[str], ...]: ...

    def accepts(self, status: int) -> bool: ...


class _Usual:
    """For a URL that is no endpoint of the configuration."""

    success_body: re.Pattern[str] | None = None
    failure_body = FAILURE_BODY

    def accepts(self, status: int) -> bool:
        return 200 <= status < 300


USUAL: Expected = _Usual()


def diagnose(request: Request, answer: Response, expected: Expected = USUAL) -> list[str]:
    """Short sentences, the most telling first. An answer that is fine has none, or a remark."""
    said = headline(answer, expected)
    found = [said] if said else []
    for hints in (_of_failure, _of_status, _of_body):
        found.extend(hints(request, answer))
    return list(dict.fromkeys(found))


def headline(answer: Response, expected: Expected = USUAL) -> str:
    """Why this is no success, in one sentence; empty where it is one."""
    if answer.failure:
        return answer.failure.sentence
    if answer.status is None:
        return "no answer"
    if not expected.accepts(answer.status):
        return _redirect(answer) or f"answered {answer.status}{_phrase(answer.status)}"
    return _body_fault(answer, expected)


def _body_fault(answer: Response, expected: Expected) -> str:
    page = find(expected.failure_body, answer.body)
    if page:
        return f"{name_of(page)} behind a {answer.status}"
    if expected.success_body is None or expected.success_body.search(decode(answer.body)):
        return ""
    return f"answered {answer.status}, but success_body is not found in {'the' if answer.body else 'an empty'} body"


def _phrase(status: int) -> str:
    try:
        return f" ({HTTPStatus(status).phrase})"
    except ValueError:
        return ""


_LOGIN = re.compile(r"log[-_]?in|log[-_]?on|sign[-_]?[io]n|\bauth|\bsso\b|\bsaml|\boauth|\baccount/", re.IGNORECASE)


def _redirect(answer: Response) -> str:
    location = answer.header("Location")
    if location is None or answer.status not in (301, 302, 303, 307, 308):
        return ""
    parts = urlsplit(location) if _splits(location) else urlsplit("")
    where = f"{parts.scheme}://{parts.hostname}" if parts.hostname else ""
    if _LOGIN.search(f"{parts.hostname or ''}{parts.path}"):
        return f"answered {answer.status} to a login page"
    return f"answered {answer.status} to {where}{parts.path or '/'}: redirects are not followed"


def _splits(location: str) -> bool:
    """Whether it can be taken apart, and shown: a stranger wrote it."""
    try:
        urlsplit(location)
    except ValueError:
        return False
    return location.isprintable()


def _of_failure(request: Request, answer: Response) -> Iterable[str]:
    if answer.failure:
        hint = _FAILURES.get(answer.failure.kind)
        if hint:
            yield hint
        if answer.failure.sentence == "certificate expired":
            yield "its owner has to renew it; verify_tls = false would hide that, and with it any stranger in between"


_FAILURES = {
    "name": "is the host's name spelt right, and known to this machine's name server?",
    "connect": "is the server running, on this port, and open to this machine?",
    "reset": "the application may have crashed: its own log tells",
    "too_large": "an answer needs a status and a few words",
    "resources": "this says nothing of the endpoint: the gateway may have too few files open to it (ulimit -n)",
    "proxy": "egress_proxy decides where we may go: ask whoever runs it",
}


def _of_status(request: Request, answer: Response) -> Iterable[str]:
    status = answer.status
    if status is None or answer.failure or status < 300:
        return
    if status < 400:
        yield from _of_redirect(request, answer)
    elif status in _BY_STATUS:
        yield from _BY_STATUS[status](request, answer)
    else:
        yield _STATUS.get(status) or ("what it does not like stands in its answer" if status < 500 else _CRASHED)


_CRASHED = "the application failed: its own log tells why"
_STATUS = {
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


def _of_redirect(request: Request, answer: Response) -> Iterable[str]:
    location = answer.header("Location") or ""
    if _LOGIN.search(location.partition("?")[0]):
        yield "the page stands behind a login for people: let the gateway in by HTTP Basic, a key or its address"
    elif location and _splits(location):
        old, new = urlsplit(request.url), urlsplit(urljoin(request.url, location))
        yield _moved(old.scheme, new.scheme, old.netloc, new.netloc, old.path, new.path)


def _moved(old_scheme: str, scheme: str, old_host: str, host: str, old_path: str, path: str) -> str:
    if (old_scheme, scheme) == ("http", "https") and path == old_path:
        return "the page wants https: write https:// in the URL"
    if path == f"{old_path}/":
        return "the page wants a slash at its end: write it in the URL"
    if host != old_host and path == old_path:
        return "the page has moved to another host: write that in the URL"
    return "if that is the page that is meant, write it in the URL"


def _unauthorized(request: Request, answer: Response) -> Iterable[str]:
    asked = (answer.header("WWW-Authenticate") or "").lower()
    if any(name.lower() == "authorization" for name, _ in request.headers):
        yield "the server does not accept this user name and password"
    elif "ntlm" in asked or "negotiate" in asked:
        yield "the page asks for a Windows login: let this path be called with Basic, or without"
    elif "digest" in asked:
        yield "the page asks for Digest, which is not spoken here: let it be called with Basic"
    else:
        yield "the page asks for a login: set username and password of the endpoint"


def _forbidden(request: Request, answer: Response) -> Iterable[str]:
    text = decode(answer.kept_body).lower()
    if "csrf" in text or "forgery" in text:
        yield "a framework asks for its CSRF token: exempt this path, a gateway has none"
    elif "cf-mitigated" in (name.lower() for name, _ in answer.headers) or "just a moment" in text:
        yield "a browser check before the page holds us up: exempt this path, or this machine's address"
    else:
        yield "the server forbids it: a list of addresses, a firewall for applications, or rights of the file"


def _bad_request(request: Request, answer: Response) -> Iterable[str]:
    text = decode(answer.kept_body).lower()
    if "https port" in text or "ssl-enabled" in text:
        yield "the port speaks TLS: write https:// in the URL"
    elif "invalid hostname" in text:
        yield "the server knows no site of this host's name"
    else:
        yield "the server does not understand the request: what it misses may stand in its answer"


def _method(request: Request, answer: Response) -> Iterable[str]:
    allow = answer.header("Allow")
    yield f"{_STATUS[405]} It takes {allow[:60]}" if allow and allow.isprintable() else _STATUS[405]


def _media_type(request: Request, answer: Response) -> Iterable[str]:
    sent = next((value for name, value in request.headers if name.lower() == "content-type"), "none")
    yield f"the page does not take {sent.partition(';')[0]}: is the endpoint's format right?"


def _slow_down(request: Request, answer: Response) -> Iterable[str]:
    after = answer.header("Retry-After")
    yield f"the server asks us to be slower{f' (Retry-After: {after[:40]})' if after else ''}: lower concurrency"


def _crashed(request: Request, answer: Response) -> Iterable[str]:
    text = decode(answer.body)
    if "potentially dangerous Request." in text:
        yield (
            "ASP.NET refuses texts that look like HTML, such as one with <: "
            'set ValidateRequest="false" for the page, and requestValidationMode="2.0" in web.config'
        )
        return
    page = find(FAILURE_BODY, answer.body)
    yield f"{name_of(page)}: {_CRASHED}" if page else _CRASHED


_BY_STATUS: dict[int, Callable[[Request, Response], Iterable[str]]] = {
    400: _bad_request,
    401: _unauthorized,
    403: _forbidden,
    405: _method,
    415: _media_type,
    429: _slow_down,
    500: _crashed,
}

_PASSWORD = re.compile(r"<input[^<>]{1,300}type=[\"']?password", re.IGNORECASE)


def _of_body(request: Request, answer: Response) -> Iterable[str]:
    """Remarks on an answer with a good status: no reason to post again, but worth a look."""
    if answer.failure or answer.status is None or not 200 <= answer.status < 300:
        return
    if not answer.size:
        yield "the answer is empty, which is fine, but nothing in it tells what the page did"
        return
    text = decode(answer.body)
    if " on line " in text and WARNING.search(text):
        yield "the page printed a PHP warning: it went on, and perhaps without what was missing"
    if "password" in text.lower() and _PASSWORD.search(text):
        yield "the answer looks like a login page: the application behind it has probably not been reached"
    if answer.size > len(answer.body):
        yield "the answer was longer than 64 KB and was not read to its end"
