"""The faults of the stand-in: how often each happens, and which of them a request gets.

Pure: random numbers are an argument, so the same seed gives the same faults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import compress
from typing import Any

from gateway.sandbox.carrierx.scenarios import FAULTS_AFTER, FAULTS_BEFORE, Scenario

Random = Callable[[], float]
"""Gives a number from 0 up to, but not including, 1."""
UPDATE_FAULTS = ("duplicate", "late", "out_of_order")
ANSWERS = (*FAULTS_BEFORE, *FAULTS_AFTER)
READ_ANSWERS = ("conflict", "too_many", "error_before", "lost_before", "broken_json")
CUTS = ("close", "reset", "half")
"""How an answer is lost: the connection is closed, is reset, or is closed in the middle of the answer."""


def _probability(meaning: str) -> Any:
    return field(default=0.0, metadata={"meaning": meaning})


@dataclass(frozen=True, slots=True, kw_only=True)
class Misbehaviour:
    """Probabilities from 0 to 1. A request gets one fault in its answer at most, so these are 1 at most together."""

    seed: int = 1
    conflict: float = _probability("409, not accepted.")
    too_many: float = _probability("429 with Retry-After, not accepted.")
    error_before: float = _probability("500, not accepted.")
    lost_before: float = _probability("no answer, not accepted.")
    error_after: float = _probability("500, though accepted.")
    lost_after: float = _probability("no answer, half of one or a reset, though accepted.")
    broken_json: float = _probability("200 with broken JSON, though accepted.")
    slow: float = _probability("an answer that takes 2 seconds.")
    reads: float = _probability("a GET or PATCH gets one of 409, 429, 500, no answer, broken JSON.")
    duplicate: float = _probability("an update comes twice.")
    late: float = _probability("an update, with those behind it, comes 2 seconds late.")
    out_of_order: float = _probability("an update comes after the one behind it.")
    early: float = _probability("updates, from the first to all of them, come before the answer.")
    slow_for: float = 2.0
    late_by: float = 2.0
    """Seconds, like `slow_for`."""
    retry_after: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError, with a sentence."""
        for name in PROBABILITIES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: a probability is from 0 to 1.")
        if sum(getattr(self, name) for name in ANSWERS) > 1:
            raise ValueError(f"{', '.join(ANSWERS)}: together at most 1.")
        if self.slow_for < 0 or self.late_by < 0 or self.retry_after < 0:
            raise ValueError("slow_for, late_by, retry_after: not below 0.")


NAMES = tuple(setting.name for setting in fields(Misbehaviour))
PROBABILITIES = {setting.name: setting.metadata["meaning"] for setting in fields(Misbehaviour) if setting.metadata}
"""Names of the probabilities, and what happens with each."""


def changed(now: Misbehaviour, values: Mapping[str, Any]) -> Misbehaviour:
    """A copy with these settings. Raises ValueError, with a sentence, for a name or a value that is no setting."""
    for name, value in values.items():
        if name not in NAMES:
            raise ValueError(f"{name}: is no setting. There are: {', '.join(NAMES)}.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name}: must be a number.")
    whole = {name: int(value) for name, value in values.items() if name in ("seed", "retry_after")}
    return replace(now, **{**values, **whole})


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFaults:
    """The faults of one request, and of the updates of its message."""

    answer: str = ""
    """One of `ANSWERS`, or ``refused``; empty: none."""
    cut: str = CUTS[0]
    early: int = 0
    """This many updates come before the answer."""
    updates: tuple[frozenset[str], ...] = ()
    """For each update, the `UPDATE_FAULTS` that it has."""

    @property
    def accepts(self) -> bool:
        return self.answer not in (*FAULTS_BEFORE, "refused")


def plan_faults(settings: Misbehaviour, scenario: Scenario, refusals: int, random: Random) -> PlannedFaults:
    """Faults of a request to send. `refusals`: how many requests for the same message were not accepted so far."""
    draw, answer = random(), ""
    for name in ANSWERS:
        draw -= getattr(settings, name)
        if draw < 0:
            answer = name
            break
    cut = CUTS[int(random() * len(CUTS))]
    early = 1 + int(random() * len(scenario.flow)) if random() < settings.early else 0
    if scenario.answer:  # the number counts more than chance
        answer, cut = scenario.answer if refusals < scenario.times else "", CUTS[0]
    if scenario.update_fault == "early":
        early = len(scenario.flow)
    updates: list[frozenset[str]] = []
    for _ in scenario.flow:
        # Not `or`: the number's own fault must not change what is drawn for the updates behind this one.
        drawn = [(random() < getattr(settings, name)) | (scenario.update_fault == name) for name in UPDATE_FAULTS]
        updates.append(frozenset(compress(UPDATE_FAULTS, drawn)))
    return PlannedFaults(answer=answer, cut=cut, early=early, updates=tuple(updates))


def plan_read_faults(settings: Misbehaviour, random: Random) -> PlannedFaults:
    """Faults of a request that changes nothing, or can be repeated."""
    if random() >= settings.reads:
        return PlannedFaults()
    return PlannedFaults(answer=READ_ANSWERS[int(random() * len(READ_ANSWERS))], cut=CUTS[int(random() * len(CUTS))])
