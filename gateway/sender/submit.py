"""Submits one claimed text, in a thread of its own: one request that could send it, or a search for it.

    ledger says       what is done               and then
    owed              POST                       sent, refused, owed again; or uncertain: it may have been sent
    sending           it is looked up            sent; or owed, once it cannot appear any more; or it stays uncertain
    sent              nothing                    sent

A text that is absent from CarrierX's listing only becomes owed. Its next claim records that it leaves, and when, before
it does: so the Sender that finds it afterwards knows how long it may still appear.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue

from gateway.carrierx import CoreAPI, Page, errors
from gateway.config import Config
from gateway.outbound.model import ErrorCode
from gateway.sender import reconcile, settle
from gateway.sender.outcome import Submission, SubmissionResult, SubmitAction, SubmitContext, SubmitFault, throttled
from gateway.store import Connection, StoreUnavailable, ledger, message_status
from gateway.store.leases import ClaimedDelivery
from gateway.store.ledger import LedgerEntry

START_SECONDS = 10.0  # after its claim; a request that has not left by then does not leave any more
MAX_REQUEST_SECONDS = 600.0  # no request takes longer, whatever happens
MAX_SEARCH_SECONDS = 20.0  # after this, no further page of the listing is asked for
PAGE_RETRY_SECONDS = 0.2, 1.0  # before a page of the listing is asked for once more, and once again
EXTEND_SECONDS = 10.0  # the age at which the lease of a submission is extended
MAX_UNCERTAIN = 10_000  # texts that are remembered as uncertain
LISTING_CLOSED = 403, 404, 405, 501  # statuses of a listing that this account does not have; waiting does not open it
UNCERTAIN_STATUSES = 408, 425  # refusals of which nobody knows whether something was done

GONE = "The ledger does not have this message any more: it is not sent."
TOO_LATE = "The request could not leave in time."
ABSENT = "CarrierX does not have it: it is sent again."
NEVER = "CarrierX never took it: none of its answers could be read, and its listing does not have it."


def choose_action(conn: Connection, claimed: ClaimedDelivery, config: Config, now: float) -> Submission:
    """Decides, in the transaction of its claim: what is going to leave is on disk as such before it does."""
    entry, carrierx = ledger.of_send(conn, claimed.delivery_id), config.carrierx
    latest = now + START_SECONDS + carrierx.timeout
    action: SubmitAction
    if entry is None:
        action = "gone"
    elif entry.message_sid or entry.state == "sent":  # a person may know that it was sent, and not its message_sid
        action = "known"
    elif entry.state in ("sending", "undecided"):
        action = "look up"
        if entry.uncertain_until is None or entry.uncertain_until > latest:
            # The clock was set back meanwhile.
            ledger.mark_uncertain(conn, claimed.delivery_id, now, latest)
            entry = ledger.of_send(conn, claimed.delivery_id)
    elif entry.origin != "opt-out" and message_status.has_opted_out(conn, entry.number, entry.phone):
        action = "opted out"
    else:
        action = "post"
        ledger.mark_submitting(conn, claimed.delivery_id, now, latest)
    return Submission(claimed=claimed, entry=entry, action=action, carrierx=carrierx)


def submit(api: CoreAPI, context: SubmitContext) -> SubmissionResult:
    """Carries out the action. Never raises: an error that nobody thought of leaves the text uncertain."""
    action, entry = context.submission.action, context.submission.entry
    try:
        if entry is None:
            return SubmissionResult(context.submission, context.clock(), "dead", "unchanged", sentence=GONE)
        if action == "known":
            return SubmissionResult(context.submission, context.clock(), "succeeded", "unchanged")
        if action == "opted out":
            return context.refused(ErrorCode.OPTED_OUT.sentence)
        return _post(api, context, entry) if action == "post" else _look_up(api, context, entry)
    except StoreUnavailable:  # it is only asked by a search
        return context.not_yet()
    except Exception as error:
        reason = f"Something unexpected happened: {type(error).__name__}."
        return context.uncertain(reason) if action == "post" else context.unreadable(reason)


def not_started(context: SubmitContext) -> SubmissionResult:
    """The result of a submission that was claimed, and could not start."""
    return context.not_yet() if context.submission.action == "look up" else context.owed(TOO_LATE)


def _post(api: CoreAPI, context: SubmitContext, entry: LedgerEntry) -> SubmissionResult:
    if context.is_too_late():
        return not_started(context)
    try:
        # Asked once more when there is a connection: a process may hang anywhere, and another one has its work by then.
        answer = api.send_raw(context.submission.claimed.body, may_leave=lambda: not context.is_too_late())
    except (errors.NotSent, errors.NotAuthorized) as error:
        return context.owed(str(error), fault=SubmitFault(str(error)))
    except (errors.Conflict, errors.TooMany) as error:
        return context.later(error)
    except errors.CarrierXError as error:
        status = getattr(error, "status", None)
        if isinstance(error, (errors.AnswerLost, errors.ServerError)) or status is None or status < 400:
            return context.uncertain(str(error), status)
        is_unclear = status in UNCERTAIN_STATUSES
        return context.uncertain(str(error), status) if is_unclear else context.refused(str(error), status)
    message = settle.read(answer, entry)
    if message is None:
        return context.uncertain("CarrierX took it, and its answer names no message.", 200)
    fits = reconcile.same_number(message.to, entry.phone) and reconcile.same_number(message.from_, entry.number)
    return context.sent(answer, "" if fits else "CarrierX's answer speaks of other numbers.")


def _look_up(api: CoreAPI, context: SubmitContext, entry: LedgerEntry) -> SubmissionResult:
    # The listing counts as it is from now on, so the time is taken before it is read.
    may_decide = context.clock() >= context.submission.appears_until and not context.remaining()
    try:
        verdict = _search(api, context, entry)
    except (errors.NotSent, errors.NotAuthorized) as error:
        return context.not_yet(SubmitFault(str(error)))
    except errors.TooMany as error:
        return context.not_yet(throttled(error))
    except errors.CarrierXError as error:
        if isinstance(error, errors.CoreError) and error.status in LISTING_CLOSED:
            return context.undecided(str(error)) if may_decide else context.not_yet()
        return context.unreadable(str(error), error)
    if isinstance(verdict, reconcile.MessageFound):
        answer = json.dumps(verdict.item, default=str).encode()  # prices are no floats
        return context.undecided(reconcile.NAMELESS) if settle.read(answer, entry) is None else context.sent(answer)
    if isinstance(verdict, reconcile.ListingUnreadable):
        return context.unreadable(verdict.reason)
    if not may_decide:
        return context.not_yet()
    if isinstance(verdict, reconcile.Ambiguous):
        return context.undecided(verdict.reason)
    # It goes on by the schedule: what failed was the attempt before this one, and that one has counted.
    failed = context.submission.claimed.attempts_since_replay - 1
    delay = context.delay(failed) if failed > 0 else 0.0
    if delay is None:
        return context.refused(NEVER)
    return context.owed(ABSENT, context.submission.uncertain_until + delay)


def _search(api: CoreAPI, context: SubmitContext, entry: LedgerEntry) -> reconcile.ReconcileVerdict:
    text = json.loads(context.submission.claimed.body).get("message")
    wanted = reconcile.Wanted(
        send_id=entry.send_id,
        number=entry.number,
        phone=entry.phone,
        text=text if isinstance(text, str) else "",
        since=max(entry.created_at, context.submission.uncertain_until - MAX_REQUEST_SECONDS),
    )
    steps = reconcile.find_message(wanted)
    try:
        offset = next(steps)
        while not context.is_over():
            offset = steps.send(_page(api, context, offset))
    except StopIteration as end:
        verdict: reconcile.ReconcileVerdict = end.value
        if isinstance(verdict, reconcile.Ambiguous) and verdict.sids and all(map(context.is_known, verdict.sids)):
            return reconcile.MessageAbsent()
        return verdict
    return reconcile.ListingUnreadable("CarrierX's listing could not be read to its end in time.")


def _page(api: CoreAPI, context: SubmitContext, offset: int) -> Page:
    """Asks again at once where it may help: the schedule is long, and somebody waits for what is uncertain."""
    for seconds in PAGE_RETRY_SECONDS:
        try:
            return api.messages(limit=reconcile.PAGE_SIZE, offset=offset)
        except (errors.AnswerLost, errors.Conflict, errors.ServerError):
            if context.is_over():
                raise
        time.sleep(seconds)
    return api.messages(limit=reconcile.PAGE_SIZE, offset=offset)


@dataclass(slots=True)
class _Running:
    submission: Submission
    started: float
    extended: float


class SubmitPool:
    """Submissions side by side, each in a thread of its own. Only `wake` may be called from other threads.

    `monotonic` are seconds of the monotonic clock. `is_known`: called with the send_id that asks, and a `message_sid`.
    """

    def __init__(
        self, clock: Callable[[], float], random: Callable[[], float], is_known: Callable[[str, str], bool]
    ) -> None:
        self._clock, self._random, self._is_known = clock, random, is_known
        self._running: dict[tuple[int, int], _Running] = {}
        self._uncertain_since: dict[tuple[str, float], float] = {}
        """When a text was first seen uncertain until a time, by (send_id, that time)."""
        self._results: SimpleQueue[SubmissionResult | None] = SimpleQueue()

    def __len__(self) -> int:
        """The number of submissions; one that hangs for ever takes nobody's place."""
        return len(self._not_hanging(time.monotonic()))

    @property
    def delivery_ids(self) -> set[int]:
        return {one.submission.claimed.id for one in self._running.values()}

    def to_extend(self, monotonic: float, clock_jump: float) -> list[Submission]:
        """The submissions whose leases are to be extended: old ones, or all of them if the wall clock was set."""
        running = self._not_hanging(monotonic)
        return [one.submission for one in running if clock_jump or monotonic - one.extended > EXTEND_SECONDS]

    def extended(self, submissions: Sequence[Submission], monotonic: float) -> None:
        """Records that these leases were extended at `monotonic`."""
        for submission in submissions:
            if running := self._running.get(submission.claimed.attempt_id):
                running.extended = monotonic

    def _not_hanging(self, monotonic: float) -> list[_Running]:
        return [one for one in self._running.values() if monotonic - one.started < MAX_REQUEST_SECONDS]

    def wake(self) -> None:
        """Ends the wait of `take`, from any thread or a signal handler."""
        self._results.put(None)

    def take(self, timeout: float) -> tuple[list[SubmissionResult], bool]:
        """The results so far, after waiting for one if there is none; and whether `wake` was called."""
        taken: list[SubmissionResult | None] = []
        with suppress(Empty):
            taken.append(self._results.get(timeout > 0, timeout))
            while True:
                taken.append(self._results.get_nowait())
        results = [result for result in taken if result is not None]
        for result in results:
            claimed = result.submission.claimed
            self._running.pop(claimed.attempt_id, None)
            if result.change == "uncertain":
                self._note_uncertain(claimed.delivery_id, result.at)
            elif result.change != "unchanged":
                self._uncertain_since.pop((claimed.delivery_id, result.submission.uncertain_until), None)
        return results, None in taken

    def start(self, submission: Submission, api: CoreAPI, claimed_at: float, wall: float) -> None:
        """Starts a thread. `claimed_at`, `wall`: monotonic and epoch seconds at which the claim began."""
        started, send_id = time.monotonic(), submission.claimed.delivery_id
        self._running[submission.claimed.attempt_id] = _Running(submission, started, claimed_at)
        if submission.action == "look up":
            self._note_uncertain(send_id, submission.uncertain_until)
        context = SubmitContext(
            submission=submission,
            clock=self._clock,
            random=self._random,
            is_too_late=lambda: max(time.monotonic() - claimed_at, abs(self._clock() - wall)) > START_SECONDS,
            is_over=lambda: time.monotonic() - started > MAX_SEARCH_SECONDS,
            remaining=partial(self._remaining, submission),
            is_known=partial(self._is_known, send_id),
        )

        def run() -> None:
            began = time.monotonic()
            result = submit(api, context)
            self._results.put(replace(result, seconds=time.monotonic() - began))

        try:
            threading.Thread(target=run, name="send", daemon=True).start()
        except RuntimeError:  # no more threads
            self._results.put(not_started(context))

    def _note_uncertain(self, send_id: str, uncertain_until: float) -> None:
        if len(self._uncertain_since) >= MAX_UNCERTAIN:  # the dropped one is noted anew, that is all
            self._uncertain_since.pop(next(iter(self._uncertain_since)))
        self._uncertain_since.setdefault((send_id, uncertain_until), time.monotonic())

    def _remaining(self, submission: Submission) -> float:
        """See `SubmitContext`; called in the threads. A text is noted as uncertain late at worst, never early."""
        send_id, doubt, monotonic = submission.claimed.delivery_id, submission.carrierx.doubt, time.monotonic()
        running = [one.submission for one in list(self._running.values()) if one.submission.action == "post"]
        if any(one.claimed.delivery_id == send_id for one in running):
            return doubt
        since = self._uncertain_since.get((send_id, submission.uncertain_until), monotonic)
        return max(0.0, since + doubt - monotonic)
