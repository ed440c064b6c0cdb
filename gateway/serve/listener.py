"""Takes requests off the wire for a WSGI application, and holds no thread for a slow sender.

Granian's own WSGI mode reads a body on the thread that runs the application and waits for it without end: as many
half-sent bodies as there are threads stop the gateway for good, and a body cut off by a lost connection passes for
a whole one. Here the event loop waits, for a bounded time and a bounded number of bytes; a thread is taken when the
body is there.

"Refused before the body is read" stays true: where a body is slow, or announced with `Expect: 100-continue`, the
application is asked first, with a body that it cannot read. If it answers without, that is the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from wsgiref.types import WSGIApplication, WSGIEnvironment

import structlog

from gateway.serve.wsgi import Answer, Refused, Scope, Unread, environ_of, plain, run

LIMIT = 1024 * 1024
"""Bytes of a body. Where no length is declared one more is read, so that the application itself can say 413."""
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
LINGER = 1.0
"""Bytes, and seconds, of a body that is refused for its size which are taken in and dropped before the answer: a sender
that is answered while it sends sees a broken connection, and no answer."""
THREADS = 64

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Waiting:
    """A request whose body is still under way."""

    environ: WSGIEnvironment
    reader: asyncio.Task[None]
    asking: asyncio.Task[None] | None = None
    verdict: Answer | None = None
    reserved: int = 0

    def decide(self, answer: Answer) -> None:
        """No need for the body any more."""
        if self.verdict is None:
            self.verdict = answer
            self.reader.cancel()


class Listener:
    """An RSGI application in front of a WSGI one. Called and closed in one event loop."""

    def __init__(self, application: WSGIApplication, *, threads: int = THREADS, patience: float = PATIENCE) -> None:
        self._application, self._patience = application, patience
        self._reserved = self._in_flight = 0
        self._waiting: set[Waiting] = set()
        self._free = asyncio.Event()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = threads
        for number in range(threads):
            threading.Thread(target=self._labour, name=f"web-{number}", daemon=True).start()

    async def finish(self) -> None:
        """Returns when every request whose head has come is answered. Bodies still under way get `LAST` seconds."""
        asyncio.get_running_loop().call_later(LAST, self._hurry)
        while self._in_flight:
            self._free.clear()
            await self._free.wait()

    def _hurry(self) -> None:
        for waiting in self._waiting:
            waiting.decide(plain(503, "The gateway is stopping.", ("Retry-After", "5"), ("Connection", "close")))

    def close(self) -> None:
        """Every thread ends after what it has in hand. Does not wait for them."""
        for _ in range(self._threads):
            self._work.put(None)

    def _labour(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    async def __rsgi__(self, scope: Scope, protocol: Any) -> None:
        self._in_flight += 1
        try:
            answer = await self._answer(*environ_of(scope), protocol)
        except Refused as refused:
            answer = refused.answer
        finally:
            self._in_flight -= 1
            self._free.set()
        if answer is not None:
            protocol.response_bytes(answer.status, answer.headers, answer.body)

    async def _answer(self, environ: WSGIEnvironment, length: int | None, protocol: Any) -> Answer | None:
        """None: the sender has gone, and nobody is there to be answered."""
        if length == 0:
            return await self._call(environ, io.BytesIO())
        if length is not None and length > LIMIT:
            refusal = await self._call(environ, Unread()) or plain(413, f"Larger than {LIMIT} bytes.")
            if "HTTP_EXPECT" not in environ:  # who asked first sends nothing, unless we begin to read
                await _drop(protocol)
            return refusal
        if "HTTP_EXPECT" in environ and (early := await self._call(dict(environ), Unread())):
            return early
        waiting = Waiting(environ, cast("asyncio.Task[None]", asyncio.current_task()))
        self._waiting.add(waiting)
        try:
            self._reserve(waiting, length or 0)
            return await self._with_body(waiting, length, protocol)
        finally:
            self._reserved -= waiting.reserved
            self._waiting.discard(waiting)

    def _reserve(self, waiting: Waiting, size: int) -> None:
        """Room for a large body, so that many of them at once cannot take all memory. Raises `Refused`."""
        if size <= SMALL or waiting.reserved:
            return
        if self._reserved + size > BUDGET:
            raise Refused(503, "Too many large bodies are under way.", ("Retry-After", "5"))
        self._reserved += size
        waiting.reserved = size

    async def _with_body(self, waiting: Waiting, length: int | None, protocol: Any) -> Answer | None:
        loop = asyncio.get_running_loop()
        slow = loop.call_later(SLOW, self._on_slow, waiting)
        late = loop.call_later(self._patience, self._on_late, waiting)
        try:
            body = bytes(await protocol()) if length is not None else await self._chunked(waiting, protocol)
        except RuntimeError:
            # Granian's word for a connection that ended within the body: what came of it is nobody's request.
            log.info("body_cut_off", declared=length)
            return None
        except asyncio.CancelledError:
            if waiting.verdict is None:
                raise
            waiting.reader.uncancel()
            return waiting.verdict
        finally:
            slow.cancel()
            late.cancel()
        self._waiting.discard(waiting)
        waiting.environ["CONTENT_LENGTH"] = str(len(body))
        return await self._when_asked(waiting) or await self._call(waiting.environ, io.BytesIO(body))

    async def _chunked(self, waiting: Waiting, protocol: Any) -> bytes:
        """A body of no declared length, to one byte past the limit. RuntimeError where the connection ended before it.

        Granian hides the error of a lost connection as an empty piece: a whole body ends with one, a broken one
        with two.
        """
        pieces: list[bytes] = []
        size = empty = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as linger:
                async for piece in protocol:
                    if size <= LIMIT:
                        pieces.append(bytes(piece))
                    size, empty = size + len(piece), empty + (not piece)
                    if size > SMALL:
                        self._reserve(waiting, LIMIT)
                    if size > LIMIT and linger.when() is None:
                        linger.reschedule(asyncio.get_running_loop().time() + LINGER)
                    if size > LIMIT + DROPPED:
                        break
        if empty > 1:
            raise RuntimeError("The connection ended within the body.")
        return b"".join(pieces)[: LIMIT + 1]

    async def _when_asked(self, waiting: Waiting) -> Answer | None:
        """The body came while the application was being asked without: it must not run twice at once."""
        if waiting.asking is None:
            return None
        try:
            await waiting.asking
        except asyncio.CancelledError:
            if waiting.verdict is None:
                raise
            waiting.reader.uncancel()
        return waiting.verdict

    def _on_slow(self, waiting: Waiting) -> None:
        waiting.asking = asyncio.get_running_loop().create_task(self._ask(waiting))

    async def _ask(self, waiting: Waiting) -> None:
        answer = await self._call(dict(waiting.environ), Unread())
        if answer is not None:
            waiting.decide(answer)

    def _on_late(self, waiting: Waiting) -> None:
        log.info("body_never_came", seconds=self._patience)
        waiting.decide(plain(408, "The body did not come in time.", ("Connection", "close")))

    async def _call(self, environ: WSGIEnvironment, body: io.IOBase) -> Answer | None:
        """Run the application on a thread. None: it wants the body first."""
        environ["wsgi.input"] = body
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Answer | None] = loop.create_future()

        def work() -> None:
            answer = run(self._application, environ)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, done, answer)

        self._work.put(work)
        return await done


async def _drop(protocol: Any) -> None:
    dropped = 0
    with contextlib.suppress(TimeoutError, RuntimeError):
        async with asyncio.timeout(LINGER):
            async for piece in protocol:
                dropped += len(piece)
                if dropped > DROPPED:
                    return


def _settle(done: asyncio.Future[Answer | None], answer: Answer | None) -> None:
    if not done.cancelled():
        done.set_result(answer)
