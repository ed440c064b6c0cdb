"""Requests side by side, each in a thread of its own, and what they came to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue

from gateway.sender.outcome import Core, Submission, SubmissionResult, SubmitContext
from gateway.sender.submit import FLIGHT, SLACK, not_started, submit

LOOK = 20.0
"""Seconds after which no further page of the listing is asked for."""
RENEWAL = 10.0
"""Seconds after which the lease of what is still in flight is taken anew."""
MOST_DOUBTS = 10_000


@dataclass(slots=True)
class _Flight:
    departure: Submission
    began: float
    renewed: float


class SubmitPool:
    """What is in the air. Steady times are those of the clock that nobody sets; it is one thread's, but for `wake`."""

    def __init__(
        self, clock: Callable[[], float], dice: Callable[[], float], is_known: Callable[[str, str], bool]
    ) -> None:
        self._clock, self._dice, self._is_known = clock, dice, is_known
        self._flights: dict[tuple[int, int], _Flight] = {}
        self._doubts: dict[tuple[str, float], float] = {}
        self._back: SimpleQueue[SubmissionResult | None] = SimpleQueue()

    def __len__(self) -> int:
        """How many there are; what hangs for ever takes nobody's place."""
        return len(self._young(time.monotonic()))

    @property
    def known(self) -> set[int]:
        """Deliveries that are in the air."""
        return {one.departure.claimed.id for one in self._flights.values()}

    def to_hold(self, steady: float, step: float) -> list[Submission]:
        """Those whose leases are to be taken anew; all, where the clock on the wall was set by `step` seconds."""
        return [one.departure for one in self._young(steady) if step or steady - one.renewed > RENEWAL]

    def were_held(self, held: Sequence[Submission], steady: float) -> None:
        """As of then."""
        for one in held:
            flight = self._flights.get(one.claimed.attempt_id)
            if flight is not None:
                flight.renewed = steady

    def _young(self, steady: float) -> list[_Flight]:
        return [one for one in self._flights.values() if steady - one.began < FLIGHT]

    def wake(self) -> None:
        """From any thread, or a signal handler."""
        self._back.put(None)

    def take(self, patience: float) -> tuple[list[SubmissionResult], bool]:
        """What came back, waiting for it if need be; and whether somebody woke us."""
        came, woken = [], False
        try:
            one = self._back.get(timeout=patience) if patience > 0 else self._back.get_nowait()
            while True:
                woken = woken or one is None
                came += [one] if one is not None else []
                one = self._back.get_nowait()
        except Empty:
            pass
        for each in came:
            self._landed(each)
        return came, woken

    def _landed(self, one: SubmissionResult) -> None:
        self._flights.pop(one.departure.claimed.attempt_id, None)
        if one.word == "doubt":
            self._see(one.departure.claimed.delivery_id, one.at)
        elif one.word != "same":
            self._doubts.pop((one.departure.claimed.delivery_id, one.departure.uncertain_until), None)

    def start(self, departure: Submission, core: Core, claimed_at: float, wall: float) -> None:
        """`claimed_at`, `wall`: steady and epoch seconds at which its claim began."""
        steady, send_id = time.monotonic(), departure.claimed.delivery_id
        self._flights[departure.claimed.attempt_id] = _Flight(departure, steady, claimed_at)
        if departure.plan == "look up":
            self._see(send_id, departure.uncertain_until)
        world = SubmitContext(
            clock=self._clock,
            dice=self._dice,
            is_late=lambda: max(time.monotonic() - claimed_at, abs(self._clock() - wall)) > SLACK,
            is_over=lambda: time.monotonic() - steady > LOOK,
            remaining=partial(self._remaining, departure),
            is_known=partial(self._is_known, send_id),
        )
        try:
            threading.Thread(target=self._fly, args=(departure, core, world), name="send", daemon=True).start()
        except RuntimeError:  # no more threads
            self._back.put(not_started(departure, world))

    def _fly(self, departure: Submission, core: Core, world: SubmitContext) -> None:
        began = time.monotonic()
        came = submit(departure, core, world)
        self._back.put(replace(came, seconds=time.monotonic() - began))

    def _see(self, send_id: str, uncertain_until: float) -> None:
        if len(self._doubts) >= MOST_DOUBTS:  # it is seen anew then, that is all
            self._doubts.pop(next(iter(self._doubts)))
        self._doubts.setdefault((send_id, uncertain_until), time.monotonic())

    def _remaining(self, departure: Submission) -> float:
        """Called in the threads. Doubts may have been seen later than they arose, never earlier."""
        send_id, doubt, steady = departure.claimed.delivery_id, departure.carrierx.doubt, time.monotonic()
        in_the_air = [one.departure for one in list(self._flights.values()) if one.departure.plan == "post"]
        if any(one.claimed.delivery_id == send_id for one in in_the_air):
            return doubt
        return max(0.0, self._doubts.get((send_id, departure.uncertain_until), steady) + doubt - steady)
