"""The web half wakes the workers as soon as something is owed, so that nobody waits for a poll.

A datagram to the loopback address, for every operating system alike. It names endpoints and nothing else: whoever
rings, a worker only looks into the outbox. A lost one costs no more than one poll.

Every worker on a data folder has an empty file there, ``bells/<port>``: the name says where to ring, the time at which
it was last touched that somebody listens. So any number of them may come and go, and one that was killed is forgotten.
"""

from __future__ import annotations

import os
import socket
import time
import weakref
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from gateway.config import make_private

HOST = "127.0.0.1"
FOLDER_NAME = "bells"
TOUCH_SECONDS = 3.0
"""Seconds after which a worker says again that it is there."""
GONE_SECONDS = 15.0
"""Seconds after which one that did not is not rung any more."""
_FORGOTTEN = 60.0
"""Seconds after which its file goes; had it only slept, it makes another."""
_LOOK_AGAIN = 1.0
_LONGEST = 8192
"""Bytes of a datagram: loopback takes them in one piece everywhere."""
_AT_ONCE = 1000


class WakeupSocket:
    """A worker's end: a socket to wait on, its port written down for those who ring."""

    def __init__(self, data: Path) -> None:
        # With PostgreSQL, and keys of the file's own, nobody else made the folder.
        make_private(data)
        folder = data / FOLDER_NAME
        make_private(folder)
        _tidy(folder)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((HOST, 0))
        self._note = folder / str(self.socket.getsockname()[1])
        self._touch()
        self._touch_at = time.monotonic() + TOUCH_SECONDS

    def keep(self, steady: float) -> None:
        """To be called at least every few seconds, or nobody rings. `steady`: seconds of the clock that nobody sets."""
        if steady >= self._touch_at:
            self._touch_at = steady + TOUCH_SECONDS
            with suppress(OSError):  # a full disk, say: the worker looks by itself
                self._touch()

    def _touch(self) -> None:
        self._note.touch(mode=0o600)
        # By this machine's clock, which those who ring go by too; a file server may have another.
        now = time.time()
        os.utime(self._note, (now, now))

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
        with suppress(OSError):
            self._note.unlink()
        self.socket.close()


class WorkerNotifier:
    """The other end. Rings workers that may not be there, may have moved, and are never waited for."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER_NAME
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        # It lives as long as the application that rings, which nobody closes.
        self.close = weakref.finalize(self, self._socket.close)
        self._named: set[str] = set()
        self._ports: list[int] = []
        self._looked = -_LOOK_AGAIN

    def ring(self, endpoints: Collection[str] = ()) -> None:
        """Something is owed to these endpoints; to whom, nobody knows, where none is named."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_AGAIN:
            self._looked, self._ports = now, self._listening()
        if self._ports:
            said = _said(endpoints)
            for port in self._ports:
                with suppress(OSError):  # no worker there, or its buffer is full of rings already: it looks by itself
                    self._socket.sendto(said, (HOST, port))

    def ring_later(self, endpoints: Collection[str], later: Callable[[Callable[[], None]], object]) -> None:
        """Rings once for all that is named before `later` calls."""
        if not self._named:
            later(self._ring_named)
        self._named.update(endpoints)

    def _ring_named(self) -> None:
        named, self._named = self._named, set()
        self.ring(named)

    def _listening(self) -> list[int]:
        return [int(name) for name, age in _notes(self._folder) if age < GONE_SECONDS]


def _notes(folder: Path) -> list[tuple[str, float]]:
    """Those that are there, and the seconds since they were touched."""
    notes, now = [], time.time()
    with suppress(OSError), os.scandir(folder) as files:
        for file in files:
            if _is_port(file.name):
                with suppress(OSError):  # gone meanwhile
                    # `DirEntry.stat` may be late on Windows. Touched in times to come: the clock was set back.
                    notes.append((file.name, abs(now - os.stat(file.path).st_mtime)))
    return notes


def _is_port(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 5 and 0 < int(name) < 65536


def _tidy(folder: Path) -> None:
    """Workers that were killed could not do so themselves."""
    for name, age in _notes(folder):
        if age > _FORGOTTEN:
            with suppress(OSError):
                (folder / name).unlink()


def _said(endpoints: Collection[str]) -> bytes:
    said = "\n".join(endpoints).encode()
    return said if len(said) <= _LONGEST else b""
