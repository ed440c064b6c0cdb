"""The flows of statuses that CarrierX documents, and the faults of the stand-in, by handset number and by chance.

Pure: random numbers are an argument, so the same seed gives the same faults.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate, compress
from typing import Any

DELIVERED = ("queued", "sent", "delivered")
UNDELIVERED = ("queued", "sent", "undelivered")
TIMED_OUT = ("queued", "sent", "timed_out")
SENDING_TIMED_OUT = ("queued", "sending_timed_out", "sending_failed")
INTERNAL_ERROR = ("queued", "internal_error", "sending_failed")
FAILED = ("queued", "failed")

FAULTS_BEFORE = ("conflict", "too_many", "error_before", "lost_before")
"""Answers to a request that is not accepted: 409, 429, 500, and none at all."""
FAULTS_AFTER = ("error_after", "lost_after", "broken_json", "slow")
"""Answers to a request that is accepted: 500, none at all, a 200 with JSON that nobody can parse, and a late one."""
UPDATE_FAULTS = ("duplicate", "late", "out_of_order")
ANSWERS = (*FAULTS_BEFORE, *FAULTS_AFTER)
READ_ANSWERS = ("conflict", "too_many", "error_before", "lost_before", "broken_json")
CUTS = ("close", "reset", "half")
"""How an answer is lost: the connection is closed, is reset, or is closed in the middle of the answer."""
Random = Callable[[], float]  # gives a number from 0 up to, but not including, 1

ALWAYS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The course of a message to a handset whose number has this ending."""

    ending: str
    summary: str  # the course in words, for people
    flow: tuple[str, ...] = DELIVERED
    answer: str = ""  # one of `FAULTS_BEFORE` or `FAULTS_AFTER`, or ``refused``; empty: 200
    times: int = ALWAYS  # this many requests for one message get that answer; the next one gets 200
    silent: bool = False  # no updates are posted
    update_fault: str = ""  # ``duplicate``, ``late``, ``out_of_order`` or ``early``: all updates come like this
    reply: str = ""  # the text that the handset sends back once it has got the message


SCENARIOS = (
    Scenario(ending="0001", summary="queued, sent, delivered"),
    Scenario(ending="0002", summary="queued, sent, undelivered", flow=UNDELIVERED),
    Scenario(ending="0003", summary="queued, sent, timed_out", flow=TIMED_OUT),
    Scenario(ending="0004", summary="queued, sending_timed_out, sending_failed", flow=SENDING_TIMED_OUT),
    Scenario(ending="0005", summary="queued, internal_error, sending_failed", flow=INTERNAL_ERROR),
    Scenario(ending="0006", summary="queued, failed", flow=FAILED),
    Scenario(ending="0007", summary="refused with 400", answer="refused"),
    Scenario(ending="0008", summary="409 twice, then delivered", answer="conflict", times=2),
    Scenario(ending="0009", summary="429 with Retry-After twice, then delivered", answer="too_many", times=2),
    Scenario(ending="0010", summary="500 twice, not accepted; then delivered", answer="error_before", times=2),
    Scenario(ending="0011", summary="accepted and delivered, but the answer is 500", answer="error_after"),
    Scenario(ending="0012", summary="accepted and delivered, but the answer is lost", answer="lost_after"),
    Scenario(ending="0013", summary="connection cut once, not accepted; then delivered", answer="lost_before", times=1),
    Scenario(ending="0014", summary="delivered, but no update is ever posted: only GET shows it", silent=True),
    Scenario(ending="0015", summary="accepted and delivered, but the answer has broken JSON", answer="broken_json"),
    Scenario(ending="0016", summary="delivered; the handset replies STOP", reply="STOP"),
    Scenario(ending="0017", summary="delivered; the handset replies START", reply="START"),
    Scenario(ending="0018", summary="delivered; the handset replies HELP", reply="HELP"),
    Scenario(ending="0019", summary="delivered; the updates come before the answer", update_fault="early"),
    Scenario(ending="0020", summary="delivered; each update comes twice", update_fault="duplicate"),
    Scenario(ending="0021", summary="delivered; the updates come out of order", update_fault="out_of_order"),
    Scenario(ending="0022", summary="delivered; the updates come late", update_fault="late"),
    Scenario(ending="0023", summary="delivered, but the answer takes long", answer="slow"),
)
_DEFAULT = Scenario(ending="", summary="queued, sent, delivered")
_BY_ENDING = {scenario.ending: scenario for scenario in SCENARIOS}


def scenario_for(phone: str) -> Scenario:
    """The scenario of a handset, by the last four digits of its number; every other number gets what it is sent."""
    return _BY_ENDING.get(phone[-4:], _DEFAULT)


def scenario_table() -> str:
    """All scenarios for people, a line each."""
    return "\n".join(f"  …{scenario.ending}  {scenario.summary}" for scenario in SCENARIOS)


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
    late_by: float = 2.0  # seconds, like `slow_for`
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

    answer: str = ""  # one of `ANSWERS`, or ``refused``; empty: none
    cut: str = CUTS[0]
    early: int = 0  # this many updates come before the answer
    updates: tuple[frozenset[str], ...] = ()  # the `UPDATE_FAULTS` that each update has

    @property
    def accepts(self) -> bool:
        return self.answer not in (*FAULTS_BEFORE, "refused")


def plan_faults(settings: Misbehaviour, scenario: Scenario, refusals: int, random: Random) -> PlannedFaults:
    """Faults of a request to send. `refusals`: how many requests for the same message were not accepted so far."""
    limits = list(accumulate(getattr(settings, name) for name in ANSWERS))
    answer = (*ANSWERS, "")[bisect(limits, random())]
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
