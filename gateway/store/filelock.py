"""One writer at a time on one SQLite file, among all threads and processes of a machine, first come first served.

SQLite's own waiting is a polled lottery: with two busy processes the loser waits for more than a second. An
operating-system lock wakes the one who waits; and as a lock alone lets its holder take it again before the one who
was woken has got up, there is a turnstile in front: to come again one must first pass those who wait there.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from types import TracebackType

if sys.platform == "win32":
    import msvcrt

    def _acquire(file: int) -> None:
        while True:
            os.lseek(file, 0, os.SEEK_SET)
            try:
                return msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            except OSError:  # held by another; Windows' own waiting sleeps a whole second between two looks
                time.sleep(0.002)

    def _release(file: int) -> None:
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _acquire(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _release(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


class FileLock:
    """``with lock:`` around a write transaction. Blocks without limit; released by the system if its holder dies.

    One thread at a time may use one `FileLock`; several of the same path exclude each other.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: tuple[int, int] | None = None

    def __enter__(self) -> FileLock:
        turn, lock = self._opened()
        _acquire(turn)
        try:
            _acquire(lock)
        finally:
            _release(turn)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._files:
            _release(self._files[1])

    def close(self) -> None:
        files, self._files = self._files or (), None
        for file in files:
            with contextlib.suppress(OSError):
                os.close(file)

    def _opened(self) -> tuple[int, int]:
        if self._files is None:
            turn = _open(self._path.with_name(self._path.name + ".turn"))
            self._files = turn, _open(self._path.with_name(self._path.name + ".lock"))
        return self._files


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
