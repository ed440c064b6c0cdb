"""The web half wakes the worker as soon as something is owed, so that nobody waits for a poll.

A datagram to the loopback address, for every operating system alike. It names endpoints and nothing else: whoever
rings, the worker only looks into the outbox. A lost one costs no more than one poll.
"""

from __future__ import annotations

import os
import socket
import time
import weakref
from collections.abc import Callable, Collection
from pathlib import Path

from gateway.config import make_private

HOST = "127.0.0.1"
_LOOK_AGAIN = 1.0
_LONGEST = 8192
"""Bytes of a datagram: loopback takes them in one piece everywhere."""
_AT_ONCE = 1000


class Bell:
    """The worker's end: a socket to wait on, its port written down for those who ring."""

    def __init__(self, data: Path) -> None:
        # With PostgreSQL, and keys of the file's own, nobody else made the folder.
        make_private(data)
        self._note = data / "worker.port"
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((HOST, 0))
        self._write(str(self.socket.getsockname()[1]))

    def _write(self, port: str) -> None:
        draft = self._note.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(port, encoding="ascii")
        draft.replace(self._note)

    def hush(self) -> set[str]:
        """Take in all that rang so far: names of endpoints; the empty one stands for all of them."""
        names: set[str] = set()
        # Not without an end: whoever rings all the time must not keep the worker here.
        for _ in range(_AT_ONCE):
            try:
                said = self.socket.recv(_LONGEST)
            except BlockingIOError:
                break
            except OSError:  # Windows: the datagram is longer, or one of ours met nobody
                said = b""
            names.update(said.decode("utf-8", "replace").split("\n"))
        return names

    def close(self) -> None:
        self.socket.close()


class Ringer:
    """The other end. Rings a worker that may not be there, may have moved, and is never waited for."""

    def __init__(self, data: Path) -> None:
        self._note = data / "worker.port"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        # It lives as long as the application that rings, which nobody closes.
        self.close = weakref.finalize(self, self._socket.close)
        self._named: set[str] = set()
        self._port = 0
        self._looked = -_LOOK_AGAIN

    def ring(self, endpoints: Collection[str] = ()) -> None:
        """Something is owed to these endpoints; to whom, nobody knows, where none is named."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_AGAIN:
            self._looked, self._port = now, self._read()
        if self._port:
            try:
                self._socket.sendto(_said(endpoints), (HOST, self._port))
            except OSError:
                # No worker there, or its buffer is full of rings already: it will look by itself.
                self._looked = -_LOOK_AGAIN

    def ring_later(self, endpoints: Collection[str], later: Callable[[Callable[[], None]], object]) -> None:
        """Rings once for all that is named before `later` calls."""
        if not self._named:
            later(self._ring_named)
        self._named.update(endpoints)

    def _ring_named(self) -> None:
        named, self._named = self._named, set()
        self.ring(named)

    def _read(self) -> int:
        try:
            return int(self._note.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0


def _said(endpoints: Collection[str]) -> bytes:
    said = "\n".join(endpoints).encode()
    return said if len(said) <= _LONGEST else b""
