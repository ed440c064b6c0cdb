"""Whether an attempt succeeded, and when there is another. Pure: the clock and the dice are arguments.

    attempt   1     2     3      4       5     6     7     8     9     10
    after        5 s  30 s  2 min  10 min  30 min  1 h   3 h   6 h   12 h     (each ±20 %)   then dead: 23 hours

Redirects are no success, unless the endpoint's `success` names them. 410 says that nothing is wanted here any more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from gateway.delivery.diagnosis import USUAL, Expected, headline
from gateway.safe_http.models import Response

WAITS = (5, 30, 120, 600, 1800, 3600, 10800, 21600, 43200)
"""Seconds after the first, second, … attempt."""
SPREAD = 0.2
LONGEST_ASKED = 3600
"""Seconds: an endpoint cannot put us off for longer than that, or than the schedule does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an attempt came to."""

    outcome: str
    """``succeeded``, ``again`` or ``dead``."""
    sentence: str = ""
    """Why it is no success."""
    retry_after: float | None = None
    """Seconds that the endpoint asked us to wait."""


SUCCEEDED = Verdict(outcome="succeeded")


def judge(answer: Response, expected: Expected = USUAL, now: float = 0.0) -> Verdict:
    """`now`: epoch seconds, for a `Retry-After` that is a date."""
    sentence = headline(answer, expected)
    if not sentence:
        return SUCCEEDED
    if answer.status == 410 and not answer.failure:
        return dead(sentence)
    if answer.failure and answer.failure.kind == "url":
        return dead(sentence)
    return Verdict(outcome="again", sentence=sentence, retry_after=_retry_after(answer, now))


def dead(sentence: str) -> Verdict:
    """For what no repetition mends, such as a message that the endpoint's format cannot say."""
    return Verdict(outcome="dead", sentence=sentence)


def wait(attempts: int, dice: float, retry_after: float | None = None) -> float | None:
    """Seconds until the next attempt after `attempts` (1, 2, …) that failed; None: there is none, it is dead.

    `dice`: 0 up to 1. What the endpoint asked for counts between the schedule's earliest moment and an hour (or the
    schedule, where that is later), and is spread to the late side only: never earlier than asked, never all at once.
    """
    if not 0 < attempts <= len(WAITS):
        return None if attempts > 0 else wait(1, dice, retry_after)
    planned = WAITS[attempts - 1]
    if retry_after is None:
        return planned * (1 - SPREAD + 2 * SPREAD * dice)
    asked = min(max(retry_after, planned * (1 - SPREAD)), max(LONGEST_ASKED, planned))
    return asked * (1 + SPREAD * dice)


_SECONDS = re.compile(r"[0-9]{1,9}")


def _retry_after(answer: Response, now: float) -> float | None:
    """Seconds or an HTTP date (RFC 9110, 10.2.3); None where there is none, or none that can be read."""
    text = (answer.header("Retry-After") or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
