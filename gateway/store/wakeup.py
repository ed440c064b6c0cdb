"""Wakes waiting workers as soon as something is owed; without it they would notice at their next scan of the store.

On one machine the web half sends a datagram to the loopback address, on every operating system alike. Every worker on a
data folder has an empty file there, ``workers/<port>``: its name says where to send, the time at which it was last
touched that a worker listens. So any number of workers may come and go, and one that was killed is forgotten.

On several machines, with PostgreSQL, an operation that owes marks the endpoints on its connection, and once it is
committed, they are sent (``pg_notify``) over another connection. Within the transaction PostgreSQL would let commits
that notify pass one by one, each with its sync and its wait for the standby: 200 a second instead of 800, measured.

Both name endpoints and nothing else: whoever sends them, a worker only looks into the outbox. Nothing depends on them:
one that is lost costs no more than the wait for the next scan.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, Engine

from gateway.config import make_private

HOST = "127.0.0.1"
FOLDER_NAME = "workers"
TOUCH_SECONDS = 3.0  # after this time a worker touches its file again
GONE_SECONDS = 15.0  # a worker whose file was not touched for this time is not notified any more
_FORGOTTEN_SECONDS = 60.0  # after this time its file is deleted; if the worker only slept, it makes another
_LOOK_SECONDS = 1.0  # between two checks of which workers listen
_MAX_DATAGRAM_BYTES = 8192  # loopback takes as many in one piece everywhere
_MAX_DATAGRAMS = 1000

CHANNEL = "sms_gateway_owed"
MAX_NOTICE_BYTES = 7000  # PostgreSQL takes no 8,000
_RECONNECT_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)  # pause before the first, second … attempt to connect again
_CLOSE_CHECK_SECONDS = 1.0  # between two looks whether the listener is to end
_NOTIFY = f"SELECT pg_notify('{CHANNEL}', %s)"
_MARKED = "endpoints that something is owed to"


class WakeupSocket:
    """A worker's end: a socket to wait on, whose port is written down for those who notify."""

    def __init__(self, data: Path) -> None:
        # With PostgreSQL, and keys in the configuration itself, nobody else has made the folder.
        make_private(data)
        folder = data / FOLDER_NAME
        make_private(folder)
        for port, age in _workers(folder):
            if age > _FORGOTTEN_SECONDS:  # it was killed, and could not delete its file
                with suppress(OSError):
                    (folder / str(port)).unlink()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((HOST, 0))
        self._file = folder / str(self.socket.getsockname()[1])
        self._touch()
        self._touch_at = time.monotonic() + TOUCH_SECONDS

    def refresh(self, monotonic: float) -> None:
        """Tells that this worker listens. To be called every few seconds, or nobody notifies it."""
        if monotonic >= self._touch_at:
            self._touch_at = monotonic + TOUCH_SECONDS
            with suppress(OSError):  # a full disk, say: the worker scans by itself
                self._touch()

    def _touch(self) -> None:
        self._file.touch(mode=0o600)
        # By this machine's clock, which those who notify go by too; a file server may have another.
        now = time.time()
        os.utime(self._file, (now, now))

    def drain(self) -> set[str]:
        """Receives what was sent so far: names of endpoints; the empty one stands for all of them."""
        names: set[str] = set()
        # Bounded: somebody who sends all the time must not keep the worker here.
        for _ in range(_MAX_DATAGRAMS):
            try:
                datagram = self.socket.recv(_MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                break
            except OSError:  # Windows: the datagram is longer, or an earlier one of ours reached nobody
                datagram = b""
            names.update(datagram.decode("utf-8", "replace").split("\n"))
        return names

    def close(self) -> None:
        with suppress(OSError):
            self._file.unlink()
        self.socket.close()


class WorkerNotifier:
    """The sender's end. Notifies workers that may not be there, may have moved, and are never waited for."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER_NAME
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        # It lives as long as the application that notifies, which nobody closes.
        self.close = weakref.finalize(self, self._socket.close)
        self._later: set[str] = set()
        self._ports: list[int] = []
        self._looked_at = -_LOOK_SECONDS

    def notify(self, endpoints: Collection[str] = ()) -> None:
        """Tells workers that something is owed to these endpoints, or, where none is named, to any."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            self._ports = [port for port, age in _workers(self._folder) if age < GONE_SECONDS]
        if self._ports:
            names = "\n".join(endpoints).encode()
            for port in self._ports:
                with suppress(OSError):  # no worker there, or its buffer is full of datagrams: it scans by itself
                    self._socket.sendto(names if len(names) <= _MAX_DATAGRAM_BYTES else b"", (HOST, port))

    def notify_later(self, endpoints: Collection[str], call_later: Callable[[Callable[[], None]], object]) -> None:
        """Notifies once, of all that is named before `call_later` calls what it is given."""

        def notify() -> None:
            later, self._later = self._later, set()
            self.notify(later)

        if not self._later:
            call_later(notify)
        self._later.update(endpoints)


def _workers(folder: Path) -> list[tuple[int, float]]:
    """Returns the port of every worker that has a file there, and the seconds since it was touched."""
    workers, now = [], time.time()
    with suppress(OSError), os.scandir(folder) as files:
        for file in files:
            name = file.name
            if name.isascii() and name.isdigit() and len(name) <= 5 and 0 < int(name) < 65536:
                with suppress(OSError):  # deleted meanwhile
                    # `DirEntry.stat` may be late on Windows. Touched in the future: the clock was set back.
                    workers.append((int(name), abs(now - os.stat(file.path).st_mtime)))
    return workers


def mark_due(conn: Connection, endpoints: Iterable[str]) -> None:
    """Marks endpoints that something becomes due for. SQLite is on one machine, where a datagram does."""
    if conn.dialect.name == "postgresql":
        conn.info.setdefault(_MARKED, set()).update(endpoints)


def take_marked(conn: Connection) -> set[str]:
    """Returns the endpoints marked since the last time: to be sent after a commit, to be forgotten otherwise."""
    marked: set[str] = conn.info.pop(_MARKED, set())
    return marked


class PgNotifier:
    """Notifies all machines. For one thread; what it cannot send is dropped."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._conn: Any = None

    def notify(self, endpoints: Iterable[str]) -> None:
        names = "\n".join(sorted(endpoints))
        try:
            if self._conn is None:
                self._conn = _own_connection(self._engine)
                self._conn.execute("SET synchronous_commit = off")  # nothing of a notice is on any disk
            self._conn.execute(_NOTIFY, (names if len(names.encode()) <= MAX_NOTICE_BYTES else "",))
        except Exception as error:  # whatever it is, the workers scan by themselves
            structlog.get_logger(__name__).warning("notify_failed", reason=type(error).__name__)
            self.close()

    def close(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with suppress(Exception):
                conn.close()


class PgListener:
    """A thread with a connection of its own. It calls `notify` with names of endpoints; the empty one means all."""

    def __init__(self, engine: Engine, notify: Callable[[Iterable[str]], object]) -> None:
        self._engine, self._notify = engine, notify
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store-listener", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 0.0) -> None:
        """Asks the thread to end, and waits for it that long. By default not at all: nothing depends on it."""
        self._closing.set()
        if timeout:
            self._thread.join(timeout)

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                with closing(_own_connection(self._engine)) as conn:
                    conn.execute(f"LISTEN {CHANNEL}")
                    self._notify(("",))  # whatever was owed while nobody listened
                    failures = 0
                    while not self._closing.is_set():
                        for notice in conn.notifies(timeout=_CLOSE_CHECK_SECONDS):
                            self._notify(notice.payload.split("\n"))
            except Exception as error:  # whatever it is, the worker scans by itself
                structlog.get_logger(__name__).warning("listening_interrupted", reason=type(error).__name__)
            self._closing.wait(_RECONNECT_SECONDS[min(failures, len(_RECONNECT_SECONDS) - 1)])
            failures += 1


def _own_connection(engine: Engine) -> Any:
    """Returns a connection that never goes back to the pool: with what it is set to, it is none for others."""
    pooled = engine.raw_connection()
    conn: Any = pooled.dbapi_connection
    pooled.detach()
    conn.autocommit = True
    return conn
