"""The bridge from the server library to Flask: one request of Granian (RSGI) becomes one call of a WSGI application.

What could be read in two ways is refused here, as far as Granian lets it be seen: it drops a second `Content-Length`
that says the same, and one beside `Transfer-Encoding`, after which it closes the connection; and it takes a bare line
feed for the end of a line.
"""

from __future__ import annotations

import asyncio
import io
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import cast
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog
from granian.rsgi import HTTPProtocol, Scope

from gateway.serve.bodies import (
    INTERNAL_ERROR,
    MAX_BODY_BYTES,
    Answer,
    Bodies,
    BodyNeeded,
    Headers,
    later,
    linger,
    plain,
    send,
)
from gateway.store.greenlets import GreenletPool

MAX_QUICK_BYTES = 16 * 1024
"""A request with a larger body is not handled on the event loop's thread: it would keep others waiting."""
BUSY = 4
BUSY_SECONDS = 0.1
"""At most `BUSY` threads run requests that began less than `BUSY_SECONDS` ago."""
HEARTBEAT_PATH = "/-/heartbeat"
"""Answered here with 204: this process takes connections, and its event loop turns."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
READ_HEADERS = frozenset(
    {
        *("authorization", "content-encoding", "content-type", "expect", "host", "origin", "sec-fetch-site"),
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-gateway-hops"),
    }
)
"""Headers that decide something. Granian shows none that is not ASCII: without one of these a request would be another
one."""

log = structlog.get_logger(__name__)


class Refused(Exception):
    """Answered without the application: a request that has two readings, or none."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.answer = plain(status, reason)


class Bridge:
    """The RSGI application; made and called in one event loop.

    quick: which requests run on the event loop's own thread, as greenlets (`gateway.store.greenlets`); all others run
    on `threads` of their own. `requests` counts all that came, `in_hand` those that are not answered yet;
    `heartbeat` is set when `HEARTBEAT_PATH` was asked for.
    """

    def __init__(
        self,
        application: WSGIApplication,
        server: tuple[str, int],
        *,
        threads: int,
        quick: Callable[[WSGIEnvironment], bool] | None,
        patience: float,
        client: Callable[[WSGIEnvironment], str],
        per_client: int,
        count: Callable[[str], None],
    ) -> None:
        self._application, self._quick, self._count = application, quick, count
        self._environ: WSGIEnvironment = {
            "SCRIPT_NAME": "",
            "SERVER_NAME": server[0],
            "SERVER_PORT": str(server[1]),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.input_terminated": True,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        """What is the same for all requests. Nothing of the process's own environment is in it."""
        self._loop = asyncio.get_running_loop()
        self._errands = GreenletPool(self._loop)
        self.bodies = Bodies(self._call, patience=patience, client=client, per_client=per_client, count=count)
        self.requests = self.in_hand = 0
        self.heartbeat = asyncio.Event()
        self._queued: deque[tuple[WSGIEnvironment, asyncio.Future[Answer | None]]] = deque()
        self._running: dict[asyncio.Future[Answer | None], float] = {}
        """On a thread since then."""
        self._threads = threads
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        for number in range(threads):
            # Daemons: one that hangs must not keep the process from ending.
            threading.Thread(target=self._labour, name=f"web-{number}", daemon=True).start()

    def _labour(self) -> None:
        while True:
            self._work.get()()

    async def __call__(self, scope: Scope, proto: HTTPProtocol) -> None:
        self.requests, self.in_hand = self.requests + 1, self.in_hand + 1
        try:
            await self._handle(scope, proto)
        except asyncio.CancelledError:  # it was not answered in the time that there is for stopping
            send(proto, later("The gateway is stopping."), close=True)
            raise
        except Exception:  # Granian would answer this, too, but write the traceback's words into the log
            log.exception("request_failed")
            send(proto, INTERNAL_ERROR, close=True)
        finally:
            self.in_hand -= 1

    async def _handle(self, scope: Scope, proto: HTTPProtocol) -> None:
        environ = self._environ.copy()
        try:
            length = add_head(environ, scope)
        except Refused as refused:
            self._count("head")
            send(proto, refused.answer, close=True)
            await linger(proto)
            return
        body = b""
        if length != 0:
            whole = await self.bodies.read(environ, proto, length)
            if whole is None:
                return
            body = whole
        elif environ["PATH_INFO"] == HEARTBEAT_PATH:
            self.heartbeat.set()
            send(proto, Answer(204, [], b""), close=True)
            return
        environ["CONTENT_LENGTH"] = str(len(body))
        environ["wsgi.input"] = io.BytesIO(body)
        if self._quick is not None and len(body) <= MAX_QUICK_BYTES and self._quick(environ):
            answered = self._loop.create_future()
            self._errands.run(partial(self._answer_here, environ, proto, answered))
            await answered
        else:
            answer = await self._call(environ)
            too_large = len(body) > MAX_BODY_BYTES
            send(proto, answer or INTERNAL_ERROR, close=too_large)
            if too_large:  # and there may be more
                await linger(proto)

    def _answer_here(self, environ: WSGIEnvironment, proto: HTTPProtocol, answered: asyncio.Future[None]) -> None:
        # Sent at once, and not in the next turn of the loop.
        send(proto, run(self._application, environ) or INTERNAL_ERROR, close=False)
        answered.set_result(None)

    async def _call(self, environ: WSGIEnvironment) -> Answer | None:
        """One call of the application, on a thread. None: it wants the body first."""
        called: asyncio.Future[Answer | None] = self._loop.create_future()
        self._queued.append((environ, called))
        self._start()
        return await called

    def _start(self) -> None:
        """Few threads at once: while one computes, the event loop waits for the interpreter. One that takes long waits
        for something else, and counts no more."""
        now = time.monotonic()
        busy = sum(now - began < BUSY_SECONDS for began in self._running.values())
        while self._queued and busy < BUSY and len(self._running) < self._threads:
            environ, called = self._queued.popleft()
            if not called.done():  # nobody waits for it any more
                busy += 1
                self._running[called] = now
                self._loop.call_later(BUSY_SECONDS * 1.1, self._start)  # a timer may be early by a millisecond
                self._work.put(partial(self._run, environ, called))

    def _run(self, environ: WSGIEnvironment, called: asyncio.Future[Answer | None]) -> None:
        answer = run(self._application, environ)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._ended, called, answer)

    def _ended(self, called: asyncio.Future[Answer | None], answer: Answer | None) -> None:
        del self._running[called]
        if not called.done():
            called.set_result(answer)
        self._start()


def add_head(environ: WSGIEnvironment, scope: Scope) -> int | None:
    """The head of a request as PEP 3333 has it. How many bytes of body follow it; None: they come in chunks.

    Raises `Refused`.
    """
    method, path, version = scope.method, scope.path, scope.http_version
    if method not in METHODS or not path.startswith("/"):
        raise Refused(400, "Not a method, or not a path.")
    address, _, port = scope.client.rpartition(":")
    environ["REQUEST_METHOD"] = method
    environ["PATH_INFO"] = path if path.isascii() else path.encode().decode("latin-1")
    query = scope.query_string
    environ["QUERY_STRING"] = query if query.isascii() else query.encode().decode("latin-1")
    environ["SERVER_PROTOCOL"] = "HTTP/1.1" if version == "1.1" else "HTTP/1.0"
    environ["REMOTE_ADDR"] = address.strip("[]").removeprefix("::ffff:") if address[0] == "[" else address
    environ["REMOTE_PORT"] = port
    headers = scope.headers
    fields = headers.items()
    unseen = set(headers.keys()).difference([name for name, _ in fields])
    if unseen and not READ_HEADERS.isdisjoint(unseen):
        raise Refused(400, "A header that is not ASCII.")
    for name, value in fields:
        key = _key(name)
        if not key:
            continue
        if key not in environ:
            environ[key] = value
        elif key == "HTTP_HOST":
            raise Refused(400, "Two Host headers.")
        else:
            environ[key] += ("; " if key == "HTTP_COOKIE" else ", ") + value
    if "HTTP_HOST" not in environ and version == "1.1":
        raise Refused(400, "No Host header.")
    coding = environ.pop("HTTP_TRANSFER_ENCODING", None)
    if coding is None:
        return int(environ.get("CONTENT_LENGTH") or 0)
    # Any other coding would be handed on undone.
    if coding.strip().lower() != "chunked":
        raise Refused(501, "No transfer coding but chunked is taken.")
    return None


@lru_cache(maxsize=256)
def _key(name: str) -> str:
    """Empty: a name that CGI would take for another one. `X_Forwarded_For` must not pass for what a proxy says."""
    if "_" in name:
        return ""
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


def run(application: WSGIApplication, environ: WSGIEnvironment) -> Answer | None:
    """One call of a WSGI application, with its whole answer. None: it wants the body first."""
    started: list[tuple[str, Headers]] = []
    written: list[bytes] = []

    def start(status: str, headers: Headers, exc_info: object = None, /) -> Callable[[bytes], object]:
        started[:] = [(status, headers)]
        return written.append

    try:
        pieces = application(environ, cast("StartResponse", start))
        try:
            written.extend(pieces)
        finally:
            if hasattr(pieces, "close"):
                pieces.close()
        status, headers = started[-1]
        return Answer(int(status[:3]), headers, b"".join(written))
    except BodyNeeded:
        return None
    except BaseException:  # also what would end the thread, and leave the caller without an answer
        log.exception("application_failed", method=environ["REQUEST_METHOD"])
        return INTERNAL_ERROR
