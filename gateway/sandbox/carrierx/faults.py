"""What goes wrong, how often, and what the dice say of one request: all of it repeatable by a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from gateway.sandbox.carrierx.scenarios import AFTER, BEFORE, Magic

Dice = Callable[[], float]
"""Gives a number from 0 up to, but not including, 1."""
MANNERS = ("duplicate", "late", "out_of_order")
ANSWERS = (*BEFORE, *AFTER)
READS = ("conflict", "too_many", "error_before", "lost_before", "broken_json")
CUTS = ("close", "reset", "half")
"""How an answer is lost: the connection is closed, it is reset, it is closed in the middle of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misbehaviour:
    """Probabilities from 0 to 1. Of the answers one at most happens to a request: together they are 1 at most."""

    seed: int = 1
    conflict: float = 0.0
    """409, not accepted."""
    too_many: float = 0.0
    """429 with Retry-After, not accepted."""
    error_before: float = 0.0
    """500, not accepted."""
    lost_before: float = 0.0
    """No answer, not accepted."""
    error_after: float = 0.0
    """500, though accepted."""
    lost_after: float = 0.0
    """No answer, or half of one, though accepted."""
    broken_json: float = 0.0
    """200 that cannot be read, though accepted."""
    slow: float = 0.0
    """The answer takes `slow_for` seconds."""
    reads: float = 0.0
    """GET and PATCH: one of 409, 429, 500, no answer, broken JSON."""
    duplicate: float = 0.0
    """An update comes twice."""
    late: float = 0.0
    """An update, and those behind it, come `late_by` seconds late."""
    out_of_order: float = 0.0
    """An update comes after the one behind it."""
    early: float = 0.0
    """Updates, from the first to all of them, come before the request is answered."""
    slow_for: float = 2.0
    late_by: float = 2.0
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


NAMES = tuple(one.name for one in fields(Misbehaviour))
PROBABILITIES = tuple(name for name in NAMES if name not in ("seed", "slow_for", "late_by", "retry_after"))


def changed(now: Misbehaviour, values: Mapping[str, Any]) -> Misbehaviour:
    """With these settings in place of its own. Raises ValueError, with a sentence, for what is no setting."""
    for name, value in values.items():
        if name not in NAMES:
            raise ValueError(f"{name}: is no setting. There are: {', '.join(NAMES)}.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name}: must be a number.")
    whole = {name: int(value) for name, value in values.items() if name in ("seed", "retry_after")}
    return replace(now, **{**values, **whole})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What is to happen to one request, and to the updates of its message."""

    answer: str = ""
    """One of `ANSWERS`, ``refused``; empty: nothing special."""
    cut: str = CUTS[0]
    early: int = 0
    """So many updates come before the answer."""
    manners: tuple[frozenset[str], ...] = ()
    """Of each update."""

    @property
    def accepts(self) -> bool:
        return self.answer not in (*BEFORE, "refused")


def fate(settings: Misbehaviour, magic: Magic, tried: int, dice: Dice) -> Fate:
    """tried: how many requests for the same message had no effect yet."""
    drawn = _drawn(settings, dice)
    cut = CUTS[int(dice() * len(CUTS))]
    early = 1 + int(dice() * len(magic.flow)) if dice() < settings.early else 0
    return Fate(
        answer=magic.answer if magic.answer and tried < magic.times else drawn if not magic.answer else "",
        cut=CUTS[0] if magic.answer else cut,
        early=len(magic.flow) if magic.manner == "early" else early,
        manners=tuple(_manners(settings, magic, dice) for _ in magic.flow),
    )


def fate_of_read(settings: Misbehaviour, dice: Dice) -> Fate:
    """Of a request that changes nothing, or can be repeated."""
    if dice() >= settings.reads:
        return Fate()
    return Fate(answer=READS[int(dice() * len(READS))], cut=CUTS[int(dice() * len(CUTS))])


def _drawn(settings: Misbehaviour, dice: Dice) -> str:
    thrown = dice()
    for name in ANSWERS:
        thrown -= getattr(settings, name)
        if thrown < 0:
            return name
    return ""


def _manners(settings: Misbehaviour, magic: Magic, dice: Dice) -> frozenset[str]:
    return frozenset(name for name in MANNERS if (dice() < getattr(settings, name)) | (magic.manner == name))
