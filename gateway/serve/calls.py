"""Calls of the WSGI application: on the event loop's own thread, as greenlets, or on other threads."""

from __future__ import annotations

import asyncio
import io
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn, cast
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog

from gateway.store.greenlets import GreenletPool
from gateway.web.callbacks import MAX_BODY_BYTES, MAX_QUICK_BYTES, NOSNIFF, RETRY_AFTER_SECONDS

THREADS = 64
BUSY = 4
BUSY_SECONDS = 0.1
"""At most `BUSY` threads run calls that began less than `BUSY_SECONDS` ago: while one computes, the event loop waits
for the interpreter. One that takes longer waits for something else."""
LARGE = 2
LARGE_SECONDS = 5.0
"""At most `LARGE` calls with a body of more than `MAX_QUICK_BYTES` run at once: to read one takes much time, and many
times its memory. Nothing that may be read takes as long as `LARGE_SECONDS`."""
MAX_WAITING_BYTES = 24 * MAX_BODY_BYTES  # all bodies that wait for one of these places together

Headers = list[tuple[str, str]]


class Answer(NamedTuple):
    status: int
    headers: Headers
    body: bytes


def plain(status: int, reason: str, *more: tuple[str, str]) -> Answer:
    headers = [("Content-Type", "text/plain; charset=utf-8"), NOSNIFF, *more]
    return Answer(status, headers, f"{reason}\n".encode())


def later(reason: str) -> Answer:
    return plain(503, reason, ("Retry-After", str(RETRY_AFTER_SECONDS)))


INTERNAL_ERROR = plain(500, "Internal error.")


class BodyNeeded(BaseException):
    """The application reads a body that was not given to it. No `Exception`: none of its handlers may take it."""


class Unread(io.RawIOBase):
    """Stands for the body while that is still with the sender."""

    def readinto(self, _buffer: Any, /) -> NoReturn:
        raise BodyNeeded


class Calls:
    """For one event loop."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application, self._loop = application, asyncio.get_running_loop()
        self._greenlets = GreenletPool(self._loop)
        self._may_compute, self._may_be_large = asyncio.Semaphore(BUSY), asyncio.Semaphore(LARGE)
        self._computing = dict[asyncio.Future[Answer | None], asyncio.Semaphore]()
        self._waiting_bytes = 0
        self._queue = queue.SimpleQueue[tuple[WSGIEnvironment, asyncio.Future[Answer | None]]]()
        for number in range(THREADS):
            # Daemons: one that hangs must not keep the process from ending.
            threading.Thread(target=self._work, name=f"web-{number}", daemon=True).start()

    async def here(self, environ: WSGIEnvironment) -> Answer | None:
        """On the event loop's thread, as a greenlet: it may wait for a commit, and must not block."""
        called: asyncio.Future[Answer | None] = self._loop.create_future()
        self._greenlets.run(lambda: _settle(called, call(self._application, environ)))
        return await called

    async def on_thread(self, environ: WSGIEnvironment, size: int = 0) -> Answer | None:
        """On a thread, when few others compute; `size`: of the body, in bytes. None: it wants the body first."""
        is_large = size > MAX_QUICK_BYTES
        if is_large and self._waiting_bytes + size > MAX_WAITING_BYTES:
            return later("Too many large requests are waiting.")
        places, seconds = (self._may_be_large, LARGE_SECONDS) if is_large else (self._may_compute, BUSY_SECONDS)
        self._waiting_bytes += size
        try:
            await places.acquire()
        finally:
            self._waiting_bytes -= size
        called: asyncio.Future[Answer | None] = self._loop.create_future()
        self._computing[called] = places
        self._loop.call_later(seconds, self._let_another, called)
        self._queue.put((environ, called))
        try:
            return await called
        finally:
            self._let_another(called)

    def _let_another(self, called: asyncio.Future[Answer | None]) -> None:
        """Once for each call: when it has ended, or takes long."""
        if called in self._computing:
            self._computing.pop(called).release()

    def _work(self) -> None:
        while True:
            environ, called = self._queue.get()
            answer = call(self._application, environ)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(_settle, called, answer)


def _settle(called: asyncio.Future[Answer | None], answer: Answer | None) -> None:
    if not called.done():  # by the end of the process
        called.set_result(answer)


def call(application: WSGIApplication, environ: WSGIEnvironment) -> Answer | None:
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
        structlog.get_logger(__name__).exception("application_failed", method=environ["REQUEST_METHOD"])
        return INTERNAL_ERROR
