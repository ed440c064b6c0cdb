"""Who says nothing keeps nobody out: each address may hold so many connections, and the longest silent go first.

The server library accepts connections by itself, and tells of one only when a request has come over it. So this looks,
on a thread, at the process's own sockets, which Linux shows under ``/proc``. On other systems nothing is done: there
the library's timeout for a head, and those for bodies, end what is silent.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple
from wsgiref.types import WSGIEnvironment

from gateway.web.limits import caller_key

LOOK_SECONDS = 1.0
"""Between two looks at how many files are open. Who is closed comes again at once, and costs more than who stays."""
LOOKS = 10  # at each of so many looks all connections are looked at, however few there are
SILENT_MS = 120_000
"""A connection over which nothing came for so long is closed: its client does not read our answers. Idle ones and slow
heads are ended long before by the server library."""
BRIEF_MS = 1000  # a connection that was silent for less is never closed: its request may wait in our own queue
SHARE = 8  # one client may hold an eighth of the connections that there may be
FULL = 7 / 8  # above that part of them the longest silent go, whoever holds them
_TCP_INFO_BYTES = 56
_LAST_DATA_RECEIVED = slice(52, 56)  # milliseconds since then, in Linux's `struct tcp_info`


class Connection(NamedTuple):
    silent_ms: int
    peer: tuple[str, int]  # tells it from all others to the same port
    file: int


class Connections:
    """The connections to `port`, of which this process may have `limit`; looked at until `close`.
    is_proxy: tells which address speaks for others: it may hold any number. count: told of each that is closed."""

    def __init__(self, port: int, limit: int, is_proxy: Callable[[str], bool], count: Callable[[str], None]) -> None:
        self._port, self._full, self._is_proxy, self.count = port, int(limit * FULL), is_proxy, count
        self.per_client = max(1, limit // SHARE)
        self._closed = threading.Event()
        if sys.platform == "linux":
            threading.Thread(target=self._run, name="connections", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def client(self, environ: WSGIEnvironment) -> str:
        """Names who sends a request: behind a proxy, the one for whom that speaks."""
        peer = str(environ["REMOTE_ADDR"])
        spoken_for = environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip() if self._is_proxy(peer) else ""
        return caller_key(spoken_for or peer)

    def _run(self) -> None:
        looks = 0
        while not self._closed.wait(LOOK_SECONDS):
            looks += 1
            with suppress(OSError):  # no file is left to look with
                if looks % LOOKS == 0 or len(os.listdir("/proc/self/fd")) > self.per_client:
                    self.look()

    def look(self) -> None:
        """Closes what is silent for too long, and the longest silent of what is too much."""
        found = sorted(self._found(), reverse=True)
        held = Counter(caller_key(each.peer[0]) for each in found)
        left = []
        for each in found:
            client = caller_key(each.peer[0])
            if each.silent_ms > SILENT_MS:
                reason = "silent"
            elif self._is_proxy(each.peer[0]):
                continue
            elif held[client] > self.per_client and each.silent_ms >= BRIEF_MS:
                reason = "address"
            else:
                left.append(each)
                continue
            held[client] -= 1
            self._end(each, reason)
        for each in left[: max(0, held.total() - self._full)]:
            self._end(each, "full")

    def _found(self) -> Iterator[Connection]:
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError), _copy(int(name)) as opened:  # of a file that is no socket, or is closed by now
                if opened.getsockname()[1:2] == (self._port,):  # of a socket without a port it is a text
                    info = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
                    silent_ms = int.from_bytes(info[_LAST_DATA_RECEIVED], sys.byteorder)
                    yield Connection(silent_ms, opened.getpeername()[:2], int(name))

    def _end(self, connection: Connection, reason: str) -> None:
        with suppress(OSError), _copy(connection.file) as opened:
            # By now the number may be another connection's: the copy stays what it is.
            if opened.getpeername()[:2] == connection.peer:
                opened.shutdown(socket.SHUT_RDWR)
                self.count(reason)


def _copy(file: int) -> socket.socket:
    """Raises OSError for what is no socket."""
    copy = os.dup(file)
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, copy)
    except OSError:
        os.close(copy)
        raise
