"""What can be known of a regular expression before any text comes. PURE.

Python keeps the reading of its patterns to itself; where it should move that one day, nothing is
said about patterns any more, and nothing else changes.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from typing import Any

SAME = "white space is single spaces then, and letters have their usual forms"
_UNBOUNDED = 1_000
_ENDS = ("AT_END", "AT_END_STRING")
_BEGINNINGS = ("AT_BEGINNING", "AT_BEGINNING_STRING")
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT")


def why_pattern_never_matches(pattern: str, can_occur: Callable[[str], bool], longest: int) -> str:
    """Why a pattern can be found in no text; empty if it may be. Says only what is sure.

    `can_occur`: whether a character can be in a text at all; `longest`: characters that a text has at most.
    """
    parsed = _parsed(pattern)
    if parsed is None:
        return ""
    if parsed.getwidth()[0] > longest:
        return f"needs more than the {longest} characters of a text that are looked at"
    return _never(list(parsed), can_occur)


def may_hang(pattern: str) -> bool:
    """Whether a repetition holds another one, as in ``(a+)+``: some texts would then keep `re` busy for ages."""
    parsed = _parsed(pattern)
    return parsed is not None and _nested(parsed, inside=False)


def _parsed(pattern: str) -> Any:
    """A tree of (operation, argument), by the parser of `re` itself; None where there is none."""
    try:
        return importlib.import_module("re._parser").parse(pattern, re.IGNORECASE)
    except (ImportError, AttributeError, re.error, RecursionError, OverflowError):
        return None


def _never(items: list[tuple[Any, Any]], can_occur: Callable[[str], bool]) -> str:
    """The first reason among items that must be found one after the other."""
    for index, (operation, argument) in enumerate(items):
        name = str(operation)
        if name == "LITERAL" and not can_occur(chr(argument)):
            return f"asks for U+{argument:04X}, which no text has when it is compared: {SAME}"
        if name == "AT" and str(argument) in _ENDS and _is_wide(items[index + 1 :]):
            return "asks for something behind the end of the text ($)"
        if name == "AT" and str(argument) in _BEGINNINGS and _is_wide(items[:index]):
            return "asks for something before the beginning of the text (^)"
        if name == "SUBPATTERN" and (reason := _never(list(argument[-1]), can_occur)):
            return reason
        if name == "FAILURE" or (name == "ASSERT_NOT" and not list(argument[1])):
            return "asks for what can never be: (?!)"
    return ""


def _is_wide(items: Iterable[tuple[Any, Any]]) -> bool:
    """Whether these need a character for sure. Only plain ones are counted."""
    return any(str(operation) in ("LITERAL", "NOT_LITERAL", "ANY", "IN") for operation, _ in items)


def _nested(items: Iterable[tuple[Any, Any]], *, inside: bool) -> bool:
    return any(_holds(str(operation), argument, inside) for operation, argument in items)


def _holds(name: str, argument: Any, inside: bool) -> bool:
    if name in _REPEATS:
        low, high, body = argument
        repeats = int(high) >= _UNBOUNDED and int(high) != int(low)
        return (repeats and inside) or _nested(body, inside=inside or repeats)
    if name == "SUBPATTERN":
        return _nested(argument[-1], inside=inside)
    if name == "BRANCH":
        return any(_nested(branch, inside=inside) for branch in argument[1])
    return name in ("ASSERT", "ASSERT_NOT") and _nested(argument[1], inside=False)
