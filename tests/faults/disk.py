"""Room on a disk, taken away and given back: a small file system of our own, or a quota where none can be mounted."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIZE = 160 * 2**20


class Tmpfs:
    """Mounted for the test alone; only root can."""

    kind = "tmpfs"

    def __init__(self, folder: Path) -> None:
        self._folder, self._filler = folder, folder / "filler"

    def fill(self, pids: list[int], leave: int = 0) -> None:
        """`leave`: bytes that stay free. Whoever writes at the same moment may take them, too."""
        with self._filler.open("ab") as filler:
            while (room := shutil.disk_usage(self._folder).free - leave) > 0:
                with suppress(OSError):  # somebody was quicker: measured again
                    os.posix_fallocate(filler.fileno(), filler.seek(0, os.SEEK_END), room)

    def free(self, pids: list[int]) -> None:
        self._filler.unlink()


class Quota:
    """No file may grow beyond a few pages: what a process writes to its files comes back as an error."""

    kind = "quota"

    def fill(self, pids: list[int], leave: int = 0) -> None:
        self._limit(pids, 4096)

    def free(self, pids: list[int]) -> None:
        self._limit(pids, resource.RLIM_INFINITY)

    def _limit(self, pids: list[int], most: int) -> None:
        for pid in pids:
            hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, hard))


@contextmanager
def small_disk(folder: Path) -> Iterator[Tmpfs | Quota]:
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        yield Quota()
        return
    try:
        yield Tmpfs(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
