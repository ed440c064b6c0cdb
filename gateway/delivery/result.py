"""What an attempt came to: as it is kept, as it is logged, and what it says of its endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gateway.config import Endpoint
from gateway.delivery import answer_text, retry
from gateway.delivery.circuit_breaker import asked, weigh
from gateway.delivery.diagnosis import diagnose
from gateway.delivery.redaction import EndpointRedaction
from gateway.safe_http.models import Request, Response
from gateway.store.leases import AttemptOutcome, ClaimedDelivery, SettledDelivery


@dataclass(slots=True)
class Attempt:
    """One on its way."""

    claimed: ClaimedDelivery
    endpoint: Endpoint
    request: Request
    begun: float
    """Seconds of the clock that nobody sets."""
    turn: int
    """Of the endpoint's breaker, when it began."""
    seconds: float = 0.0

    @property
    def tried(self) -> bool:
        """Whether there was one before it."""
        return self.claimed.attempts_since_replay > 1


class AttemptResult(NamedTuple):
    """What came of it."""

    settled: SettledDelivery
    weight: int | None
    """What it says against the endpoint: see `breaker.weigh`. None: nothing, neither way."""
    pause: float | None
    """Seconds for which the endpoint wants to be left alone."""


_NOT_TO_BE_CALLED = ("refused_address", "url")
_MANY = 1_000
"""Endpoints that are remembered; URLs that came with requests may be any number."""


class Judge:
    """Remembers each endpoint's secrets, to keep them out of what is stored."""

    def __init__(self) -> None:
        self._redactions: dict[str, tuple[Endpoint, EndpointRedaction]] = {}

    def judge(self, attempt: Attempt, answer: Response, now: float, dice: float) -> AttemptResult:
        """`dice`: 0 up to 1, spreads what is tried again."""
        endpoint = attempt.endpoint
        if endpoint.free_form and answer.failure and answer.failure.kind in _NOT_TO_BE_CALLED:
            # Asked again it would be a way to look around in private networks. An operator may put it back.
            return AttemptResult(self._failed(attempt, answer, answer.failure.sentence, now, None), None, None)
        verdict = retry.judge(answer, endpoint, now)
        if verdict.outcome == "succeeded":
            return AttemptResult(self._succeeded(attempt, answer, now), 0, None)
        wait = (
            retry.wait(attempt.claimed.attempts_since_replay, dice, verdict.retry_after)
            if verdict.outcome == "again"
            else None
        )
        settled = self._failed(attempt, answer, verdict.sentence, now, wait)
        return AttemptResult(settled, weigh(answer, False), asked(answer, verdict.retry_after))

    def _succeeded(self, attempt: Attempt, answer: Response, now: float) -> SettledDelivery:
        if not attempt.claimed.replies:
            return self._settled(attempt, answer, "succeeded", now)
        text, why = answer_text.read(answer)
        if text != self._redaction(attempt.endpoint).text(text):
            text, why = "", "the answer holds a secret of the endpoint"
        remark = (f"no reply was sent: {why}",) if why else ()
        return self._settled(attempt, answer, "succeeded", now, diagnosis=remark, reply=text)

    def _failed(
        self, attempt: Attempt, answer: Response, sentence: str, now: float, wait: float | None
    ) -> SettledDelivery:
        why = tuple(diagnose(attempt.request, answer, attempt.endpoint))
        if wait is None:
            return self._settled(attempt, answer, "dead", now, None, sentence, why)
        return self._settled(attempt, answer, "again", now, now + wait, sentence, why)

    def _settled(
        self,
        attempt: Attempt,
        answer: Response,
        outcome: AttemptOutcome,
        now: float,
        due: float | None = None,
        sentence: str = "",
        diagnosis: tuple[str, ...] = (),
        reply: str = "",
    ) -> SettledDelivery:
        secrets = self._redaction(attempt.endpoint)
        return SettledDelivery(
            claimed=attempt.claimed,
            outcome=outcome,
            due=due,
            finished_at=now,
            sentence=sentence,
            status=answer.status,
            answer_headers=secrets.headers(answer.headers),
            answer_body=secrets.body(answer.body),
            times=answer.times.as_dict(),
            diagnosis=diagnosis,
            reply=reply,
        )

    def _redaction(self, endpoint: Endpoint) -> EndpointRedaction:
        """Made once for each endpoint as it is configured now."""
        known = self._redactions.get(endpoint.name)
        if known is None or known[0] is not endpoint:
            if len(self._redactions) >= _MANY:
                self._redactions.clear()
            known = self._redactions[endpoint.name] = (endpoint, EndpointRedaction.of(endpoint))
        return known[1]
