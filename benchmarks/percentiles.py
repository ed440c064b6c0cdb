"""Latencies in four figures: milliseconds, by nearest rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds; all 0 where `count` is 0."""

    count: int = 0
    p50: float = 0.0
    p99: float = 0.0
    worst: float = 0.0


def latency(nanoseconds: Sequence[int]) -> Latency:
    """Of measured nanoseconds in any order."""
    if not nanoseconds:
        return Latency()
    ordered = sorted(nanoseconds)
    p50, p99 = (ordered[max(0, math.ceil(share * len(ordered)) - 1)] for share in (0.50, 0.99))
    return Latency(len(ordered), _ms(p50), _ms(p99), _ms(ordered[-1]))


def _ms(nanoseconds: int) -> float:
    return round(nanoseconds / 1e6, 3)
