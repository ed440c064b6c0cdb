"""Takes requests off the wire for a WSGI application, and holds no thread for a slow sender.

The event loop reads and waits, for a bounded time and a bounded number of bytes; the application runs when the body
is there. Requests that `quick` names run on the loop's own thread, as errands; all others on a thread of the pool.

"Refused before the body is read" stays true: where a body is slow, or announced with `Expect: 100-continue`, the
application is asked first, with a body that it cannot read. If it answers without, that is the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from wsgiref.types import WSGIApplication, WSGIEnvironment

import structlog

from gateway.serve.connection import LINGER, Connection
from gateway.serve.requests import LIMIT, Request
from gateway.serve.wsgi import Answer, Unread, plain, run
from gateway.store.greenlets import GreenletPool

SMALL = LIMIT // 16
"""Bytes of a body that is always let in: callbacks are far below."""
BUDGET = 64 * LIMIT
"""Bytes that all larger bodies may have together while they are under way."""
SLOW = 0.25
"""Seconds after which a body that is not there counts as slow."""
PATIENCE = 10.0
"""Seconds for a whole body."""
LAST = 2.0
"""Seconds for a whole body when the gateway stops."""
DROPPED = 16 * LIMIT
"""Bytes of a body that is refused for its size which are taken in and dropped before the answer, within `LINGER`
seconds: a sender that is answered while it sends sees a broken connection, and no answer."""
IDLE = 120.0
"""Seconds for the head of a request, and for an idle connection: longer than any usual client keeps one, so that no
callback meets a connection that is just being closed."""
TICK = 0.1
"""Seconds between two looks at those who wait."""
THREADS = 64
QUICK = 16 * 1024
"""Bytes of a body that is handled on the loop's thread: a larger one would keep others waiting."""

Then = Callable[[Answer | None], object]
Takes = Callable[[WSGIEnvironment], bool]
log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Waiting:
    """A request whose body is still under way."""

    connection: Connection
    since: float = field(default_factory=time.monotonic)
    asked: bool = False
    over: float = 0.0
    """When it became too large; 0: it has not."""


class Listener:
    """Called in one event loop. `connections`: how many there may be at once."""

    def __init__(
        self,
        application: WSGIApplication,
        *,
        threads: int = THREADS,
        patience: float = PATIENCE,
        quick: Takes | None = None,
        connections: int = 4096,
    ) -> None:
        self._application, self._patience, self._quick = application, patience, quick
        self._most = connections
        self._connections: set[Connection] = set()
        self._waiting: dict[Request, Waiting] = {}
        self._reserved = 0
        self._loop = asyncio.get_running_loop()
        self._errands = GreenletPool(self._loop)
        self._ticking = self._loop.call_later(TICK, self._tick)
        self._look_at_idle = 0.0
        self._free = asyncio.Event()
        self.stopping = False
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = threads
        for number in range(threads):
            threading.Thread(target=self._labour, name=f"web-{number}", daemon=True).start()

    async def finish(self) -> None:
        """Returns when every request whose head has come is answered. Bodies still under way get `LAST` seconds."""
        self.stopping = True
        for connection in [one for one in self._connections if one.idle]:
            connection.close()
        self._loop.call_later(LAST, self._hurry)
        while any(not one.idle for one in self._connections):
            self._free.clear()
            await self._free.wait()

    def _hurry(self) -> None:
        for request, waiting in list(self._waiting.items()):
            waiting.connection.decide(
                request, plain("503 Service Unavailable", "The gateway is stopping.", ("Retry-After", "5"))
            )

    def close(self) -> None:
        """Every thread ends after what it has in hand. Does not wait for them."""
        self._ticking.cancel()
        for _ in range(self._threads):
            self._work.put(None)

    def _labour(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    # Connections call these.

    def opened(self, connection: Connection) -> bool:
        self._connections.add(connection)
        return len(self._connections) <= self._most

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._free.set()

    def forget(self, request: Request) -> None:
        self._waiting.pop(request, None)
        self._reserved -= request.reserved
        request.reserved = 0
        self._free.set()

    def serve(self, connection: Connection, request: Request) -> None:
        self._waiting.pop(request, None)
        if (request.length or 0) > LIMIT:
            environ = {**request.environ, "wsgi.input": Unread()}
            self._run(environ, lambda answer: connection.answer(request, answer or _too_large()))
            return
        body = request.body()
        request.environ["CONTENT_LENGTH"] = str(len(body))
        request.environ["wsgi.input"] = io.BytesIO(body)
        quick = len(body) <= QUICK and self._quick is not None and self._quick(request.environ)
        (self._run_here if quick else self._run)(request.environ, lambda answer: _answer(connection, request, answer))

    def came(self, connection: Connection, request: Request) -> None:
        waiting = self._waiting.get(request)
        if waiting is None:
            waiting = self._waiting[request] = Waiting(connection)
            if not self._reserve(request, request.length or 0):
                self._full(connection, request)
            elif request.expects:
                waiting.asked = True
                self._ask(connection, request)
        if request.size > SMALL and not self._reserve(request, LIMIT):
            self._full(connection, request)
        if request.is_too_large and not request.expects:
            waiting.over = waiting.over or time.monotonic()
            if request.size > LIMIT + DROPPED:
                self._cut(connection, request)

    def _full(self, connection: Connection, request: Request) -> None:
        reason = "Too many large bodies are under way."
        connection.decide(request, plain("503 Service Unavailable", reason, ("Retry-After", "5")))

    def _reserve(self, request: Request, size: int) -> bool:
        """Room for a large body, so that many of them at once cannot take all memory."""
        size = min(size, LIMIT)
        if size <= SMALL or request.reserved:
            return True
        if self._reserved + size > BUDGET:
            return False
        self._reserved += size
        request.reserved = size
        return True

    def _cut(self, connection: Connection, request: Request) -> None:
        """Enough of a body that is too large: what is still to come is not read, nor anything behind it."""
        request.reuse = False
        connection.finish(request)

    def _ask(self, connection: Connection, request: Request) -> None:
        """What does the application say without the body?"""
        request.asking = True
        environ = {**request.environ, "wsgi.input": Unread()}
        self._run(environ, lambda answer: self._asked(connection, request, answer))

    def _asked(self, connection: Connection, request: Request, answer: Answer | None) -> None:
        request.asking = False
        if answer is not None:
            connection.decide(request, answer)
        elif request.whole:
            connection.finish(request)
        elif request.expects:
            connection.tell_to_go_on()

    def _tick(self) -> None:
        self._ticking = self._loop.call_later(TICK, self._tick)
        now = time.monotonic()
        for request, waiting in list(self._waiting.items()):
            self._look_at(request, waiting, now)
        if now >= self._look_at_idle:
            self._look_at_idle = now + IDLE / 20
            for connection in list(self._connections):
                connection.close_if_silent(now - IDLE)

    def _look_at(self, request: Request, waiting: Waiting, now: float) -> None:
        if waiting.over:
            if now - waiting.over >= LINGER:
                self._cut(waiting.connection, request)
        elif now - waiting.since >= self._patience:
            log.info("body_never_came", seconds=self._patience)
            waiting.connection.decide(request, plain("408 Request Timeout", "The body did not come in time."))
        elif now - waiting.since >= SLOW and not waiting.asked:
            waiting.asked = True
            self._ask(waiting.connection, request)

    def _run(self, environ: WSGIEnvironment, then: Then) -> None:
        """On a thread."""

        def work() -> None:
            answer = run(self._application, environ)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(then, answer)

        self._work.put(work)

    def _run_here(self, environ: WSGIEnvironment, then: Then) -> None:
        self._errands.run(lambda: then(run(self._application, environ)))


def _too_large() -> Answer:
    return plain("413 Request Entity Too Large", f"Larger than {LIMIT} bytes.")


def _answer(connection: Connection, request: Request, answer: Answer | None) -> None:
    connection.answer(request, answer or plain("500 Internal Server Error", "Internal error."))
