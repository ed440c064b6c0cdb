"""Bodies of requests on their way in: bounded in time, in bytes, in chunks and in memory, and no thread waits for one.

"Refused before the body is read" holds: where a body is slow, too large, or announced with `Expect: 100-continue`, the
application is asked first, with a body that it cannot read. If it answers without, that is the answer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast
from wsgiref.types import WSGIEnvironment

import structlog
from granian.rsgi import HTTPProtocol, ProtocolClosed, ProtocolError

from gateway.serve.calls import Answer, Calls, Unread, later, plain
from gateway.serve.connections import Connections
from gateway.web.callbacks import MAX_BODY_BYTES, TOO_LARGE

SMALL_BODY_BYTES = MAX_BODY_BYTES // 16  # a body up to this size is always let in: callbacks are far below
BUDGET_BYTES = 32 * MAX_BODY_BYTES  # all larger bodies together may take so much while they are under way
READING = 2
READING_SECONDS = 1.0
"""Larger bodies that come in at once, besides those that take longer. The others stay with their senders: Granian
takes up to twenty times a body's size to read it."""
SLOW_SECONDS = 0.25  # a body that is not there by then counts as slow
BODY_SECONDS = 10.0
STOPPING_SECONDS = 2.0  # for bodies that are under way when the gateway stops
LINGER_SECONDS = 1.0  # for a sender who is refused to stop sending: who is cut off while he sends sees no answer
SMALL_CHUNKS = 1000
SMALL_CHUNK_BYTES = 64
"""A body may come in `SMALL_CHUNKS` chunks, and one more for each so many bytes: a chunk of two bytes costs as much CPU
as one of a kilobyte."""
FEW = 32  # the application is asked early while no more bodies are slow: a flood of them must not take all CPU

log = structlog.get_logger(__name__)


def send(proto: HTTPProtocol, answer: Answer, *, close: bool) -> None:
    """`close`: the connection ends with this answer. A client that has gone is no error."""
    headers = [*answer.headers, ("Connection", "close")] if close else answer.headers
    proto.response_bytes(answer.status, headers, answer.body)


async def linger(proto: HTTPProtocol) -> None:
    """Drops for a moment what is still sent to who has answered: a sender that is cut off sees no answer."""
    pieces: Any = proto
    with suppress(ProtocolError):  # some of it is read already
        aiter(pieces)
    with suppress(TimeoutError, StopAsyncIteration, ProtocolClosed, ProtocolError):
        async with asyncio.timeout(LINGER_SECONDS):
            while await pieces.__anext__():
                pass


@dataclass(slots=True, eq=False)
class _Body:
    """One body under way."""

    environ: WSGIEnvironment
    proto: HTTPProtocol
    reader: asyncio.Task[Any]
    place: asyncio.TimerHandle | None = None  # it has one of `READING`, and gives it up when this fires
    timer: asyncio.TimerHandle | None = None
    """Fires at the next step of its reading: it is slow, it is late, no more of it is dropped."""
    reserved: int = 0
    asking: asyncio.Task[None] | None = None
    """The application is being asked without the body: it must not run twice at once."""
    is_answered: bool = False  # what still comes is dropped


class Bodies:
    """For one event loop."""

    def __init__(self, calls: Calls, connections: Connections) -> None:
        self._calls, self._connections = calls, connections
        self._loop = asyncio.get_running_loop()
        self._slow: dict[_Body, str] = {}  # the longest under way first, each with its client
        self._held = Counter[str]()  # how many of them each client has
        self._reserved, self._may_read = 0, asyncio.Semaphore(READING)
        self._is_ended = False

    def stop(self) -> None:
        self._loop.call_later(STOPPING_SECONDS, self._end)

    def _end(self) -> None:
        self._is_ended = True
        for body in list(self._slow):
            self._refuse(body, "stopping", later("The gateway is stopping."))

    async def read(self, environ: WSGIEnvironment, proto: HTTPProtocol, length: int | None) -> bytes | None:
        """The whole body; one byte too many of one in chunks that is too large. None: the request is answered."""
        body = _Body(environ, proto, cast(asyncio.Task[Any], asyncio.current_task()))
        waits = "HTTP_EXPECT" in environ
        try:
            if waits or (length or 0) > SMALL_BODY_BYTES:
                await self._admit(body, length or 0, waits)
            if body.is_answered:
                if not waits:
                    await linger(proto)
                return None
            if body.reserved:
                await self._may_read.acquire()
                body.place = self._loop.call_later(READING_SECONDS, self._let_another, body)
            body.timer = self._loop.call_later(SLOW_SECONDS, self._is_slow, body)
            data = await (self._chunks(body) if length is None else proto())
        except asyncio.CancelledError:
            if not body.is_answered:
                raise
            body.reader.uncancel()
        except (ProtocolClosed, ProtocolError):  # what came of it is nobody's request
            self._refuse(body, "cut_off", plain(400, "The body was cut off."))
        finally:
            self._forget(body)
            self._let_another(body)
            self._reserved -= body.reserved
            if body.timer is not None:
                body.timer.cancel()
                body.timer = None
        if body.asking is not None:
            await body.asking
        return None if body.is_answered else data

    async def _admit(self, body: _Body, length: int, waits: bool) -> None:
        if waits or length > MAX_BODY_BYTES:
            await self._ask_early(body)
        if length > MAX_BODY_BYTES:
            self._refuse(body, "size", plain(413, TOO_LARGE))
        else:
            self._reserve(body, length)

    def _reserve(self, body: _Body, size: int) -> None:
        """Room for a large body, so that many of them at once cannot take all memory."""
        if size > SMALL_BODY_BYTES and not body.reserved and not body.is_answered:
            if self._reserved + size > BUDGET_BYTES:
                self._refuse(body, "memory", later("Too many large bodies are under way."))
            else:
                body.reserved = size
                self._reserved += size

    async def _chunks(self, body: _Body) -> bytes:
        size = chunks = ends = 0
        kept = bytearray()
        async for piece in body.proto:
            size, chunks, ends = size + len(piece), chunks + 1, ends + (not piece)
            if body.is_answered:
                continue
            # One byte too many is kept, so that the application itself can say 413.
            kept += piece[: MAX_BODY_BYTES + 1 - len(kept)]
            if size > MAX_BODY_BYTES:
                return bytes(kept)
            if size > SMALL_BODY_BYTES:
                self._reserve(body, MAX_BODY_BYTES)
            if chunks > SMALL_CHUNKS + size // SMALL_CHUNK_BYTES:
                self._refuse(body, "chunks", plain(400, "Too many small chunks."))
        # Granian ends a body with an empty piece; one that was cut off, or has trailers, with two.
        if ends > 1:
            raise ProtocolClosed
        return bytes(kept)

    def _let_another(self, body: _Body) -> None:
        if body.place is not None:
            body.place.cancel()  # it would keep the whole body until then
            body.place = None
            self._may_read.release()

    def _is_slow(self, body: _Body) -> None:
        body.timer = self._loop.call_later(BODY_SECONDS - SLOW_SECONDS, self._is_late, body)
        client = self._slow[body] = self._connections.client(body.environ)
        self._held[client] += 1
        if self._is_ended:
            self._refuse(body, "stopping", later("The gateway is stopping."))
        elif self._held[client] > self._connections.per_client:
            longest = next(other for other, its_client in self._slow.items() if its_client == client)
            self._refuse(longest, "client", later("Too many of your requests are under way."))
        elif len(self._slow) <= FEW and "HTTP_EXPECT" not in body.environ:
            body.asking = self._loop.create_task(self._ask_early(body))

    def _is_late(self, body: _Body) -> None:
        log.info("body_never_came", seconds=BODY_SECONDS)
        self._refuse(body, "late", plain(408, "The body did not come in time."))

    async def _ask_early(self, body: _Body) -> None:
        """Calls the application without the body; what it answers then is the answer."""
        answer = await self._calls.on_thread({**body.environ, "wsgi.input": Unread()})
        if answer is not None:
            self._answer(body, answer)

    def _forget(self, body: _Body) -> None:
        client = self._slow.pop(body, None)
        if client is not None:
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]

    def _refuse(self, body: _Body, reason: str, answer: Answer) -> None:
        if not body.is_answered:
            self._connections.count(reason)
            self._answer(body, answer)

    def _answer(self, body: _Body, answer: Answer) -> None:
        """And the connection ends: what follows may be the rest of the body."""
        if not body.is_answered:
            body.is_answered = True
            self._forget(body)
            send(body.proto, answer, close=True)
            if body.timer is not None:
                body.timer.cancel()
                body.timer = self._loop.call_later(LINGER_SECONDS, body.reader.cancel)
