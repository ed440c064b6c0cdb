"""The statuses of a message: their words, which one is newer, which are final, and the numbers of old platforms.

CarrierX's flow (vendor's guide to SMS callbacks)::

    queued ─▶ sent ─▶ delivered | undelivered | timed_out
       ├────▶ sending_timed_out ─▶ sending_failed
       ├────▶ internal_error ────▶ sending_failed
       └────▶ failed                                      inbound messages: received
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

RECEIVED = "received"

# How far along the flow a word is. Two words of the same stage cannot be told apart in time.
_STAGE: Mapping[str, int] = MappingProxyType(
    {
        "queued": 0,
        "sent": 1,
        "sending_timed_out": 1,
        "internal_error": 1,
        "delivered": 2,
        "undelivered": 2,
        "timed_out": 2,
        "sending_failed": 2,
        "failed": 2,
    }
)
_LAST = 2

WORDS: tuple[str, ...] = (*_STAGE, RECEIVED)
FINAL: frozenset[str] = frozenset(word for word, stage in _STAGE.items() if stage == _LAST)

# Our choice, where the vendors are silent: the numbers that ``status_words = "numeric"`` writes ...
NUMERIC: Mapping[str, str] = MappingProxyType(
    {
        "queued": "99",
        "sent": "101",
        "delivered": "100",
        "sending_timed_out": "102",
        "internal_error": "102",
        "undelivered": "200",
        "timed_out": "200",
        "sending_failed": "200",
        "failed": "200",
    }
)
# ... and the meaning of a number that an old platform sends.
_MEANING: Mapping[int, str] = MappingProxyType(
    {-1: "queued", 99: "queued", 102: "queued", 101: "sent", 100: "delivered"}
    | dict.fromkeys(range(110, 117), "failed")
)
_FAILED_FROM = 200
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


def read(text: str) -> tuple[str, bool]:
    """CarrierX's word for a status as any platform writes it, and True if it is known.

    Words in any case and numbers are read; an unknown status is trimmed, and otherwise left as it is.
    """
    trimmed = text.strip()
    if _NUMBER.fullmatch(trimmed):
        number = int(trimmed)
        word = _MEANING.get(number, "failed" if number >= _FAILED_FROM else trimmed)
    else:
        word = trimmed.casefold()
    return (word, True) if word in WORDS else (trimmed, False)


def is_final(word: str) -> bool:
    """True if no other status is to be expected after this one. An unknown word never is final."""
    return word in FINAL


def stage(word: str) -> int:
    """The stage of the flow that a word stands for; an unknown word comes last."""
    return _STAGE.get(word, _LAST + 1)


def supersedes(old: str, new: str) -> bool:
    """True if `new` may go out after `old` did: never backwards, never a non-final word after a final one."""
    if is_final(old):
        return is_final(new)
    if old not in _STAGE or new not in _STAGE:
        return True
    return _STAGE[new] >= _STAGE[old]
