"""The result of an attempt: success or not, when the next one is due, what is kept of it, and what is texted back.

    attempt   1     2     3      4       5     6     7     8     9     10
    after        5 s  30 s  2 min  10 min  30 min  1 h   3 h   6 h   12 h     (each ±20 %)   then dead: 23 hours

Redirects are no success, unless the endpoint's `success` names them. 410 says that nothing is wanted here any more.

Pure: the time and random numbers are arguments.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.config import Endpoint
from gateway.delivery.circuit_breaker import failure_weight, requested_pause
from gateway.delivery.diagnosis import diagnose, headline
from gateway.delivery.redaction import EndpointRedaction
from gateway.safe_http.error_pages import FAILURE_BODY, WARNING, decode_body, find_page, page_name
from gateway.safe_http.models import Request, Response, parse_retry_after
from gateway.store.leases import ClaimedDelivery, SettledDelivery
from schemas import charsets

RETRY_SECONDS = (5, 30, 120, 600, 1800, 3600, 10800, 21600, 43200)
JITTER = 0.2
MAX_RETRY_AFTER_SECONDS = 3600  # an endpoint cannot put off the next attempt for longer, unless the schedule does
MAX_REPLY_CHARACTERS = 1_600
MAX_REDACTIONS = 1_000  # endpoints whose secrets are remembered; URLs that came with requests may be any number

_HTML = re.compile(
    r"<\s?(?:!doctype|!--|\?|/?(?:html|head|body|script|style|title|meta|link|div|span|p|br|hr|b|i|u|a|h[1-6]|ul|ol|li"
    r"|table|tr|td|th|font|center|strong|em|pre|form|input|img|iframe)(?:\s+[\w:-]+\s*=[^<>]*|\s*/?)>)",
    re.IGNORECASE,
)
_redactions: dict[str, tuple[Endpoint, EndpointRedaction]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one response counts."""

    outcome: str  # ``succeeded``, ``again`` or ``dead``
    sentence: str = ""  # why it is no success
    retry_after: float | None = None  # seconds that the endpoint asks to wait


SUCCEEDED = Verdict(outcome="succeeded")


def judge(response: Response, endpoint: Endpoint, now: float) -> Verdict:
    """Judges one response. `now`: epoch seconds, for a `Retry-After` that is a date."""
    sentence, failure = headline(response, endpoint), response.failure
    if not sentence:
        return SUCCEEDED
    if (response.status == 410 and not failure) or (failure and failure.kind == "url"):
        return Verdict(outcome="dead", sentence=sentence)
    return Verdict(
        outcome="again", sentence=sentence, retry_after=parse_retry_after(response.header("Retry-After"), now)
    )


def retry_delay(attempts: int, random: float, retry_after: float | None = None) -> float | None:
    """Seconds until the next attempt after `attempts` (1, 2, …) that failed; None: there is none, it is dead.
    `random`: 0 up to 1. What the endpoint asked for counts between the schedule's earliest moment and an hour (or the
    schedule, where that is later), and is spread to the late side only: never earlier than asked, never all at once."""
    if attempts > len(RETRY_SECONDS):
        return None
    planned = RETRY_SECONDS[max(attempts, 1) - 1]
    if retry_after is None:
        return planned * (1 - JITTER + 2 * JITTER * random)
    asked = min(max(retry_after, planned * (1 - JITTER)), max(MAX_RETRY_AFTER_SECONDS, planned))
    return asked * (1 + JITTER * random)


@dataclass(slots=True)
class AttemptInFlight:
    """An attempt in flight since `started`, in monotonic seconds, in this generation of the endpoint's breaker."""

    claimed: ClaimedDelivery
    endpoint: Endpoint
    request: Request
    started: float
    generation: int
    seconds: float = 0.0  # how long it took, once it has ended


class AttemptResult(NamedTuple):
    """An attempt that ended, as its delivery is settled and as its endpoint is judged by it."""

    settled: SettledDelivery
    weight: int | None
    """How much it counts against the endpoint, see `failure_weight`; 0 after a success, None if it says nothing."""
    pause: float | None  # seconds for which the endpoint asks to get no deliveries


def classify(attempt: AttemptInFlight, response: Response, now: float, random: float) -> AttemptResult:
    """The delivery as it is to be settled, without the endpoint's secrets. `random`: 0 up to 1, spreads retries."""
    endpoint, claimed, failure = attempt.endpoint, attempt.claimed, response.failure
    # Made once for each endpoint as it is configured now: a changed configuration has new objects.
    known = _redactions.get(endpoint.name)
    if known is None or known[0] is not endpoint:
        if len(_redactions) >= MAX_REDACTIONS:
            _redactions.clear()
        known = _redactions[endpoint.name] = (endpoint, EndpointRedaction.of(endpoint))
    redaction = known[1]
    diagnosis: Sequence[str] = ()
    weight: int | None = 0
    delay = pause = None
    reply = ""
    if endpoint.free_form and failure and failure.kind in ("refused_address", "url"):
        # Retries would make it a way to look around in private networks. An operator may replay it.
        verdict, weight = Verdict(outcome="dead", sentence=failure.sentence), None
    else:
        verdict = judge(response, endpoint, now)
    if verdict is not SUCCEEDED:
        diagnosis = diagnose(attempt.request, response, endpoint)
        if verdict.outcome == "again":
            delay = retry_delay(claimed.attempts_since_replay, random, verdict.retry_after)
        if weight is not None:
            weight, pause = failure_weight(response), requested_pause(response, verdict.retry_after)
    elif claimed.replies:
        reply, reason = reply_text(response)
        if reply != redaction.text(reply):
            reply, reason = "", "the answer holds a secret of the endpoint"
        diagnosis = (f"no reply was sent: {reason}",) if reason else ()
    settled = SettledDelivery(
        claimed=claimed,
        outcome="succeeded" if verdict is SUCCEEDED else "dead" if delay is None else "again",
        due=None if delay is None else now + delay,
        finished_at=now,
        sentence=verdict.sentence,
        status=response.status,
        answer_headers=redaction.headers(response.headers),
        answer_body=redaction.body(response.body),
        times=response.times.as_dict(),
        diagnosis=diagnosis,
        reply=reply,
    )
    return AttemptResult(settled, weight, pause)


def reply_text(response: Response) -> tuple[str, str]:
    """Returns the text that answers the sender, and the reason why there is none: one of them is empty.
    Only plain text is texted back, since it cannot be taken back: whatever may be a page, an error or half an answer is
    no reply."""
    if response.failure or response.status is None or not 200 <= response.status < 300:
        return "", "the answer is no success"
    if response.size > len(response.body):
        return "", "the answer was not read to its end"
    types = [value for name, value in response.headers if name.lower() == "content-type"]
    if [value.partition(";")[0].strip().lower() for value in types] != ["text/plain"]:
        return "", "the answer's Content-Type is not text/plain"
    if (response.header("Content-Encoding") or "identity").strip().lower() != "identity":
        return "", "the answer is compressed (Content-Encoding)"
    charset, _ = charsets.choose(charsets.declared(types[0]), [(b"", response.body)])
    decoded = charsets.decoder(charset)(response.body).removeprefix("\ufeff")
    text = decoded.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        return "", "the answer is empty"
    if len(text) > MAX_REPLY_CHARACTERS:
        return "", f"the answer is longer than {MAX_REPLY_CHARACTERS:,} characters"
    if b"\0" in response.body or any(unicodedata.category(one) == "Cc" and one not in "\n\t" for one in text):
        return "", "the answer has control characters in it"
    if _HTML.search(text):
        return "", "the answer looks like HTML"
    page = find_page(FAILURE_BODY, response.body)
    if page or WARNING.search(decode_body(response.body)):
        return "", f"the answer is {page_name(page) if page else 'a PHP warning'}"
    return text, ""
