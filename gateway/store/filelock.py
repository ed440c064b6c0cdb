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

    def _acquire_now(file: int) -> bool:
        os.lseek(file, 0, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _release(file: int) -> None:
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _acquire(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _acquire_now(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _release(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


class FileLock:
    """``with lock:`` around a write transaction. Blocks without limit; released by the system if its holder dies.

    One thread at a time may use one `FileLock`; several of the same path exclude each other.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: tuple[int, int] | None = None
        self._is_next = False

    def __enter__(self) -> FileLock:
        turn, lock = self._opened()
        _acquire(turn)
        try:
            _acquire(lock)
        finally:
            _release(turn)
        return self

    def enter_now(self) -> bool:
        """As ``__enter__``, but it never blocks. False: somebody has it. To be asked again, soon and often: meanwhile
        the place at the turnstile is kept, so that this one is the next."""
        turn, lock = self._opened()
        if not self._is_next:
            self._is_next = _acquire_now(turn)
        if not self._is_next or not _acquire_now(lock):
            return False
        self.step_back()
        return True

    def step_back(self) -> None:
        """Let others go first, after an `enter_now` that will not be asked again."""
        if self._files and self._is_next:
            self._is_next = False
            _release(self._files[0])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        if self._files:
            _release(self._files[1])

    def close(self) -> None:
        files, self._files = self._files or (), None
        self._is_next = False
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
