"""Finds keywords and patterns that can match no text at all, before any text comes. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

from gateway.matching.keywords import MAX_COMPARED_CHARACTERS, fold, normalized
from gateway.matching.patterns import parse

_USUAL_FORMS = "white space is single spaces then, and letters have their usual forms"


def why_never_matches(match: str, form: str) -> str:
    """The reason why a word or pattern, compared in that way, can match no text at all; empty if it may.
    Of patterns, which must be good ones, only what is sure counts."""
    if match == "regex":
        parsed = parse(form)
        if parsed.getwidth()[0] > MAX_COMPARED_CHARACTERS:
            return f"needs more than the {MAX_COMPARED_CHARACTERS} characters of a text that are looked at"
        return _why_never(list(parsed))
    word = fold(form)
    if not word:
        return "has nothing that counts: quotes, punctuation and invisible characters do not"
    if match == "word" and " " in word:
        return 'is several words, and match = "word" compares only the first word of a text: use "exact" or "prefix"'
    return ""


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
    return ""


def _has_width(items: Iterable[tuple[Any, Any]]) -> bool:
    """True if these need a character for sure. Only plain ones are counted."""
    return any(str(operation) in ("LITERAL", "NOT_LITERAL", "ANY", "IN") for operation, _ in items)
