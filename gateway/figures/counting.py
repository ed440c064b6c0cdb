"""Counters and histograms of this process."""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from pathlib import Path

import structlog

from gateway.figures.families import FAMILIES
from gateway.figures.slots import WIDTH, Slot

VOID = WIDTH * max(family.cells for family in FAMILIES.values())
"""Bytes. Where figures go that have no place."""


class Cells:
    """Numbers, and the lock for each change of them: threads of one process count in the same ones."""

    __slots__ = ("turn", "view")

    def __init__(self, view: memoryview[float]) -> None:
        self.view = view
        self.turn = threading.Lock()


class Figures:
    """Opens its files when the first series is asked for: in the process that counts, not in one that forks it.

    Where there are none to be had (a full disk, a folder of somebody else) it counts into the void and says so once:
    figures are never a reason not to work.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._slot: Slot | None = None
        self._void = Cells(memoryview(bytearray(VOID)).cast("d"))
        self._cells = Cells(self._void.view)
        self._failed = False

    def series(self, name: str, **labels: str) -> Series:
        """A counter. To be kept by the caller: finding it costs far more than counting."""
        return Series(*self._place(name, labels))

    def histogram(self, name: str, **labels: str) -> Histogram:
        return Histogram(*self._place(name, labels), FAMILIES[name].bounds)

    def _place(self, name: str, labels: dict[str, str]) -> tuple[Cells, int]:
        with self._cells.turn:
            try:
                return self._found(spelled(name, labels), FAMILIES[name].cells)
            except OSError as error:
                if not self._failed:
                    structlog.get_logger().warning("figures_not_kept", reason=error.strerror or str(error))
                self._failed = True
                return self._void, 0

    def _found(self, series: str, cells: int) -> tuple[Cells, int]:
        if self._slot is None:
            if self._failed:
                return self._void, 0
            self._slot = Slot(self._folder)
            weakref.finalize(self, self._slot.close)
        at = self._slot.place(series, cells)
        self._cells.view = self._slot.cells  # a longer one perhaps
        return self._cells, at


class Series:
    """One counter."""

    __slots__ = ("_at", "_cells")

    def __init__(self, cells: Cells, at: int) -> None:
        self._cells, self._at = cells, at

    def inc(self, amount: float = 1.0) -> None:
        cells = self._cells
        with cells.turn:
            cells.view[self._at] += amount


class Histogram:
    """One histogram: in its cells the sum, then each bucket by itself."""

    __slots__ = ("_at", "_bounds", "_cells")

    def __init__(self, cells: Cells, at: int, bounds: tuple[float, ...]) -> None:
        self._cells, self._at, self._bounds = cells, at, bounds

    def observe(self, seconds: float) -> None:
        cells, at = self._cells, self._at
        bucket = at + 1 + bisect_left(self._bounds, seconds)
        with cells.turn:
            view = cells.view
            view[at] += seconds
            view[bucket] += 1.0


def spelled(name: str, labels: dict[str, str]) -> str:
    """``name{label="value"}``, as Prometheus writes it."""
    inside = ",".join(f'{label}="{escaped(value)}"' for label, value in labels.items())
    return f"{name}{{{inside}}}" if inside else name


def escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n").replace("\t", " ")
