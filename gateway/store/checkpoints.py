"""SQLite's log is folded into the file beside the writer, not by it: the commit that did it took a tenth of a second.

Both may do it, and in several processes; SQLite lets one at a time. The writer still does it where the log has grown
long: there is always a moment then at which the log can begin anew, which this thread may never meet under load.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable

EVERY = 0.25
"""Seconds from a commit to the folding: pages that change all the time are folded once for many commits."""


class Checkpoints:
    """`connect` makes a connection for this alone, to the file of that `identity`: another one may take its place.

    The thread begins with the first commit, and sleeps without any.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], identity: Callable[[], object]) -> None:
        self._connect = connect
        self._identity = identity
        self._file: object = None
        self._conn: sqlite3.Connection | None = None
        self._committed = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def committed(self, _conn: object = None) -> None:
        """The log has grown."""
        if self._thread is None and not self._closing.is_set():
            self._thread = threading.Thread(target=self._run, name="store-checkpoints", daemon=True)
            self._thread.start()
        self._committed.set()

    def close(self) -> None:
        self._closing.set()
        self._committed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._committed.wait()
            self._closing.wait(EVERY)
            self._committed.clear()
            if not self._closing.is_set():
                self._fold()
        self._drop()

    def _fold(self) -> None:
        """What hinders it hinders the writer, too, and is told there."""
        try:
            if self._conn is None or self._identity() != self._file:
                self._drop()
                self._file, self._conn = self._identity(), self._connect()
            self._conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            self._drop()

    def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(sqlite3.Error):
                conn.close()
