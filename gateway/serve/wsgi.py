"""A request as Granian's RSGI gives it → PEP 3333's dictionary, and one call of a WSGI application."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, cast
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog

Headers = list[tuple[str, str]]
log = structlog.get_logger(__name__)


class Scope(Protocol):
    """What Granian says of a request (its RSGI specification). Names of headers are in lower case."""

    http_version: str
    server: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str
    headers: Any


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Headers
    body: bytes


def plain(status: int, reason: str, *more: tuple[str, str]) -> Answer:
    return Answer(status, [("Content-Type", "text/plain; charset=utf-8"), *more], f"{reason}\n".encode())


class Refused(Exception):
    """Answered without the application: a request that has two readings, or none, or comes at a bad time."""

    def __init__(self, status: int, reason: str, *more: tuple[str, str]) -> None:
        super().__init__(reason)
        self.answer = plain(status, reason, ("Connection", "close"), *more)


class BodyNeeded(BaseException):
    """The application reads a body that was not given to it. No `Exception`: none of its handlers may take it."""


class Unread(io.RawIOBase):
    """Stands for the body while that is still with the sender."""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        raise BodyNeeded

    def readinto(self, buffer: Any, /) -> int:
        raise BodyNeeded


def run(application: WSGIApplication, environ: WSGIEnvironment) -> Answer | None:
    """One call of a WSGI application, with its whole answer. None: it wants the body first."""
    started: list[tuple[str, Headers]] = []
    written: list[bytes] = []

    def start(status: str, headers: Headers, exc_info: object = None, /) -> Callable[[bytes], object]:
        started[:] = [(status, headers)]
        return written.append

    try:
        body = _drain(application(environ, cast("StartResponse", start)), written)
        status, headers = started[-1]
    except BodyNeeded:
        return None
    except BaseException:  # also what would end the thread, and leave the caller without an answer
        log.exception("application_failed", method=environ["REQUEST_METHOD"])
        return plain(500, "Internal error.")
    return Answer(int(status[:3]), headers, body)


def _drain(pieces: Iterable[bytes], written: list[bytes]) -> bytes:
    try:
        written.extend(pieces)
        return b"".join(written)
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


def environ_of(scope: Scope) -> tuple[WSGIEnvironment, int | None]:
    """PEP 3333's dictionary, and how many bytes of body are declared; None: they come in chunks.

    Nothing of the process's own environment is in it, unlike with Granian's own. Raises `Refused`.
    """
    if not scope.path.startswith("/"):
        raise Refused(400, "Not a path.")
    server, client = _address(scope.server), _address(scope.client)
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": _latin(scope.path),
        "QUERY_STRING": _latin(scope.query_string),
        "SERVER_PROTOCOL": "HTTP/1.0" if scope.http_version == "1" else f"HTTP/{scope.http_version}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": server[1],
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": client[1],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        _add(environ, name, value)
    return environ, _declared(environ)


def _add(environ: WSGIEnvironment, name: str, value: str) -> None:
    key = _key(name)
    if key is None:
        return
    if key not in environ:
        environ[key] = value
    elif key == "HTTP_HOST":
        raise Refused(400, "Two Host headers.")
    else:
        environ[key] += ("; " if key == "HTTP_COOKIE" else ", ") + value


@lru_cache(maxsize=256)
def _key(name: str) -> str | None:
    """None: a name that CGI would take for another one. `X_Forwarded_For` must not pass for what a proxy says."""
    if "_" in name:
        return None
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


def _declared(environ: WSGIEnvironment) -> int | None:
    if "HTTP_HOST" not in environ and environ["SERVER_PROTOCOL"] == "HTTP/1.1":
        raise Refused(400, "No Host header.")
    coding = environ.pop("HTTP_TRANSFER_ENCODING", None)
    if coding is None:
        return int(environ.get("CONTENT_LENGTH") or 0)
    # Granian reads the chunks and drops a length beside them; any other coding it would hand on undone.
    if coding.strip().lower() != "chunked" or "CONTENT_LENGTH" in environ:
        raise Refused(501, "No transfer coding but chunked is taken.")
    return None


def _address(text: str) -> tuple[str, str]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), port


def _latin(text: str) -> str:
    """WSGI's way to put bytes into a string."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")
