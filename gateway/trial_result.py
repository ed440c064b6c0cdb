"""What a test post came to, with nothing secret in it: for the page, for programs, for the shell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from gateway.delivery.redaction import EndpointRedaction
from gateway.safe_http.models import Request, Response, Timings

_CHARSET = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_READABLE = frozenset({"utf-8", "utf8", "us-ascii", "iso-8859-1", "latin1", "iso-8859-15", "windows-1252", "utf-16"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRequest:
    url: str
    headers: Sequence[tuple[str, str]] = ()
    """As they went out; as they would have, where nothing did."""
    body: str = ""
    method: str = "POST"
    is_sent: bool = False
    """Did bytes go out?"""

    @property
    def line(self) -> str:
        """The first line of the bytes sent; empty where none were."""
        if not self.is_sent:
            return ""
        parts = urlsplit(self.url)
        return f"{self.method} {urlunsplit(('', '', parts.path or '/', parts.query, ''))} HTTP/1.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownResponse:
    status: int
    headers: Sequence[tuple[str, str]]
    body: str
    """At most the 64 KB that are read of an answer."""
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TestPostResult:
    ok: bool
    """Would a delivery have succeeded?"""
    verdict: str
    """``succeeded``; ``again`` (a delivery would be tried again); ``dead`` (it would not)."""
    diagnosis: Sequence[str]
    request: ShownRequest
    response: ShownResponse | None = None
    times: Timings = field(default_factory=Timings)
    address: str = ""

    def as_json(self) -> dict[str, Any]:
        """The twin for programs: exactly the documented names. Times are milliseconds."""
        request, response = self.request, self.response
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "diagnosis": list(self.diagnosis),
            "request": {
                "method": request.method,
                "url": request.url,
                "headers": [list(pair) for pair in request.headers],
                "body": request.body,
            },
            "response": response
            and {
                "status": response.status,
                "headers": [list(pair) for pair in response.headers],
                "body": response.body,
            },
            "times": self.times.as_dict(),
        }


def shown_request(request: Request, answer: Response, url: str, secrets: EndpointRedaction) -> ShownRequest:
    """The bytes that went out, read back; what was planned where none did."""
    head, _, body = answer.request_bytes.partition(b"\r\n\r\n")
    _, *lines = head.decode("latin-1").split("\r\n")
    pairs = [(name, value.strip()) for name, _, value in (each.partition(":") for each in lines)]
    headers = pairs if answer.request_bytes else [*request.headers]
    content_type = {name.lower(): value for name, value in headers}.get("content-type", "")
    return ShownRequest(
        url=url,
        headers=secrets.headers(headers),
        body=secrets.text(readable(body if answer.request_bytes else request.body, content_type)),
        is_sent=bool(answer.request_bytes),
    )


def shown_response(answer: Response, secrets: EndpointRedaction) -> ShownResponse | None:
    if answer.status is None:
        return None
    return ShownResponse(
        status=answer.status,
        headers=secrets.headers(answer.headers),
        body=secrets.text(readable(answer.body, answer.header("Content-Type") or "")),
        size=answer.size,
    )


def readable(body: bytes, content_type: str) -> str:
    """Bytes as text for people: the charset declared if it is a usual one, else UTF-8, else windows-1252."""
    declared = _CHARSET.search(content_type)
    names = [declared[1].lower()] if declared and declared[1].lower() in _READABLE else []
    for charset in (*names, "utf-8"):
        try:
            return body.decode(charset)
        except UnicodeDecodeError:
            continue
    return body.decode("windows-1252", "replace")
