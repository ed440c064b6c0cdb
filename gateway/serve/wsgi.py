"""The head of a request → PEP 3333's dictionary, and one call of a WSGI application."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote_to_bytes
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog

Headers = list[tuple[str, str]]
Address = tuple[str, int]
MOST_HEADERS = 100
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Answer:
    status: str
    """``200 OK``"""
    headers: Headers
    body: bytes


def plain(status: str, reason: str, *more: tuple[str, str]) -> Answer:
    return Answer(status, [("Content-Type", "text/plain; charset=utf-8"), *more], f"{reason}\n".encode())


class Refused(Exception):
    """Answered without the application: a request that has two readings, or none, or comes at a bad time."""

    def __init__(self, status: str, reason: str, *more: tuple[str, str]) -> None:
        super().__init__(reason)
        self.answer = plain(status, reason, *more)


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
        return plain("500 Internal Server Error", "Internal error.")
    return Answer(status, headers, body)


def _drain(pieces: Iterable[bytes], written: list[bytes]) -> bytes:
    try:
        written.extend(pieces)
        return b"".join(written)
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


def surroundings(server: Address, client: Address) -> WSGIEnvironment:
    """What is the same for all requests of a connection. Nothing of the process's own environment is in it."""
    return {
        "SCRIPT_NAME": "",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def add_target(environ: WSGIEnvironment, target: bytes) -> None:
    """``/path?query``, also behind ``http://host``. Raises `Refused`."""
    if not target.startswith(b"/"):
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2] if b"://" in target else b""
    path, _, query = target.partition(b"#")[0].partition(b"?")
    if not path:
        raise Refused("400 Bad Request", "Not a path.")
    environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1")
    environ["QUERY_STRING"] = query.decode("latin-1")


def add_header(environ: WSGIEnvironment, name: bytes, value: bytes) -> None:
    """Raises `Refused` for what has two readings."""
    key = _key(name)
    if key is None:
        return
    if key not in environ:
        environ[key] = value.decode("latin-1")
    elif key == "HTTP_HOST":
        raise Refused("400 Bad Request", "Two Host headers.")
    else:
        environ[key] += ("; " if key == "HTTP_COOKIE" else ", ") + value.decode("latin-1")


@lru_cache(maxsize=256)
def _key(name: bytes) -> str | None:
    """None: a name that CGI would take for another one. `X_Forwarded_For` must not pass for what a proxy says."""
    if b"_" in name:
        return None
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


def declared(environ: WSGIEnvironment) -> int | None:
    """How many bytes of body are declared; None: they come in chunks. Raises `Refused`."""
    if "HTTP_HOST" not in environ and environ["SERVER_PROTOCOL"] == "HTTP/1.1":
        raise Refused("400 Bad Request", "No Host header.")
    coding = environ.pop("HTTP_TRANSFER_ENCODING", None)
    if coding is None:
        return int(environ.get("CONTENT_LENGTH") or 0)
    # Any other coding would be handed on undone.
    if coding.strip().lower() != "chunked":
        raise Refused("501 Not Implemented", "No transfer coding but chunked is taken.")
    return None
