"""The facts of the machine without which no figure means anything."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("flask", "granian", "marshmallow", "sqlalchemy", "pycurl", "requests")
_IN_MEMORY = ("tmpfs", "ramfs", "overlay")
_SYNCS = 200


def facts(disk: Path) -> dict[str, object]:
    """What stands below the table; `disk` is the folder that holds the store."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2,
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "file_system": file_system(disk),
        "sync_us": sync_us(disk),
        "load_average": round(os.getloadavg()[0], 2),
    }


def disk() -> Path:
    """A folder on a real disk: on a file system in memory a sync costs nothing and proves nothing."""
    places = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]
    return next((place for place in places if file_system(place) not in _IN_MEMORY), places[0])


def file_system(place: Path) -> str:
    """``ext4``, ``tmpfs``, …: of the longest mount point above `place`."""
    whole = place.resolve()
    mounts = (line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines())
    above = [(where, kind) for where, kind in mounts if whole.is_relative_to(where)]
    return max(above, key=lambda mount: len(mount[0]), default=("/", "unknown"))[1]


def sync_us(folder: Path) -> float:
    """Median microseconds of an fdatasync behind 4 KB: what one durable commit costs at least."""
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        took = [_sync(file.fileno()) for _turn in range(_SYNCS)]
    return round(statistics.median(took) * 1e6, 1)


def _sync(number: int) -> float:
    os.write(number, bytes(4096))
    started = time.perf_counter()
    os.fdatasync(number)
    return time.perf_counter() - started


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"
