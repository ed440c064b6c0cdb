"""How often, and how many at once: counted in this process's memory, by the very engine of Flask-Limiter.

Flask-Limiter itself hangs three functions on every request, callbacks of the platforms too; only
a few pages of the console have anything to count, so they ask here.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network

import limits
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from werkzeug.exceptions import TooManyRequests

GUESSES_PER_MINUTE = limits.parse("10/minute")
"""Wrong passwords (form, one-click link, HTTP Basic) from one address."""
TEST_POSTS_PER_MINUTE = limits.parse("120/minute")
"""Test posts of one user: enough for a script that walks through its cases, no use as a port scanner."""


def caller_key(address: str | None) -> str:
    """What counts as one caller: an IPv4 address, or the /64 in which an IPv6 host can choose its own."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return address or ""
    if found.version == 4:
        return str(found)
    return str(found.ipv4_mapped or ip_network((found.packed[:8] + bytes(8), 64)))


class RateLimits:
    """Made once for an application, shared by its threads."""

    def __init__(self) -> None:
        self._windows = MovingWindowRateLimiter(MemoryStorage())
        self._busy: set[str] = set()
        self._turn = threading.Lock()

    def check(self, rate: limits.RateLimitItem, who: str) -> None:
        """429 with `Retry-After` if `who` did it too often already. Counts nothing."""
        if not self._windows.test(rate, who):
            raise self._too_many(rate, who)

    def count(self, rate: limits.RateLimitItem, who: str) -> None:
        """`who` does it once more; 429 with `Retry-After` if that is too often."""
        if not self._windows.hit(rate, who):
            raise self._too_many(rate, who)

    def _too_many(self, rate: limits.RateLimitItem, who: str) -> TooManyRequests:
        free_at = self._windows.get_window_stats(rate, who).reset_time
        wait = max(1, math.ceil(free_at - time.time()))
        return TooManyRequests(f"Too many of these; try again in {wait} s.", retry_after=wait)

    @contextmanager
    def alone(self, who: str) -> Iterator[bool]:
        """Gives False if `who` is at it already; holds nobody up."""
        with self._turn:
            free = who not in self._busy
            self._busy.add(who)
        try:
            yield free
        finally:
            if free:
                with self._turn:
                    self._busy.discard(who)
