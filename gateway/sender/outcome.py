"""The result of one submission: how it is settled, what the ledger is to say, and whether everything else must pause.

The circuit breaker of CarrierX pauses all submissions:

    unreachable, 401    1 s, 2 s, 4 s … 60 s
    429                 as long as CarrierX asks for, five minutes at most; else as above
    errors              as above, after five in a row

After each pause one submission goes first; when it gets an answer, the others follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from gateway.carrierx.errors import AnswerLost, CarrierXError, CoreError, ServerError, TooMany
from gateway.config import CarrierX
from gateway.delivery.result import RETRY_SECONDS, retry_delay
from gateway.store import ledger
from gateway.store.health import BREAKER_REFRESH_SECONDS, BreakerState
from gateway.store.leases import ClaimedDelivery

INTERRUPTED_RETRY_SECONDS = 60.0
"""The time to the next attempt of a text that has used up its attempts, none of which said anything."""
FIRST_LOOKUP_SECONDS = 0.5  # the time to the first search for a text whose answer was lost; most often it is there
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0
MAX_REQUESTED_PAUSE_SECONDS = 300.0
MAX_ERRORS_IN_A_ROW = 5  # fewer errors may be about these messages alone

SubmitAction = Literal["post", "look up", "known", "opted out", "gone"]
LedgerChange = Literal["sent", "refused", "undecided", "uncertain", "owed", "unchanged", "recorded"]
"""``recorded``: only the message_sid, where there is one, and no status post."""
SubmitOutcome = Literal["succeeded", "again", "dead", "uncounted"]
"""``uncounted``: it was no attempt, and is due again."""


class SubmitFault(NamedTuple):
    """A reason why nothing can be submitted."""

    reason: str
    kind: Literal["unreachable", "throttled", "failing"] = "unreachable"
    seconds: float | None = None  # how long CarrierX asks to wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A claimed text, and what is to be done about it."""

    claimed: ClaimedDelivery
    entry: ledger.LedgerEntry | None
    action: SubmitAction
    carrierx: CarrierX = field(repr=False)

    @property
    def uncertain_until(self) -> float:
        """The last moment at which a request may have reached CarrierX whose answer we do not have."""
        return (self.entry and self.entry.uncertain_until) or self.claimed.started_at

    @property
    def appears_until(self) -> float:
        """The time by which the text is in CarrierX's listing, or never will be."""
        return self.uncertain_until + self.carrierx.doubt


@dataclass(frozen=True, slots=True)
class SubmissionResult:
    """A submission that ended, `at` epoch seconds."""

    submission: Submission
    at: float
    outcome: SubmitOutcome
    change: LedgerChange
    due: float | None = None
    sentence: str = ""
    status: int | None = None
    answer: bytes = field(default=b"", repr=False)  # CarrierX's object of a text that was sent
    fault: SubmitFault | None = None
    warning: str = ""
    seconds: float = 0.0  # how long it took


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitContext:
    """Everything that the thread of one submission uses, and the results that it may come to."""

    submission: Submission
    clock: Callable[[], float]
    random: Callable[[], float]
    is_too_late: Callable[[], bool]  # True if the request must not leave any more
    is_over: Callable[[], bool]  # True if the time to read the listing is over
    remaining: Callable[[], float]  # monotonic seconds in which an uncertain text may still appear
    is_known: Callable[[str], bool]  # True if a `message_sid` belongs to another text of ours

    def sent(self, answer: bytes, warning: str = "") -> SubmissionResult:
        return SubmissionResult(self.submission, self.clock(), "succeeded", "sent", answer=answer, warning=warning)

    def refused(self, reason: str, status: int | None = None) -> SubmissionResult:
        return SubmissionResult(self.submission, self.clock(), "dead", "refused", sentence=reason, status=status)

    def undecided(self, reason: str, status: int | None = None) -> SubmissionResult:
        """Nobody can tell whether it was sent; a person has to look."""
        return SubmissionResult(self.submission, self.clock(), "dead", "undecided", sentence=reason, status=status)

    def uncertain(self, reason: str, status: int | None = None) -> SubmissionResult:
        """A request went out, and nobody knows what became of it."""
        at, fault = self.clock(), SubmitFault(reason, "failing")
        due = at + FIRST_LOOKUP_SECONDS
        return SubmissionResult(self.submission, at, "again", "uncertain", due, reason, status, fault=fault)

    def later(self, error: CoreError) -> SubmissionResult:
        """CarrierX did nothing, and may later."""
        at, delay = self.clock(), self.delay(self.submission.claimed.attempts_since_replay, error.retry_after)
        if delay is None:
            return self.refused(str(error), error.status)
        fault = throttled(error) if isinstance(error, TooMany) else None
        return SubmissionResult(self.submission, at, "again", "owed", at + delay, str(error), error.status, fault=fault)

    def owed(self, reason: str, due: float = 0.0, fault: SubmitFault | None = None) -> SubmissionResult:
        """It was certainly not sent, and that counts for nothing."""
        at = self.clock()
        return SubmissionResult(self.submission, at, "uncounted", "owed", max(at, due), reason, fault=fault)

    def unreadable(self, reason: str, error: CarrierXError | None = None) -> SubmissionResult:
        """The listing did not tell. When the schedule ends, a person has to look."""
        at, status = self.clock(), getattr(error, "status", None)
        delay = self.delay(self.submission.claimed.attempts_since_replay)
        if delay is None:
            return self.undecided(reason, status)
        fault = SubmitFault(reason, "failing") if isinstance(error, (AnswerLost, ServerError)) else None
        return SubmissionResult(self.submission, at, "again", "unchanged", at + delay, reason, status, fault=fault)

    def not_yet(self, fault: SubmitFault | None = None) -> SubmissionResult:
        """The next look comes soon, those after it later, the last when the text cannot appear any more."""
        at = self.clock()
        left = max(self.submission.appears_until - at, self.remaining(), 0.0)
        due = at + min(left, 2 * max(FIRST_LOOKUP_SECONDS, at - self.submission.uncertain_until))
        return SubmissionResult(self.submission, at, "uncounted", "unchanged", due, fault=fault)

    def delay(self, failed: int, retry_after: float | None = None) -> float | None:
        """Seconds until the next attempt after so many that failed; None: there is none.
        Attempts that a crash of ours cut off say nothing of CarrierX: as long as the schedule is not over by the clock,
        there is another."""
        planned, entry = retry_delay(failed, self.random(), retry_after), self.submission.entry
        if planned is None and entry and self.clock() - entry.created_at < sum(RETRY_SECONDS):
            return INTERRUPTED_RETRY_SECONDS
        return planned


def throttled(error: CoreError) -> SubmitFault:
    return SubmitFault(str(error), "throttled", error.retry_after)


class CarrierXBreaker:
    """Pauses all submissions. `monotonic`: seconds of the monotonic clock."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._until = self._pause = 0.0
        self._errors = 0
        self._reason = ""
        self._since = self._refresh_at = 0.0
        self._recorded = "closed"

    @property
    def is_probing(self) -> bool:
        """True while only one submission may leave, as nobody knows yet whether the fault is over."""
        return bool(self._reason)

    def seconds_left(self, monotonic: float) -> float:
        return max(0.0, self._until - monotonic)

    def changed_state(self, now: float, monotonic: float) -> tuple[BreakerState, ...]:
        """Returns the state for people, as that of an endpoint's breaker, if it has changed since the last `recorded`;
        now and then an unchanged one."""
        state = "open" if self.seconds_left(monotonic) else "half_open" if self.is_probing else "closed"
        if state == self._recorded and (state == "closed" or monotonic < self._refresh_at):
            return ()
        since, until = now - (monotonic - self._since), now + self.seconds_left(monotonic)
        return (BreakerState(ledger.ENDPOINT, state, since, until, self._reason, self._errors),)

    def recorded(self, states: Sequence[BreakerState], monotonic: float) -> None:
        """Takes note that these are in the store."""
        for breaker in states:
            self._recorded, self._refresh_at = breaker.state, monotonic + BREAKER_REFRESH_SECONDS

    def record_fault(self, fault: SubmitFault, monotonic: float) -> None:
        if fault.kind == "failing":
            self._errors += 1
            if self._errors < MAX_ERRORS_IN_A_ROW:
                return
        if monotonic >= self._until:  # else its request left before the pause began
            self._pause = min(MAX_PAUSE_SECONDS, max(MIN_PAUSE_SECONDS, 2 * self._pause))
        asked = min(fault.seconds or 0.0, MAX_REQUESTED_PAUSE_SECONDS)
        pause = asked if fault.kind == "throttled" and asked else self._pause
        self._until = max(self._until, monotonic + pause)
        if fault.reason != self._reason:
            self._since = self._since if self._reason else monotonic
            self._reason = fault.reason
            self._log.warning("sending_paused", why=fault.kind, reason=fault.reason)

    def record_answer(self) -> None:
        """Takes note that CarrierX works."""
        if self._reason:
            self._log.info("sending_resumed")
        self._until = self._pause = 0.0
        self._errors, self._reason = 0, ""
