"""What was answered 200 against what arrived.

Every text carries its id in its words, so that it is known again in any format. Whoever sends writes down what was
answered, every endpoint writes down what arrived; at the end the two must balance, with the store between them.
"""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise

SID = re.compile(rb"sid-[0-9a-f]{32}")
UNSETTLED = 2.0
"""Seconds before a fault in which an arrival may not have been settled yet, on a busy machine."""
ON_ITS_WAY = 0.5
"""Seconds that a request may take from a process that is no more to an endpoint that has just found time to read."""
RELEASED = 3
"""The attempt from which on a delivery no longer holds up those behind it."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a delivery at an endpoint. `taken`: it was answered as a success, or would have been."""

    sid: str
    endpoint: str
    delivery_id: str
    attempt: int
    at: float
    taken: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `doubled`: texts that an endpoint had taken, and that came once more."""

    fault: str
    accepted: int
    delivered: int
    owed: int
    dead: int
    lost: int
    doubled: int
    later: int
    """Callbacks that were answered 503."""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class Ledger:
    """Written by many threads; read when they have ended."""

    def __init__(self) -> None:
        self.accepted: dict[str, str] = {}
        """Its ordering key, by sid, in the order in which the 200s came."""
        self.unanswered: set[str] = set()
        """Sent, and nobody said what became of it: it may arrive."""
        self.later = 0
        self.wrong: list[str] = []
        """Answers that no platform should ever get."""
        self.arrivals: list[Arrival] = []
        self.faults: list[tuple[float, float]] = []
        self._lock = threading.Lock()

    def accept(self, sid: str, ordering_key: str) -> None:
        with self._lock:
            self.accepted[sid] = ordering_key

    def not_answered(self, sid: str) -> None:
        with self._lock:
            self.unanswered.add(sid)

    def put_off(self, retry_after: str | None) -> None:
        with self._lock:
            self.later += 1
            if not (retry_after or "").isdigit():
                self.wrong.append(f"503 with Retry-After {retry_after!r}")

    def answered_wrongly(self, what: str) -> None:
        with self._lock:
            self.wrong.append(what)

    def arrive(self, arrival: Arrival) -> None:
        with self._lock:
            self.arrivals.append(arrival)

    @contextmanager
    def fault(self) -> Iterator[None]:
        """Around something that cuts attempts off; only there may an endpoint get anything twice."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.faults.append((begun, time.monotonic()))

    @property
    def taken(self) -> set[str]:
        with self._lock:
            return {arrival.sid for arrival in self.arrivals if arrival.taken}

    def missing(self) -> set[str]:
        """Accepted, and not yet taken by any endpoint."""
        taken = self.taken
        with self._lock:
            return set(self.accepted) - taken

    def balance(self, fault: str, owed: Collection[str], dead: Collection[str]) -> tuple[Row, list[str]]:
        """The line for the table, and all that is wrong. `owed`, `dead`: the sids that stand so in the store."""
        missing = self.missing()
        lost = missing - set(owed) - set(dead)
        row = Row(
            fault=fault,
            accepted=len(self.accepted),
            delivered=len(self.accepted) - len(missing),
            owed=len(missing & set(owed)),
            dead=len(missing & set(dead)),
            lost=len(lost),
            doubled=len({one.sid for one, _ in self._again() if one.taken}),
            later=self.later,
        )
        wrong = [f"lost: {sid}" for sid in sorted(lost)]
        return row, wrong + self.wrong + self._wrongly_again() + self._out_of_order() + self._strangers()

    def _by_sid(self) -> dict[tuple[str, str], list[Arrival]]:
        found: dict[tuple[str, str], list[Arrival]] = defaultdict(list)
        for arrival in sorted(self.arrivals, key=lambda one: one.at):
            found[arrival.sid, arrival.endpoint].append(arrival)
        return found

    def _again(self) -> Iterator[tuple[Arrival, Arrival]]:
        for arrivals in self._by_sid().values():
            yield from pairwise(arrivals)

    def _wrongly_again(self) -> list[str]:
        wrong = []
        for one, two in self._again():
            # A connection that was closed at use is no attempt of its own: the same bytes go out once more.
            higher = two.attempt > one.attempt or (two.attempt == one.attempt and not one.taken)
            if one.delivery_id != two.delivery_id or not higher:
                wrong.append(f"not the same delivery, one attempt later: {one}, {two}")
            if one.taken and not self._cut_off(one):
                wrong.append(f"came again although no fault cut it off: {one}, {two}")
        return wrong

    def _cut_off(self, arrival: Arrival) -> bool:
        return any(begun - UNSETTLED <= arrival.at <= ended + ON_ITS_WAY for begun, ended in self.faults)

    def _out_of_order(self) -> list[str]:
        by_sid = self._by_sid()
        endpoints = {endpoint for _, endpoint in by_sid}
        by_ordering_key: dict[tuple[str, str], list[list[Arrival]]] = defaultdict(list)
        for sid, ordering_key in self.accepted.items():
            for endpoint in endpoints:
                if (sid, endpoint) in by_sid:
                    by_ordering_key[ordering_key, endpoint].append(by_sid[sid, endpoint])
        return [complaint for where, each in by_ordering_key.items() for complaint in _overtaken(where, each)]

    def _strangers(self) -> list[str]:
        known = set(self.accepted) | self.unanswered
        return [f"never sent, or refused: {arrival}" for arrival in self.arrivals if arrival.sid not in known]


def _overtaken(ordering_key: tuple[str, str], each: list[list[Arrival]]) -> Iterator[str]:
    """`each`: the arrivals of each text of an ordering key, in the order accepted. The next begins when the last has
    ended."""
    before: Arrival | None = None
    for arrivals in each:
        first, last = arrivals[0], arrivals[-1]
        if before is not None and before.at > first.at:
            yield f"out of order in {ordering_key}: {before} after {first}"
        if last.attempt < RELEASED and (before is None or last.at > before.at):
            before = last
