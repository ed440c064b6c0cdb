"""One request on its way in, and the bytes of its answer."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from wsgiref.types import WSGIEnvironment

from gateway.serve import wsgi
from gateway.serve.wsgi import Answer, Refused, plain

LIMIT = 1024 * 1024
"""Bytes of a body. In chunks one more is kept, so that the application itself can say 413."""
HEAD_BYTES = 32 * 1024
HEADERS = 100
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TOO_LONG = plain("431 Request Header Fields Too Large", "The head is too long.")
_NO_BODY = ("1", "204", "304")


class Request:
    """A head, and as much of its body as has come."""

    __slots__ = (
        *("environ", "length", "size", "whole", "reuse", "verdict", "asking", "reserved"),
        *("_pieces", "_head", "_count"),
    )

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.environ = environ
        self.length: int | None = 0
        """Declared bytes of the body; None: it comes in chunks."""
        self.size = 0
        self.whole = False
        self.reuse = False
        """Whether the sender wants to go on with this connection."""
        self.verdict: Answer | None = None
        """What is answered whatever is still to come; then the connection ends."""
        self.asking = False
        """The application is being asked without the body: it must not run twice at once."""
        self.reserved = 0
        self._pieces: list[bytes] = []
        self._head = self._count = 0

    def add_target(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._head += len(piece)

    def add_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value)
        self._count += 1
        try:
            wsgi.add_header(self.environ, name, value)
        except Refused as refused:
            self.verdict = refused.answer

    def begin(self, method: bytes, version: str, reuse: bool) -> None:
        """The head is complete."""
        environ, target = self.environ, b"".join(self._pieces)
        self.reuse, self._pieces = reuse, []
        environ["REQUEST_METHOD"] = method.decode("latin-1")
        environ["SERVER_PROTOCOL"] = f"HTTP/{version}"
        if self._head > HEAD_BYTES or self._count > HEADERS:
            self.verdict = TOO_LONG
        try:
            wsgi.add_target(environ, target)
            self.length = wsgi.declared(environ)
        except Refused as refused:
            self.verdict = self.verdict or refused.answer

    def add(self, piece: bytes) -> None:
        if self.size <= LIMIT >= (self.length or 0):
            self._pieces.append(piece)
        self.size += len(piece)

    @property
    def expects(self) -> bool:
        """The sender waits to be told whether to send the body."""
        return "HTTP_EXPECT" in self.environ and not self.size

    @property
    def is_too_large(self) -> bool:
        return self.size > LIMIT or (self.length or 0) > LIMIT

    def body(self) -> bytes:
        return b"".join(self._pieces)[: LIMIT + 1]


def bytes_of(answer: Answer, environ: WSGIEnvironment, last: bool) -> bytes:
    """`last`: the connection ends with this."""
    bare = answer.status.startswith(_NO_BODY)
    head_only = environ.get("REQUEST_METHOD") == "HEAD"
    connection = "close" if last else "keep-alive" if environ.get("SERVER_PROTOCOL") == "HTTP/1.0" else ""
    length = None if bare or head_only else len(answer.body)
    head = _head(answer.status, tuple(answer.headers), length, connection) + _date(int(time.time()))
    return head if bare or head_only else head + answer.body


@lru_cache(maxsize=512)
def _head(status: str, headers: tuple[tuple[str, str], ...], length: int | None, connection: str) -> bytes:
    """All but the date. The answers to callbacks are few. Raises ValueError for a line break within a header."""
    lines = [f"{name}: {value}" for name, value in headers if not _is_ours(name, length)]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    if connection:
        lines.append(f"Connection: {connection}")
    if any("\r" in line or "\n" in line for line in (status, *lines)):
        raise ValueError("a header must not have a line break")
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, ""]).encode("latin-1")


def _is_ours(name: str, length: int | None) -> bool:
    lower = name.lower()
    return lower in ("connection", "date") or (lower == "content-length" and length is not None)


@lru_cache(maxsize=1)
def _date(now: int) -> bytes:
    return f"Date: {formatdate(now, usegmt=True)}\r\n\r\n".encode("ascii")
