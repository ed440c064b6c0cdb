"""Bodies of requests on their way in: bounded in time, in bytes, in chunks and in memory, and no thread waits for one.

"Refused before the body is read" holds: where a body is slow, or announced with `Expect: 100-continue`, the application
is asked first, with a body that it cannot read. If it answers without, that is the answer.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast
from wsgiref.types import WSGIEnvironment

import structlog
from granian.rsgi import HTTPProtocol, ProtocolClosed, ProtocolError

MAX_BODY_BYTES = 1024 * 1024
"""Of a body in chunks one more byte is kept, so that the application itself can say 413."""
SMALL_BODY_BYTES = MAX_BODY_BYTES // 16
"""A body up to this size is always let in: callbacks are far below."""
BUDGET_BYTES = 64 * MAX_BODY_BYTES
"""All larger bodies together may take so much while they are under way."""
SLOW_SECONDS = 0.25
"""A body that is not there by then counts as slow."""
BODY_SECONDS = 10.0
STOPPING_SECONDS = 2.0
"""For a body that is under way when the gateway stops."""
LINGER_SECONDS = 1.0
"""For a sender who is refused to stop sending: who is cut off while he sends sees no answer."""
DROPPED_BYTES = 16 * MAX_BODY_BYTES
"""So much of a body that is too large is read and dropped, within `LINGER_SECONDS`, before it is refused."""
SMALL_CHUNKS = 1000
SMALL_CHUNK_BYTES = 64
"""A body may come in `SMALL_CHUNKS` chunks, and one more for each so many bytes: a chunk of two bytes costs as much CPU
as one of a kilobyte."""
BRIEF_SECONDS = 1.0
"""A body that is under way for less is not one too many of its client: it may wait in our own queue."""
TICK_SECONDS = 0.1
"""Between two looks at the bodies under way."""
ASKED = 32
"""For so many slow bodies the application is asked at each look: a flood of them must not take all CPU."""

Headers = list[tuple[str, str]]
log = structlog.get_logger(__name__)


class Answer(NamedTuple):
    status: int
    headers: Headers
    body: bytes


def plain(status: int, reason: str, *more: tuple[str, str]) -> Answer:
    return Answer(status, [("Content-Type", "text/plain; charset=utf-8"), *more], f"{reason}\n".encode())


def later(reason: str) -> Answer:
    return plain(503, reason, ("Retry-After", "5"))


INTERNAL_ERROR = plain(500, "Internal error.")


def send(proto: HTTPProtocol, answer: Answer, *, close: bool) -> None:
    """`close`: the connection ends with this answer. A client that has gone is no error."""
    headers = [*answer.headers, ("Connection", "close")] if close else answer.headers
    try:
        proto.response_bytes(answer.status, headers, answer.body)
    except Exception:  # what a WSGI application must not give
        log.exception("answer_cannot_be_sent")
        proto.response_bytes(*INTERNAL_ERROR)


async def linger(proto: HTTPProtocol) -> None:
    """Drops for a moment what is still sent to who has answered: a sender that is cut off sees no answer."""
    pieces: Any = proto
    with suppress(ProtocolError):  # some of it is read already
        aiter(pieces)
    with suppress(TimeoutError, StopAsyncIteration, ProtocolClosed, ProtocolError):
        async with asyncio.timeout(LINGER_SECONDS):
            while await pieces.__anext__():
                pass


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


@dataclass(slots=True, eq=False)
class _Body:
    """One body under way. `length`: its declared bytes; None: it comes in chunks."""

    environ: WSGIEnvironment
    proto: HTTPProtocol
    length: int | None
    is_too_large: bool
    """By its declared length; of one in chunks that is seen when it is there."""
    reader: asyncio.Task[Any]
    since: float = field(default_factory=time.monotonic)
    until: float = float("inf")
    """After that no more of it is read."""
    data: bytes | bytearray = b""
    reserved: int = 0
    asked: bool = False
    asking: asyncio.Task[None] | None = None
    """The application is being asked without the body: it must not run twice at once."""
    answered: bool = False
    """What still comes is dropped."""


class Bodies:
    """For one event loop.

    ask: calls the application with a body that it cannot read; None: it wants that body. client: who sends a request;
    at most `per_client` bodies of one are under way, the longest go first. count: told of each refusal, by a word.
    """

    def __init__(
        self,
        ask: Callable[[WSGIEnvironment], Awaitable[Answer | None]],
        *,
        patience: float,
        client: Callable[[WSGIEnvironment], str],
        per_client: int,
        count: Callable[[str], None],
    ) -> None:
        self._ask, self._patience, self._client = ask, patience, client
        self._per_client, self._count = per_client, count
        self._under_way: dict[_Body, None] = {}  # the longest first
        self._reserved = 0
        self._events: Counter[str] = Counter()
        """For the log, since the last look."""
        self._end = float("inf")
        self._loop = asyncio.get_running_loop()
        self._ticking = self._loop.call_later(TICK_SECONDS, self._tick)

    def stop(self) -> None:
        """Bodies that are under way get `STOPPING_SECONDS`."""
        self._end = time.monotonic() + STOPPING_SECONDS

    def close(self) -> None:
        self._ticking.cancel()

    async def read(self, environ: WSGIEnvironment, proto: HTTPProtocol, length: int | None) -> bytes | None:
        """The whole body; one byte too many of one in chunks that is too large. None: the request is answered."""
        too_large, reader = (length or 0) > MAX_BODY_BYTES, cast(asyncio.Task[Any], asyncio.current_task())
        body = _Body(environ, proto, length, too_large, reader)
        self._under_way[body] = None
        try:
            await self._admit(body)
        except asyncio.CancelledError:
            if time.monotonic() < body.until:
                raise
            reader.uncancel()
        except (ProtocolClosed, ProtocolError):
            # What came of it is nobody's request.
            if not body.answered:
                self._events["body_cut_off"] += 1
            self._refuse(body, "cut_off", plain(400, "The body was cut off."))
        finally:
            del self._under_way[body]
            self._reserved -= body.reserved
        if body.asking is not None:
            await body.asking
        if too_large:
            await self._ask_early(body)
            self._refuse(body, "size", plain(413, f"Larger than {MAX_BODY_BYTES} bytes."))
            await linger(proto)
        return None if body.answered else bytes(body.data)

    async def _admit(self, body: _Body) -> None:
        waits = "HTTP_EXPECT" in body.environ
        if body.length is not None and body.length <= SMALL_BODY_BYTES and not waits:  # as callbacks are
            body.data = await body.proto()
            return
        if body.is_too_large:
            body.until = body.since + LINGER_SECONDS
        if not self._reserve(body, body.length or 0):
            self._refuse(body, "memory", later("Too many large bodies are under way."))
        elif waits:
            await self._ask_early(body)
        # A sender that waits is told to go on as soon as its body is asked for.
        if not waits or not (body.answered or body.is_too_large):
            await self._receive(body)

    async def _receive(self, body: _Body) -> None:
        """Raises `ProtocolClosed` where the sender has gone."""
        if body.length is not None and not body.is_too_large and not body.answered:
            body.data = await body.proto()
            return
        size = chunks = ends = 0
        kept = body.data = bytearray()
        async for piece in body.proto:
            size, chunks, ends = size + len(piece), chunks + 1, ends + (not piece)
            if size > MAX_BODY_BYTES:
                body.until = min(body.until, time.monotonic() + LINGER_SECONDS)
            if size > MAX_BODY_BYTES + DROPPED_BYTES:
                return
            if body.answered:
                continue
            kept += piece[: MAX_BODY_BYTES + 1 - len(kept)]
            if size > SMALL_BODY_BYTES and not self._reserve(body, MAX_BODY_BYTES):
                self._refuse(body, "memory", later("Too many large bodies are under way."))
            elif chunks > SMALL_CHUNKS + size // SMALL_CHUNK_BYTES:
                self._refuse(body, "chunks", plain(400, "Too many small chunks."))
        # Granian ends a body with an empty piece; one that was cut off, or has trailers, with two.
        if ends > 1:
            raise ProtocolClosed

    def _reserve(self, body: _Body, size: int) -> bool:
        """Room for a large body, so that many of them at once cannot take all memory."""
        size = min(size, MAX_BODY_BYTES)
        if size > SMALL_BODY_BYTES and not body.reserved:
            if self._reserved + size > BUDGET_BYTES:
                return False
            self._reserved += size
            body.reserved = size
        return True

    async def _ask_early(self, body: _Body) -> None:
        """What does the application say without the body?"""
        if not body.asked:
            body.asked = True
            if (answer := await self._ask({**body.environ, "wsgi.input": Unread()})) is not None:
                self._answer(body, answer)

    def _refuse(self, body: _Body, reason: str, answer: Answer) -> None:
        if not body.answered:
            self._count(reason)
            self._answer(body, answer)

    def _answer(self, body: _Body, answer: Answer) -> None:
        """And no more than this: what follows may be the rest of the body."""
        if not body.answered:
            body.answered = True
            body.until = min(body.until, time.monotonic() + LINGER_SECONDS)
            send(body.proto, answer, close=True)

    def _tick(self) -> None:
        self._ticking = self._loop.call_later(TICK_SECONDS, self._tick)
        now, asked = time.monotonic(), 0
        if len(self._under_way) > self._per_client:
            self._limit_clients()
        for body in list(self._under_way):
            age = now - body.since
            if now >= body.until:
                body.reader.cancel()
            elif body.until < float("inf"):
                continue
            elif now >= self._end:
                self._refuse(body, "stopping", later("The gateway is stopping."))
            elif age >= self._patience:
                self._events["body_never_came"] += 1
                self._refuse(body, "late", plain(408, "The body did not come in time."))
            elif age >= SLOW_SECONDS and not body.asked and asked < ASKED:
                asked += 1
                body.asking = self._loop.create_task(self._ask_early(body))
        for event, count in self._events.items():  # not a line for each: thousands may come in a second
            log.info(event, count=count, seconds=self._patience)
        self._events.clear()

    def _limit_clients(self) -> None:
        found = defaultdict(list)
        old = time.monotonic() - BRIEF_SECONDS
        for body in self._under_way:
            if not body.answered and body.since < old:
                found[self._client(body.environ)].append(body)
        for bodies in found.values():
            for body in bodies[: -self._per_client]:
                self._refuse(body, "client", later("Too many of your requests are under way."))
