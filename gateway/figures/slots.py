"""One process's figures in two files: names, one a line, and numbers, eight bytes each, mapped into memory.

A slot belongs to the process that holds its lock; the system lets go of it when that one ends, however it ends, and
the next process takes the slot over with what was counted. Files only ever grow, up to the number of series.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from array import array
from pathlib import Path

WIDTH = 8
FIRST = 8192
"""Numbers that a new slot has room for; doubled when they are used up."""
MOST_SLOTS = 256

Merged = dict[str, list[float]]
"""Series, as ``name{label="value"}`` → its numbers: see `Family.cells`."""

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try_lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def folder_of(data: Path) -> Path:
    return data / "figures"


class Slot:
    """Where one process counts. Raises OSError where there is no room for it, or no right to it.

    `cells` is replaced by a longer view of the same numbers when it grows: to be read anew for each use.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock, base = _take(folder)
        try:
            self._names = os.open(_names(base), os.O_RDWR | os.O_CREAT | _BINARY, 0o600)
            self._numbers = os.open(_numbers(base), os.O_RDWR | os.O_CREAT | _BINARY, 0o600)
            self._known, self._used = self._read()
            self._map(max(FIRST, self._used))
        except BaseException:
            os.close(self._lock)
            raise

    def _read(self) -> tuple[dict[str, int], int]:
        """What an earlier process counted here. A last line that it did not finish is none."""
        raw = os.read(self._names, os.fstat(self._names).st_size)
        whole = raw[: raw.rfind(b"\n") + 1]
        os.ftruncate(self._names, len(whole))
        os.lseek(self._names, len(whole), os.SEEK_SET)
        known, used = {}, 0
        for name, count in _lines(whole):
            known[name] = used
            used += count
        return known, used

    def _map(self, size: int) -> None:
        """Zeros are written, not left out: a page without a block on a full disk would end the process by SIGBUS."""
        there = os.fstat(self._numbers).st_size
        wanted = size * WIDTH
        if there < wanted:
            os.lseek(self._numbers, there, os.SEEK_SET)
            _write(self._numbers, bytes(wanted - there))
        self._mapped = mmap.mmap(self._numbers, max(there, wanted) // WIDTH * WIDTH)
        self.cells = memoryview(self._mapped).cast("d")

    def place(self, name: str, count: int) -> int:
        """Where the series' numbers stand in `cells`, which may be replaced. Raises OSError where there is no room."""
        at = self._known.get(name)
        if at is None:
            if self._used + count > len(self.cells):
                self._map(2 * len(self.cells))
            self._name(f"{name}\t{count}\n".encode())
            at = self._known[name] = self._used
            self._used += count
        return at

    def _name(self, line: bytes) -> None:
        end = os.lseek(self._names, 0, os.SEEK_END)
        try:
            _write(self._names, line)
        except OSError:  # half a line would spoil the next one
            os.ftruncate(self._names, end)
            raise

    def close(self) -> None:
        for file in (self._names, self._numbers, self._lock):
            with contextlib.suppress(OSError):
                os.close(file)


def merged(folder: Path) -> Merged:
    """The numbers of every process, added up. What is being counted this very moment may or may not be in them."""
    found: Merged = {}
    for names in sorted(folder.glob("*.names")):
        with contextlib.suppress(OSError):  # forgotten meanwhile
            _add(found, names.read_bytes(), names.with_suffix(".numbers").read_bytes())
    return found


def forget(folder: Path) -> None:
    """Drops what processes counted that run no longer: when the whole gateway starts, and counts from zero."""
    for lock in folder.glob("*.lock"):
        with contextlib.suppress(OSError):
            file = os.open(lock, os.O_RDWR)
            try:
                _try_lock(file)
                _names(lock).unlink(missing_ok=True)
                _numbers(lock).unlink(missing_ok=True)
            finally:
                os.close(file)


def _add(found: Merged, names: bytes, raw: bytes) -> None:
    numbers = array("d")
    numbers.frombytes(raw[: len(raw) // WIDTH * WIDTH])
    at = 0
    for name, count in _lines(names[: names.rfind(b"\n") + 1]):
        here = numbers[at : at + count].tolist()
        before = found.get(name)
        if len(here) == count:
            found[name] = here if before is None else [a + b for a, b in zip(before, here, strict=False)]
        at += count


def _lines(whole: bytes) -> list[tuple[str, int]]:
    pairs = (line.rpartition("\t") for line in whole.decode().split("\n")[:-1])
    return [(name, int(count)) for name, _, count in pairs]


def _take(folder: Path) -> tuple[int, Path]:
    """The first slot that nobody holds."""
    for number in range(MOST_SLOTS):
        lock = folder / f"{number}.lock"
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _try_lock(file)
            return file, lock
        except OSError:
            os.close(file)
    raise OSError(f"{MOST_SLOTS} processes count here already")


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _names(base: Path) -> Path:
    return base.with_suffix(".names")


def _numbers(base: Path) -> Path:
    return base.with_suffix(".numbers")


_BINARY = getattr(os, "O_BINARY", 0)
