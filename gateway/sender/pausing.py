"""When nothing is sent: CarrierX cannot be reached, does not know us, wants fewer requests, answers errors only.

    unreachable, 401    1 s, 2 s, 4 s … 60 s
    429                 as long as CarrierX asks for, five minutes at most; else the same
    errors              after five in a row, the same

After each pause one send goes first; when it gets an answer, the others follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.sender.outcome import SubmitFault
from gateway.store import ledger
from gateway.store.health import BREAKER_REFRESH_SECONDS, BreakerState

FIRST, LONGEST = 1.0, 60.0
LONGEST_ASKED = 300.0
PATIENCE = 5
"""Errors in a row that may be about these messages alone."""


class CarrierXBreaker:
    """`steady`: seconds of the clock that nobody sets."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._until = self._wait = 0.0
        self._errors = 0
        self._reason = ""
        self._began = self._refresh_at = 0.0
        self._noted = "closed"

    @property
    def is_wary(self) -> bool:
        """Only one may leave: nobody knows yet whether it is over."""
        return bool(self._reason)

    def left(self, steady: float) -> float:
        """Seconds that it lasts."""
        return max(0.0, self._until - steady)

    def news(self, now: float, steady: float) -> tuple[BreakerState, ...]:
        """For people, as the breaker of an endpoint: what has changed since `noted`; now and then what has not."""
        state = "open" if self.left(steady) else "half_open" if self.is_wary else "closed"
        if state == self._noted and (state == "closed" or steady < self._refresh_at):
            return ()
        since, until = now - (steady - self._began), now + self.left(steady)
        return (
            BreakerState(
                endpoint=ledger.ENDPOINT,
                state=state,
                since=since,
                until=until,
                reason=self._reason,
                failures=self._errors,
            ),
        )

    def noted(self, states: Sequence[BreakerState], steady: float) -> None:
        """These are written down."""
        for one in states:
            self._noted, self._refresh_at = one.state, steady + BREAKER_REFRESH_SECONDS

    def met(self, trouble: SubmitFault, steady: float) -> None:
        if trouble.kind == "failing":
            self._errors += 1
            if self._errors < PATIENCE:
                return
        if steady >= self._until:  # else it is one of those that left before it began
            self._wait = min(LONGEST, max(FIRST, 2 * self._wait))
        asked = min(trouble.seconds or 0.0, LONGEST_ASKED)
        self._until = max(self._until, steady + (asked if trouble.kind == "throttled" and asked else self._wait))
        self._say(trouble, steady)

    def _say(self, trouble: SubmitFault, steady: float) -> None:
        if trouble.reason != self._reason:
            self._began = self._began if self._reason else steady
            self._reason = trouble.reason
            self._log.warning("sending_paused", why=trouble.kind, reason=trouble.reason)

    def answered(self) -> None:
        """CarrierX does its work."""
        if self._reason:
            self._log.info("sending_resumed")
        self._until = self._wait = 0.0
        self._errors, self._reason = 0, ""
