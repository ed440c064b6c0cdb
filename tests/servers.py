"""Servers on 127.0.0.1 that do exactly as told, byte for byte, and remember what reached them.

A script is a function of a `Caller`; it runs in a thread for each connection::

    with Server(replying(ok(b"thanks"))) as server:
        …server.url("/join.php")…
    assert server.requests == [b"POST /join.php HTTP/1.1\\r\\n…"]
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from types import TracebackType

PATIENCE = 30.0
"""Seconds after which something that a test waits for will not come any more."""
_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]+)", re.IGNORECASE | re.MULTILINE)


def ok(body: bytes = b"ok", *headers: str) -> bytes:
    """A whole 200."""
    return answer(200, body, *headers)


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


class Caller:
    """One connection, as the server sees it."""

    def __init__(self, server: Server, connection: socket.socket) -> None:
        self.server = server
        self.socket = connection
        self._buffer = b""

    def read_request(self) -> bytes | None:
        """The next request with its body, exact bytes, which the server remembers; None: the other side is gone."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._more():
                return None
        end = self._buffer.index(b"\r\n\r\n") + 4
        length = _LENGTH.search(self._buffer[:end])
        end += int(length[1]) if length else 0
        while len(self._buffer) < end:
            if not self._more():
                return None
        request, self._buffer = self._buffer[:end], self._buffer[end:]
        self.server.remember(request)
        return request

    def _more(self) -> bool:
        try:
            piece = self.socket.recv(65536)
        except OSError:
            return False
        self._buffer += piece
        return bool(piece)

    def send(self, data: bytes) -> bool:
        """False: nobody takes it any more."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def wait_for_end(self) -> None:
        """Until the other side closes, or the test is over."""
        while self._more():
            pass

    def reset(self) -> None:
        """Not a polite end: RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


Script = Callable[[Caller], object]


def replying(*answers: bytes) -> Script:
    """Each request on a connection gets the next answer, the last one over and over; the connection is kept."""

    def script(caller: Caller) -> None:
        turn = 0
        while caller.read_request() is not None:
            caller.send(answers[min(turn, len(answers) - 1)])
            turn += 1

    return script


def closing(reply: bytes) -> Script:
    """One request, one answer, the end."""

    def script(caller: Caller) -> None:
        if caller.read_request() is not None:
            caller.send(reply)

    return script


def silent(caller: Caller) -> None:
    """Takes whatever comes, and says nothing."""
    caller.read_request()
    caller.wait_for_end()


class Server:
    """Listens from `__enter__` to `__exit__`; then every connection and every thread of it is gone."""

    def __init__(self, script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._script, self._tls = script, tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=512)
        self.host, self.port = self._listener.getsockname()[:2]
        self.requests: list[bytes] = []
        self.connections = 0
        self.protocols: list[str | None] = []
        """What ALPN agreed on, for each connection over TLS."""
        self.stopped = threading.Event()
        self._came = threading.Condition()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "") -> str:
        return f"{scheme or ('https' if self._tls else 'http')}://{host}:{self.port}{path}"

    def speak(self, tls: ssl.SSLContext) -> None:
        """This kind of TLS from now on; connections that there are come to an end."""
        self._tls = tls
        for connection in list(self._sockets):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def remember(self, request: bytes) -> None:
        with self._came:
            self.requests.append(request)
            self._came.notify_all()

    def wait_for(self, count: int) -> None:
        """Until so many requests have come."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.requests) >= count, PATIENCE), "the requests did not come"

    def __enter__(self) -> Server:
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._sockets):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a server's script does not end"

    def _spawn(self, function: Callable[..., object], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.add(connection)
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with self._spoken(connection) as spoken:
            if spoken is not None:
                self._script(Caller(self, spoken))

    @contextlib.contextmanager
    def _spoken(self, connection: socket.socket) -> Iterator[socket.socket | None]:
        """The connection, in TLS where the server speaks it; None: the handshake came to nothing."""
        spoken: socket.socket | None = connection
        if self._tls:
            try:
                spoken = self._tls.wrap_socket(connection, server_side=True)
                self._sockets.add(spoken)
                self.protocols.append(spoken.selected_alpn_protocol())
            except OSError:
                spoken = None
        try:
            yield spoken
        finally:
            for each in (connection, spoken or connection):
                self._sockets.discard(each)
                each.close()
