"""What is counted of deliveries. The worker says it to whoever wants to know, as it happens."""

from __future__ import annotations

from typing import Protocol


class Tally(Protocol):
    """Called in the worker's thread, in the midst of its work: quick, and never raising.

    An endpoint that nobody configured is a URL, as it came with a request, or its origin: there may be any number.
    """

    def attempt(self, endpoint: str, outcome: str, seconds: float, since_owed: float) -> None:
        """An attempt ended: ``succeeded``, ``again`` or ``dead``, `seconds` after it began.

        `since_owed`: seconds from the moment at which it was owed to the attempt's end.
        """

    def breaker(self, endpoint: str, state: str) -> None:
        """It became ``closed``, ``open``, ``half_open`` or ``ramp``."""


class Nobody:
    """Counts nothing."""

    def attempt(self, endpoint: str, outcome: str, seconds: float, since_owed: float) -> None:
        pass

    def breaker(self, endpoint: str, state: str) -> None:
        pass
