"""Whether the clock on the wall was set: it has gone another way than the one that only ever goes forward. Pure."""

from __future__ import annotations

TOLERANCE_SECONDS = 2.0
"""Seconds between two looks; slower corrections do no harm."""


class ClockJumpDetector:
    """`wall`: epoch seconds; `steady`: seconds of a clock that nobody sets."""

    def __init__(self, wall: float, steady: float) -> None:
        self._wall, self._steady = wall, steady

    def step(self, wall: float, steady: float) -> float:
        """Seconds by which it was set since the last look: forward, negative backward, 0.0 not at all."""
        expected = self._wall + (steady - self._steady)
        self._wall, self._steady = wall, steady
        return wall - expected if abs(wall - expected) > TOLERANCE_SECONDS else 0.0
