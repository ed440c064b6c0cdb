"""What a claimed send came to: what is settled, what the ledger is to say, and what everybody else has to wait for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from gateway.carrierx.errors import AnswerLost, CarrierXError, CoreError, ServerError, TooMany
from gateway.config import CarrierX
from gateway.delivery.result import RETRY_SECONDS, retry_delay
from gateway.sender.listing import ListingPage
from gateway.store import ledger
from gateway.store.leases import ClaimedDelivery

CUT_OFF = 60.0
"""Seconds until the next try of one that had all its tries, and none of them said anything."""
SOON = 0.5
"""Seconds after which something in doubt is looked up first: most often it is there."""

SubmitAction = Literal["post", "look up", "known", "opted out", "gone"]
LedgerChange = Literal["sent", "refused", "undecided", "doubt", "owed", "same", "noted"]


class Core(Protocol):
    """What of CarrierX's Core API is needed here; `gateway.carrierx.CoreAPI` without repetitions of its own."""

    def send_raw(self, body: bytes, /, may_leave: Callable[[], bool] = ...) -> bytes: ...

    def read_raw(self, message_sid: str, /) -> bytes: ...

    def messages(self, limit: int = ..., offset: int = ...) -> ListingPage: ...


class SubmitFault(NamedTuple):
    """What keeps everything from being sent."""

    reason: str
    kind: Literal["unreachable", "throttled", "failing"] = "unreachable"
    seconds: float | None = None
    """That CarrierX asks to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One claimed send, and what is to be done about it."""

    claimed: ClaimedDelivery
    entry: ledger.LedgerEntry | None
    plan: SubmitAction
    carrierx: CarrierX = field(repr=False)

    @property
    def uncertain_until(self) -> float:
        """The last moment at which a request may have reached CarrierX whose answer we do not have."""
        return (self.entry and self.entry.uncertain_until) or self.claimed.started_at

    @property
    def until(self) -> float:
        """By then it has turned up at CarrierX, or never does."""
        return self.uncertain_until + self.carrierx.doubt


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionResult:
    """What came of it."""

    departure: Submission
    at: float
    outcome: Literal["succeeded", "again", "dead", "uncounted"]
    """``uncounted``: it was no attempt, and comes again at `due`."""
    word: LedgerChange
    """What the ledger is to say. ``noted``: its message_sid, where it has one, and nobody is told."""
    due: float | None = None
    sentence: str = ""
    status: int | None = None
    answer: bytes = field(default=b"", repr=False)
    """CarrierX's object, of what was sent."""
    trouble: SubmitFault | None = None
    warning: str = ""
    seconds: float = 0.0
    """That it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitContext:
    """What a thread that does it may know of the world."""

    clock: Callable[[], float]
    dice: Callable[[], float]
    is_late: Callable[[], bool]
    """It is too late for the request to leave."""
    is_over: Callable[[], bool]
    """It has been looked for long enough."""
    remaining: Callable[[], float]
    """Seconds by the clock that nobody sets in which what is in doubt may still turn up."""
    is_known: Callable[[str], bool]
    """Whether a `message_sid` is that of another send of ours."""


def wait(departure: Submission, world: SubmitContext, tries: int, retry_after: float | None = None) -> float | None:
    """Seconds until the next try after so many that failed; None: there is none.

    Tries that a crash of ours cut off say nothing of CarrierX: as long as the schedule is not over by the clock, there
    is another.
    """
    planned = retry_delay(tries, world.dice(), retry_after)
    if planned is None and departure.entry and world.clock() - departure.entry.created_at < sum(RETRY_SECONDS):
        return CUT_OFF
    return planned


def sent(departure: Submission, world: SubmitContext, answer: bytes, warning: str = "") -> SubmissionResult:
    at = world.clock()
    return SubmissionResult(
        departure=departure, at=at, outcome="succeeded", word="sent", answer=answer, warning=warning
    )


def refused(departure: Submission, world: SubmitContext, reason: str, status: int | None = None) -> SubmissionResult:
    at = world.clock()
    return SubmissionResult(departure=departure, at=at, outcome="dead", word="refused", sentence=reason, status=status)


def undecided(departure: Submission, world: SubmitContext, reason: str, status: int | None = None) -> SubmissionResult:
    at = world.clock()
    return SubmissionResult(
        departure=departure, at=at, outcome="dead", word="undecided", sentence=reason, status=status
    )


def doubted(departure: Submission, world: SubmitContext, reason: str, status: int | None = None) -> SubmissionResult:
    """A request went out, and nobody knows what became of it."""
    at = world.clock()
    return SubmissionResult(
        departure=departure,
        at=at,
        outcome="again",
        word="doubt",
        due=at + SOON,
        sentence=reason,
        status=status,
        trouble=SubmitFault(reason, "failing"),
    )


def later(departure: Submission, world: SubmitContext, error: CoreError) -> SubmissionResult:
    """CarrierX did nothing, and may later."""
    at, left = world.clock(), wait(departure, world, departure.claimed.attempts_since_replay, error.retry_after)
    if left is None:
        return refused(departure, world, str(error), error.status)
    return SubmissionResult(
        departure=departure,
        at=at,
        outcome="again",
        word="owed",
        due=at + left,
        sentence=str(error),
        status=error.status,
        trouble=throttled(error) if isinstance(error, TooMany) else None,
    )


def owed(
    departure: Submission, world: SubmitContext, reason: str, due: float = 0.0, trouble: SubmitFault | None = None
) -> SubmissionResult:
    """For certain it was not sent, and that counts for nothing."""
    at = world.clock()
    return SubmissionResult(
        departure=departure,
        at=at,
        outcome="uncounted",
        word="owed",
        due=max(at, due),
        sentence=reason,
        trouble=trouble,
    )


def unread(
    departure: Submission, world: SubmitContext, reason: str, error: CarrierXError | None = None
) -> SubmissionResult:
    """The listing did not tell. When the schedule ends, a person has to look."""
    at, status = world.clock(), getattr(error, "status", None)
    left = wait(departure, world, departure.claimed.attempts_since_replay)
    if left is None:
        return undecided(departure, world, reason, status)
    return SubmissionResult(
        departure=departure,
        at=at,
        outcome="again",
        word="same",
        due=at + left,
        sentence=reason,
        status=status,
        trouble=SubmitFault(reason, "failing") if isinstance(error, (AnswerLost, ServerError)) else None,
    )


def not_yet(departure: Submission, world: SubmitContext, trouble: SubmitFault | None = None) -> SubmissionResult:
    """The next look comes soon, those after it later, the last when it cannot turn up any more."""
    at = world.clock()
    left = max(departure.until - at, world.remaining(), 0.0)
    due = at + min(left, 2 * max(SOON, at - departure.uncertain_until))
    return SubmissionResult(departure=departure, at=at, outcome="uncounted", word="same", due=due, trouble=trouble)


def throttled(error: CoreError) -> SubmitFault:
    return SubmitFault(str(error), "throttled", error.retry_after)
