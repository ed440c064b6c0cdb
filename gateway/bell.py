"""The web half wakes the worker as soon as something is owed, so that nobody waits for a poll.

A datagram to the loopback address, for every operating system alike. It carries nothing: whoever rings, the
worker only looks into the outbox. A lost one costs no more than one poll.
"""

from __future__ import annotations

import os
import socket
import time
import weakref
from pathlib import Path

from gateway.config import make_private

HOST = "127.0.0.1"
_LOOK_AGAIN = 1.0


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

    def hush(self) -> None:
        """Take in all that rang so far."""
        try:
            while self.socket.recv(16):
                pass
        except BlockingIOError:
            return

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
        self._port = 0
        self._looked = -_LOOK_AGAIN

    def ring(self) -> None:
        now = time.monotonic()
        if now - self._looked >= _LOOK_AGAIN:
            self._looked, self._port = now, self._read()
        if self._port:
            try:
                self._socket.sendto(b"!", (HOST, self._port))
            except OSError:
                # No worker there, or its buffer is full of rings already: it will look by itself.
                self._looked = -_LOOK_AGAIN

    def _read(self) -> int:
        try:
            return int(self._note.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0
