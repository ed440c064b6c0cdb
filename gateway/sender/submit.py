"""What is done about one claimed send, in a thread of its own: one request that could send it, or a look for it.

    ledger says       what is done               and then
    owed              POST                       sent, refused; owed again; or doubt: nobody knows whether it was sent
    sending           it is looked up            sent; or owed, once it cannot turn up any more; or it stays in doubt
    sent              nothing                    sent

What is absent from CarrierX's listing only becomes owed. Its next claim writes down that it leaves, and when, before it
does: so whoever finds it afterwards knows how long it may still turn up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from gateway.carrierx.errors import (
    AnswerLost,
    CarrierXError,
    Conflict,
    CoreError,
    NotAuthorized,
    NotSent,
    ServerError,
    TooMany,
)
from gateway.config import Config
from gateway.sender import listing, reconcile, settle
from gateway.sender import outcome as ended
from gateway.sender.outcome import Core, Submission, SubmissionResult, SubmitAction, SubmitContext, SubmitFault
from gateway.store import Connection, StoreUnavailable, ledger, message_status
from gateway.store.leases import ClaimedDelivery

SLACK = 10.0
"""Seconds that a request may need to leave after its claim; what is later does not leave."""
FLIGHT = 600.0
"""Seconds that the longest request may take, whatever happens."""
AGAIN = 0.2, 1.0
"""Seconds before a page of the listing is asked for once more."""
CLOSED = 403, 404, 405, 501
"""Answers of a listing that this account has not, and that waiting does not open."""
UNSURE = 408, 425
"""Refusals of which nobody knows whether something was done."""

OPTED_OUT = "The recipient has opted out of messages from this number."
GONE = "The ledger has nothing of this message any more: it is not sent."
LATE = "The request could not leave in time."
ABSENT = "CarrierX does not have it: it is sent again."
NEVER = "CarrierX never took it: no answer of its could be read, and it is not in its listing."


def choose_action(conn: Connection, claimed: ClaimedDelivery, config: Config, now: float) -> Submission:
    """In the transaction of its claim. What is going to leave is on disk as such before it does."""
    entry, carrierx = ledger.of_send(conn, claimed.delivery_id), config.carrierx
    todo: SubmitAction = "gone" if entry is None else _plan(conn, entry)
    longest = now + SLACK + carrierx.timeout
    if todo == "post":
        ledger.mark_submitting(conn, claimed.delivery_id, now, longest)
    elif entry and todo == "look up" and (entry.uncertain_until is None or entry.uncertain_until > longest):
        # The clock was set back meanwhile.
        ledger.mark_uncertain(conn, claimed.delivery_id, now, longest)
        entry = ledger.of_send(conn, claimed.delivery_id)
    return Submission(claimed=claimed, entry=entry, plan=todo, carrierx=carrierx)


def _plan(conn: Connection, entry: ledger.LedgerEntry) -> SubmitAction:
    if entry.message_sid or entry.state == "sent":  # a person may know that it was, and not under which name
        return "known"
    if entry.state in ("sending", "undecided"):
        return "look up"
    is_out = entry.origin != "opt-out" and message_status.has_opted_out(conn, entry.number, entry.phone)
    return "opted out" if is_out else "post"


def submit(departure: Submission, core: Core, world: SubmitContext) -> SubmissionResult:
    """Does it. Never raises: what nobody thought of leaves a doubt."""
    try:
        return _STEPS[departure.plan](departure, core, world)
    except StoreUnavailable:  # only asked where it is looked up
        return ended.not_yet(departure, world)
    except Exception as error:
        reason = f"Something unexpected happened: {type(error).__name__}."
        return (ended.doubted if departure.plan == "post" else ended.unread)(departure, world, reason)


def not_started(departure: Submission, world: SubmitContext) -> SubmissionResult:
    """It was claimed, and nothing is done about it now."""
    if departure.plan == "look up":
        return ended.not_yet(departure, world)
    return ended.owed(departure, world, LATE)


def _known(departure: Submission, core: Core, world: SubmitContext) -> SubmissionResult:
    return SubmissionResult(departure=departure, at=world.clock(), outcome="succeeded", word="same")


def _gone(departure: Submission, core: Core, world: SubmitContext) -> SubmissionResult:
    return SubmissionResult(departure=departure, at=world.clock(), outcome="dead", word="same", sentence=GONE)


def _opted_out(departure: Submission, core: Core, world: SubmitContext) -> SubmissionResult:
    return ended.refused(departure, world, OPTED_OUT)


def _post(departure: Submission, core: Core, world: SubmitContext) -> SubmissionResult:
    if world.is_late():
        return not_started(departure, world)
    try:
        # Asked once more when there is a connection: a process may hang anywhere, and another one has its work by then.
        answer = core.send_raw(departure.claimed.body, may_leave=lambda: not world.is_late())
    except CarrierXError as error:
        return _not_accepted(departure, world, error)
    return _accepted(departure, world, answer)


def _accepted(departure: Submission, world: SubmitContext, answer: bytes) -> SubmissionResult:
    entry = _entry(departure)
    message = settle.read(answer, entry)
    if message is None:
        return ended.doubted(departure, world, "CarrierX took it, and its answer names no message.", 200)
    fits = listing.same(message.to, entry.phone) and listing.same(message.from_, entry.number)
    return ended.sent(departure, world, answer, "" if fits else "CarrierX's answer speaks of other numbers.")


def _not_accepted(departure: Submission, world: SubmitContext, error: CarrierXError) -> SubmissionResult:
    status, reason = getattr(error, "status", None), str(error)
    if isinstance(error, (NotSent, NotAuthorized)):
        return ended.owed(departure, world, reason, trouble=SubmitFault(reason))
    if isinstance(error, (Conflict, TooMany)):
        return ended.later(departure, world, error)
    if isinstance(error, (AnswerLost, ServerError)) or status is None or status < 400 or status in UNSURE:
        return ended.doubted(departure, world, reason, status)
    return ended.refused(departure, world, reason, status)


def _look_up(departure: Submission, core: Core, world: SubmitContext) -> SubmissionResult:
    # What the listing shows counts from here.
    may_decide = world.clock() >= departure.until and not world.remaining()
    try:
        verdict = _search(reconcile.find_message(_sought(departure)), core, world)
    except CarrierXError as error:
        return _not_shown(departure, world, error, may_decide)
    if isinstance(verdict, reconcile.Ambiguous) and verdict.sids and all(map(world.is_known, verdict.sids)):
        verdict = reconcile.MessageAbsent()
    return _judged(departure, world, verdict, may_decide)


def _search(steps: reconcile.Steps, core: Core, world: SubmitContext) -> reconcile.ReconcileVerdict:
    try:
        ask = next(steps)
        while not world.is_over():
            ask = steps.send(_page(ask, core, world))
    except StopIteration as end:
        verdict: reconcile.ReconcileVerdict = end.value
        return verdict
    return reconcile.ListingUnreadable("CarrierX's listing could not be read to its end in time.")


def _page(ask: listing.ListingRequest, core: Core, world: SubmitContext) -> listing.ListingPage:
    """Asked for again at once where it may help: the schedule is long, and somebody waits for what is in doubt."""
    for wait in AGAIN:
        try:
            return core.messages(limit=ask.limit, offset=ask.offset)
        except (AnswerLost, Conflict, ServerError):
            if world.is_over():
                raise
        time.sleep(wait)
    return core.messages(limit=ask.limit, offset=ask.offset)


def _judged(
    departure: Submission, world: SubmitContext, verdict: reconcile.ReconcileVerdict, may_decide: bool
) -> SubmissionResult:
    if isinstance(verdict, reconcile.MessageFound):
        return _found(departure, world, verdict)
    if isinstance(verdict, reconcile.ListingUnreadable):
        return ended.unread(departure, world, verdict.reason)
    if not may_decide:
        return ended.not_yet(departure, world)
    if isinstance(verdict, reconcile.Ambiguous):
        return ended.undecided(departure, world, verdict.reason)
    return _absent(departure, world)


def _found(departure: Submission, world: SubmitContext, found: reconcile.MessageFound) -> SubmissionResult:
    answer = json.dumps(found.item, default=str).encode()  # prices are no floats
    if settle.read(answer, _entry(departure)) is None:
        return ended.undecided(departure, world, reconcile.NAMELESS)
    return ended.sent(departure, world, answer)


def _absent(departure: Submission, world: SubmitContext) -> SubmissionResult:
    """It goes on by the schedule: what failed was the attempt before this one, and that has counted."""
    failed = departure.claimed.attempts_since_replay - 1
    wait = ended.wait(departure, world, failed) if failed > 0 else 0.0
    if wait is None:
        return ended.refused(departure, world, NEVER)
    return ended.owed(departure, world, ABSENT, departure.uncertain_until + wait)


def _not_shown(departure: Submission, world: SubmitContext, error: CarrierXError, may_decide: bool) -> SubmissionResult:
    if isinstance(error, (NotSent, NotAuthorized)):
        return ended.not_yet(departure, world, SubmitFault(str(error)))
    if isinstance(error, TooMany):
        return ended.not_yet(departure, world, ended.throttled(error))
    if isinstance(error, CoreError) and error.status in CLOSED:
        reason = str(error)
        return ended.undecided(departure, world, reason) if may_decide else ended.not_yet(departure, world)
    return ended.unread(departure, world, str(error), error)


def _sought(departure: Submission) -> reconcile.Wanted:
    entry, request = _entry(departure), json.loads(departure.claimed.body)
    return reconcile.Wanted(
        send_id=entry.send_id,
        number=entry.number,
        phone=entry.phone,
        text=_text(request),
        since=max(entry.created_at, departure.uncertain_until - FLIGHT),
    )


def _text(request: Any) -> str:
    text = request.get("message")
    return text if isinstance(text, str) else ""


def _entry(departure: Submission) -> ledger.LedgerEntry:
    if departure.entry is None:
        raise ValueError("the ledger has nothing of it")
    return departure.entry


_STEPS: dict[SubmitAction, Callable[[Submission, Core, SubmitContext], SubmissionResult]] = {
    "post": _post,
    "look up": _look_up,
    "known": _known,
    "opted out": _opted_out,
    "gone": _gone,
}
