"""One writer at a time on one SQLite file, among all threads and processes of a machine, first come first served.

SQLite's own waiting is a lottery of polling: with two busy processes the loser waits for more than a second. A lock of
the operating system wakes the one that waits. But its holder could take it again before the one that was woken runs, so
there is a second lock in front of it, the turn: whoever wants the lock first takes the turn, and gives it back as soon
as it has the lock.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _acquire(file: int) -> None:
        while not _try_acquire(file):  # Windows' own waiting sleeps a whole second between two looks
            time.sleep(0.002)

    def _try_acquire(file: int) -> bool:
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

    def _try_acquire(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _release(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


class FileLock:
    """``with lock:`` around a write transaction. Blocks without limit; the system releases it if its holder dies.

    One thread at a time may use one `FileLock`; several of the same path exclude each other.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: tuple[int, int] | None = None
        """The turn and the lock."""
        self._has_turn = False

    def __enter__(self) -> FileLock:
        turn, lock = self._files or self._open()
        _acquire(turn)
        try:
            _acquire(lock)
        finally:
            _release(turn)
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()

    def try_acquire(self) -> bool:
        """Takes the lock without blocking. False: somebody has it. Ask again, soon and often: meanwhile this one keeps
        its turn, so that it is the next."""
        turn, lock = self._files or self._open()
        if not self._has_turn:
            self._has_turn = _try_acquire(turn)
        if not self._has_turn or not _try_acquire(lock):
            return False
        self._has_turn = False
        _release(turn)
        return True

    def give_up_turn(self) -> None:
        """Lets others go first, after a `try_acquire` that will not be repeated."""
        if self._files and self._has_turn:
            self._has_turn = False
            _release(self._files[0])

    def release(self) -> None:
        if self._files:
            _release(self._files[1])

    def close(self) -> None:
        files, self._files = self._files or (), None
        self._has_turn = False
        for file in files:
            with contextlib.suppress(OSError):
                os.close(file)

    def _open(self) -> tuple[int, int]:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        turn = os.open(self._path.with_name(self._path.name + ".turn"), flags, 0o600)
        self._files = turn, os.open(self._path.with_name(self._path.name + ".lock"), flags, 0o600)
        return self._files
