"""What one transaction of the Sender carries: what came back is settled, what is due is claimed, both or neither."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

from gateway.config import Config
from gateway.delivery.batch import LEASE_MARGIN_SECONDS
from gateway.outbound import status_posts
from gateway.routing import route
from gateway.sender import settle, submit
from gateway.sender.outcome import Submission, SubmissionResult
from gateway.store import Connection, health, leases, ledger
from gateway.store.health import BreakerState
from gateway.store.leases import ClaimedDelivery, ClaimLimit, SettledDelivery
from schemas import Message

FIRST = 4
"""One place of so many is kept for what is sent for the first time."""


class SubmitBatchResult(NamedTuple):
    """What a round came to."""

    departures: list[Submission]
    woken: frozenset[str]
    """Endpoints that something is owed to by now."""


@dataclass(kw_only=True)
class SubmitBatch:
    """`now`: epoch seconds. `room`: how many more may leave."""

    owner: str
    config: Config
    now: float
    ended: Sequence[SubmissionResult] = ()
    room: int = 0
    held: Sequence[Submission] = ()
    """In flight, for so long, or after such a step of the clock, that their leases are to be taken anew."""
    is_doubtful: bool = False
    """Nobody knows whether the claims of the round before were committed."""
    known: Collection[int] = ()
    """Deliveries that are known to be ours, where some are in doubt."""
    tidies: bool = False
    """Updates that wait for nothing any more are let go."""
    states: Sequence[BreakerState] = ()
    """Whether everything is sent, for people."""

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.ended or self.room or self.held or self.is_doubtful or self.tidies or self.states)

    @cached_property
    def ordering_keys(self) -> tuple[str, ...]:
        return tuple(ordering_key for one in self.ended for ordering_key in _ordering_keys(one, self.config))

    def write(self, conn: Connection) -> SubmitBatchResult:
        """May be run more than once, and changes nothing here."""
        self._hold(conn)
        woken = self._settle(conn)
        if self.is_doubtful:
            leases.reclaim_uncertain(conn, self.owner, [ledger.ENDPOINT], self.known, self.now)
        if self.tidies:
            woken |= settle.release_stale(conn, self.config, self.now)
        if self.states:
            health.record_breakers(conn, self.owner, self.states, self.now)
        claimed = self._claim(conn) if self.room else []
        return SubmitBatchResult([submit.choose_action(conn, one, self.config, self.now) for one in claimed], woken)

    def _claim(self, conn: Connection) -> list[ClaimedDelivery]:
        rooms = {ledger.ENDPOINT: ClaimLimit(self.room, self.room // FIRST)}
        return leases.claim(conn, self.owner, rooms, self.now, {ledger.ENDPOINT: lease(self.config)})

    def _hold(self, conn: Connection) -> None:
        until = self.now + submit.SLACK + self.config.carrierx.timeout
        for one in self.held:
            ours = leases.extend(conn, self.owner, one.claimed, self.now + lease(self.config))
            if ours and one.plan == "post":
                ledger.mark_uncertain(conn, one.claimed.delivery_id, self.now, until)

    def _settle(self, conn: Connection) -> frozenset[str]:
        # What CarrierX said meanwhile, in a callback, is knowledge; what we could not find out is none.
        ended = [self._corrected(conn, one) for one in self.ended]
        applied = self._apply(conn, ended)
        woken: frozenset[str] = frozenset()
        for one, ours in zip(ended, applied, strict=True):
            # That it was sent is never forgotten, though somebody else has it by now.
            if ours or one.word in ("sent", "noted"):
                woken |= self._tell(conn, one)
        return woken

    def _corrected(self, conn: Connection, one: SubmissionResult) -> SubmissionResult:
        entry = ledger.of_send(conn, one.departure.claimed.delivery_id)
        if entry is None:
            return replace(one, word="same")
        one = replace(one, departure=replace(one.departure, entry=entry))
        if entry.message_sid and one.word not in ("sent", "noted"):
            return replace(one, outcome="succeeded", word="same", due=None, sentence="")
        return one

    def _apply(self, conn: Connection, ended: Sequence[SubmissionResult]) -> list[bool]:
        settled = {at: said for at, one in enumerate(ended) if (said := _settled(one))}
        applied = dict(zip(settled, leases.settle_all(conn, self.owner, [*settled.values()], self.now), strict=True))
        for at, one in enumerate(ended):
            if at not in settled:
                due = self.now if one.due is None else one.due
                applied[at] = leases.release_unattempted(conn, self.owner, [one.departure.claimed], due) == 1
        return [applied[at] for at in range(len(ended))]

    def _tell(self, conn: Connection, one: SubmissionResult) -> frozenset[str]:
        entry, word, config, now = one.departure.entry, one.word, self.config, self.now
        if entry is None or word == "same":
            return frozenset()
        if word == "sent":
            return settle.sent(conn, entry, one.answer, config, now)
        if word in _PROGRESS:
            return _PROGRESS[word](conn, entry, one.sentence, config, now)
        if word == "doubt":
            ledger.mark_uncertain(conn, entry.send_id, now, one.at)
        elif one.answer:
            _note(conn, entry, one.answer, config, now)
        return frozenset()


def _note(conn: Connection, entry: ledger.LedgerEntry, answer: bytes, config: Config, now: float) -> None:
    message = settle.read(answer, entry)
    if message is not None:
        ledger.mark_sent(conn, entry.send_id, message.message_sid, now, now + config.carrierx.missing_after)


_PROGRESS = {"refused": settle.refused, "undecided": settle.undecided, "owed": settle.put_back}


def lease(config: Config) -> float:
    """Seconds for which a send is claimed."""
    return config.carrierx.timeout + LEASE_MARGIN_SECONDS


def _settled(one: SubmissionResult) -> SettledDelivery | None:
    outcome: Literal["succeeded", "again", "dead", "uncounted"] = one.outcome
    if outcome == "uncounted":
        return None
    return SettledDelivery(
        claimed=one.departure.claimed,
        outcome=outcome,
        finished_at=one.at,
        due=one.due,
        sentence=one.sentence,
        status=one.status,
        answer_body=one.answer,
        times={"total": round(one.seconds * 1000, 1)},
    )


def _ordering_keys(one: SubmissionResult, config: Config) -> Iterator[str]:
    """The conversation's, and those of the posts that may be owed for what is settled."""
    yield one.departure.claimed.ordering_key
    entry = one.departure.entry
    if entry is not None and one.word in ("sent", "refused"):
        message = settle.read(one.answer, entry) if one.answer else None
        blank = Message(direction="outbound", from_=entry.number, to=entry.phone, status="", message_sid=entry.send_id)
        for endpoint in status_posts.status_endpoints(entry, config):
            yield route.ordering_key(endpoint, message or blank)
