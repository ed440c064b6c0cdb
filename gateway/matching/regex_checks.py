"""Facts about a keyword or pattern that are known before any text comes: it can match none, or may hang. Pure.

Python keeps its parser of patterns to itself. Should it move one day, nothing is found wrong with patterns any more,
and nothing else changes.
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from gateway.matching.keywords import MAX_COMPARED_CHARACTERS, fold, normalized

_USUAL_FORMS = "white space is single spaces then, and letters have their usual forms"
_UNBOUNDED_REPETITIONS = 1_000  # repetitions from which on a limit is as good as none


def why_never_matches(match: str, form: str) -> str:
    """The reason why a word or pattern, compared in that way, can match no text at all; empty if it may.
    Of patterns only what is sure counts."""
    if match == "regex":
        parsed = _parse(form)
        if parsed is not None and parsed.getwidth()[0] > MAX_COMPARED_CHARACTERS:
            return f"needs more than the {MAX_COMPARED_CHARACTERS} characters of a text that are looked at"
        return "" if parsed is None else _why_never(list(parsed))
    word = fold(form)
    if not word:
        return "has nothing that counts: quotes, punctuation and invisible characters do not"
    if match == "word" and " " in word:
        return 'is several words, and match = "word" compares only the first word of a text: use "exact" or "prefix"'
    return ""


def may_hang(pattern: str) -> bool:
    """True if one repetition holds another, as in ``(a+)+``: some texts then keep `re` busy practically for ever."""
    parsed = _parse(pattern)
    return parsed is not None and _has_nested_repeat(parsed, inside=False)


def _parse(pattern: str) -> Any:
    """A tree of (operation, argument), by the parser of `re` itself; None where there is none."""
    try:
        return importlib.import_module("re._parser").parse(pattern)
    except (ImportError, AttributeError, re.error, RecursionError, OverflowError):
        return None


def _why_never(items: list[tuple[Any, Any]]) -> str:
    """The first reason among items that must be found one after the other."""
    for index, (operation, argument) in enumerate(items):
        name = str(operation)
        character = chr(argument) if name == "LITERAL" else ""
        # An accent may melt into the letter before it or not: nothing is sure about it.
        is_accent = character and unicodedata.category(character)[0] == "M"
        if character and not is_accent and normalized(f"x{character}x") != f"x{character}x":
            return f"asks for U+{argument:04X}, which no text has when it is compared: {_USUAL_FORMS}"
        if name == "AT" and str(argument) in ("AT_END", "AT_END_STRING") and _has_width(items[index + 1 :]):
            return "asks for something behind the end of the text ($)"
        if name == "AT" and str(argument) in ("AT_BEGINNING", "AT_BEGINNING_STRING") and _has_width(items[:index]):
            return "asks for something before the beginning of the text (^)"
        if name == "SUBPATTERN" and (reason := _why_never(list(argument[-1]))):
            return reason
        if name == "FAILURE" or (name == "ASSERT_NOT" and not list(argument[1])):
            return "asks for what can never be: (?!)"
    return ""


def _has_width(items: Iterable[tuple[Any, Any]]) -> bool:
    """True if these need a character for sure. Only plain ones are counted."""
    return any(str(operation) in ("LITERAL", "NOT_LITERAL", "ANY", "IN") for operation, _ in items)


def _has_nested_repeat(items: Iterable[tuple[Any, Any]], *, inside: bool) -> bool:
    """`inside`: the items are repeated already."""
    for operation, argument in items:
        name, repeats, parts = str(operation), False, []
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = argument
            repeats, parts = int(high) >= _UNBOUNDED_REPETITIONS and int(high) != int(low), [body]
        elif name in ("SUBPATTERN", "ASSERT", "ASSERT_NOT", "BRANCH"):
            parts = argument[1] if name == "BRANCH" else [argument[-1]]
        within = (inside or repeats) and not name.startswith("ASSERT")
        if (repeats and inside) or any(_has_nested_repeat(part, inside=within) for part in parts):
            return True
    return False
