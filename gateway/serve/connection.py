"""One client's connection: bytes ⇄ requests and answers, in their order. The reading is llhttp's.

All of it happens on the event loop's thread, in callbacks: there is neither a task nor a timer for a request.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from typing import Protocol, cast

import structlog
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from gateway.serve.requests import CONTINUE, HEAD_BYTES, TOO_LONG, Request, bytes_of
from gateway.serve.wsgi import Answer, plain, surroundings

AHEAD = 4
"""Requests that may be sent ahead of their answers, before no more is read."""
LINGER = 1.0
"""Seconds for a sender who is refused to stop sending: who is cut off while he sends sees no answer."""

_UPGRADE = re.compile(rb"(?<=\r\n)upgrade[ \t]*:", re.IGNORECASE)
log = structlog.get_logger(__name__)


class Desk(Protocol):
    """Where requests are handed in."""

    def opened(self, connection: Connection) -> bool:
        """False: there are too many."""

    def closed(self, connection: Connection) -> None: ...

    def came(self, connection: Connection, request: Request) -> None:
        """Its head is there, of its body not all; called at each piece."""

    def serve(self, connection: Connection, request: Request) -> None:
        """It is whole, and its turn. To be answered by `Connection.answer`."""

    def forget(self, request: Request) -> None:
        """It is answered, or nobody is there any more."""

    @property
    def stopping(self) -> bool: ...


class Connection(asyncio.Protocol):
    """`heard`: when something came last, or was answered; of the monotonic clock."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._line: deque[Request] = deque()
        """Those that are not answered yet, the first come first."""
        self._coming: Request | None = None
        """The last of these, while its body is not whole."""
        self._head: list[bytes] | None = None
        """What came, from the chunk on in which a head began that is not complete."""
        self._serving = self._full = self._upgrading = False
        self._in_head = False
        self._deaf = False
        """Nothing that comes is read any more."""
        self.heard = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = HttpRequestParser(self)
        server, client = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self._surroundings = surroundings(server, client)
        if not self._desk.opened(self):
            self._refuse(plain("503 Service Unavailable", "Too many connections.", ("Retry-After", "5")))

    def connection_lost(self, error: Exception | None) -> None:
        self._deaf = True
        if self._coming is not None:
            # What came of it is nobody's request.
            log.info("body_cut_off", declared=self._coming.length)
        for request in self._line:
            self._desk.forget(request)
        self._desk.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._head is None:  # within a head time goes on: one byte now and then is no head
            self.heard = time.monotonic()
        if self._deaf:
            return
        begun, begins = self._head, self._coming is None
        self._head = [data] if begun is None else [*begun, data]
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as stopped:
            self._stay(stopped.args[0] if begins else None)
        except HttpParserError:
            self._refuse(plain("400 Bad Request", "Not HTTP."))
        self._after(begun)

    def _after(self, begun: list[bytes] | None) -> None:
        """The chunk is read: is there a head that is not complete, a body that is not whole?"""
        if self._deaf:
            return
        if not self._in_head:
            self._head = None
        elif begun is not None and sum(map(len, begun)) > HEAD_BYTES:
            self._refuse(TOO_LONG)
        if self._coming is not None:
            self._desk.came(self, self._coming)

    def eof_received(self) -> bool:
        """Who has said all may still listen."""
        if self._coming is not None or not self._line:
            return False
        self._line[-1].reuse = False
        return True

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._next()

    # llhttp calls these. No exception may leave them.

    def on_message_begin(self) -> None:
        self._in_head = True
        self._reading = Request(self._surroundings.copy())

    def on_url(self, piece: bytes) -> None:
        self._reading.add_target(piece)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._reading.add_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        parser, request = self._parser, self._reading
        self._upgrading = parser.should_upgrade()
        if self._upgrading or self._deaf:
            return
        request.begin(parser.get_method(), parser.get_http_version(), parser.should_keep_alive())
        self._line.append(request)
        self._coming = request
        if request.verdict is not None:
            self.decide(request, request.verdict)
        elif len(self._line) == AHEAD:
            self._transport.pause_reading()

    def on_body(self, piece: bytes) -> None:
        if self._coming is not None:
            self._coming.add(piece)

    def on_message_complete(self) -> None:
        request = self._coming
        if request is not None and not self._upgrading:
            self.finish(request)

    def _stay(self, end: int | None) -> None:
        """Another protocol is offered (Java's client does so with its first request): we stay with this one.

        `end`: where the head ends in the last chunk; None: it does not begin where a chunk does.
        """
        *earlier, last = self._head or [b""]
        if end is None or (self._line and not earlier) or not _UPGRADE.search(b"".join([*earlier, last[:end]])):
            self._refuse(plain("400 Bad Request", "Not HTTP."))
            return
        self._parser = HttpRequestParser(self)
        try:
            self._parser.feed_data(_UPGRADE.sub(b"x-upgrade:", b"".join([*earlier, last[:end]])) + last[end:])
        except (HttpParserError, HttpParserUpgrade):
            self._refuse(plain("400 Bad Request", "Not HTTP."))

    # The desk calls these.

    def tell_to_go_on(self) -> None:
        if self._line and self._line[0] is self._coming:
            self._transport.write(CONTINUE)

    def finish(self, request: Request) -> None:
        """There is no more of this body, or no more of it is wanted."""
        request.whole = True
        if self._coming is request:
            self._coming = None
        self._next()

    def decide(self, request: Request, answer: Answer) -> None:
        """Answer this, and no more is read: what follows may be the rest of a body."""
        request.verdict = request.verdict or answer
        self._deaf = True
        self.finish(request)

    def answer(self, request: Request, answer: Answer) -> None:
        self._serving = False
        if self._transport.is_closing():
            return
        self._line.popleft()
        self._desk.forget(request)
        last = request.verdict is not None or not request.reuse or self._desk.stopping
        self._transport.write(_written(answer, request, last))
        self.heard = time.monotonic()
        if last:
            self._end(request)
        else:
            if len(self._line) == AHEAD - 1:
                self._transport.resume_reading()
            self._next()

    def _next(self) -> None:
        if self._serving or self._full or not self._line:
            return
        request = self._line[0]
        if request.whole and not request.asking:
            self._serving = True
            if request.verdict is not None:
                self.answer(request, request.verdict)
            else:
                self._desk.serve(self, request)

    def _end(self, request: Request) -> None:
        self._deaf = True
        if request.verdict is None and request.reuse or not self._transport.can_write_eof():
            self._transport.close()
            return
        # What he still sends is dropped meanwhile.
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER, self._transport.close)

    def _refuse(self, answer: Answer) -> None:
        """What cannot be read as a request is answered in its turn, and is the end."""
        request = self._coming or Request({})
        if self._coming is None:
            self._line.append(request)
        self.decide(request, answer)

    @property
    def idle(self) -> bool:
        """Nothing is asked."""
        return not self._line

    def close(self) -> None:
        self._deaf = True
        self._transport.close()

    def close_if_silent(self, since: float) -> None:
        """Nothing was asked since then, or nobody reads the answers."""
        if self.heard < since and (self._full or not self._line):
            self._deaf = True
            self._transport.abort()


def _written(answer: Answer, request: Request, last: bool) -> bytes:
    try:
        return bytes_of(answer, request.environ, last)
    except ValueError:
        log.exception("answer_cannot_be_sent")
        return bytes_of(plain("500 Internal Server Error", "Internal error."), request.environ, last)
