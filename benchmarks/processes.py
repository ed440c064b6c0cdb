"""What processes cost, as Linux counts it under /proc: CPU seconds and resident memory of whole trees."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICK = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Process:
    """One process, its threads together."""

    pid: int
    parent: int
    cpu: float
    """Seconds, user and system."""
    command: tuple[str, ...]


def tree(pid: int) -> dict[int, Process]:
    """The process and all that descend from it. Empty when it is gone."""
    everybody = {one.pid: one for one in _everybody()}
    found = {pid: everybody[pid]} if pid in everybody else {}
    while more := {one.pid: one for one in everybody.values() if one.parent in found and one.pid not in found}:
        found |= more
    return found


def cpu(processes: Iterable[Process]) -> float:
    return sum(one.cpu for one in processes)


def resident(pids: Iterable[int]) -> float:
    """MB of VmRSS. Pages that processes share count for each of them."""
    return round(sum(_resident(pid) for pid in pids) / 1024, 1)


def busy() -> tuple[float, float]:
    """CPU seconds of the whole machine since it started: spent by anybody, and taken away by its host (steal)."""
    user, nice, system, _idle, _wait, irq, softirq, steal = (
        int(part) / _TICK for part in (_PROC / "stat").read_text().splitlines()[0].split()[1:9]
    )
    return user + nice + system + irq + softirq, steal


def _everybody() -> list[Process]:
    found = (_process(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [one for one in found if one is not None]


def _process(pid: int) -> Process | None:
    try:
        # Its name stands in brackets and may hold spaces and brackets itself.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        command = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    words = tuple(word.decode(errors="replace") for word in command.split(b"\0") if word)
    return Process(pid, int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICK, words)


def _resident(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
