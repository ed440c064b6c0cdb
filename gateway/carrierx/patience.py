"""Which requests are made again, and after how long. Pure: the dice and the clock are arguments.

after            a send   reads and callbacks   why
NotSent          again    again                 nothing reached CarrierX
409, 429         again    again                 CarrierX says that it did nothing
5xx, AnswerLost  never    again                 a text may have been sent, a second one would be; to ask twice, or
                                                to set the same URL twice, changes nothing
all else         never    never                 the same answer would come
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

from gateway.carrierx.errors import AnswerLost, CarrierXError, Conflict, CoreError, NotSent, ServerError, TooMany

FIRST, LONGEST = 0.5, 30.0
"""Seconds before the second request, doubled before each that follows; and the most."""
LONGEST_ASKED = 60.0
"""Seconds that CarrierX may ask for: who asks for more is not waited for, and never called earlier than asked."""
_SECONDS = re.compile(r"[0-9]{1,9}")


def wait(turn: int, error: CarrierXError, *, repeatable: bool, dice: float) -> float | None:
    """Seconds until the request is made again after `turn` (0, 1, …) repetitions; None: it is not.

    `repeatable`: doing it twice is the same as doing it once. `dice`: 0 up to 1.
    """
    if not _may(error, repeatable):
        return None
    asked = error.retry_after if isinstance(error, CoreError) else None
    if asked is None:
        return min(FIRST * 2.0**turn, LONGEST) * (0.5 + dice / 2)
    # To the late side only: never earlier than asked, never all at once.
    return asked * (1 + 0.2 * dice) if asked <= LONGEST_ASKED else None


def _may(error: CarrierXError, repeatable: bool) -> bool:
    return isinstance(error, (NotSent, Conflict, TooMany)) or (
        repeatable and isinstance(error, (AnswerLost, ServerError))
    )


def retry_after(header: str | None, now: float) -> float | None:
    """`Retry-After` in seconds: a number or an HTTP date (RFC 9110, 10.2.3). `now`: epoch seconds."""
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
