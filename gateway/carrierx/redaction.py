"""Keeps secrets, texts and numbers out of what is said about a request: answers echo what they were asked. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

HIDDEN = "[hidden]"
SHORTEST = 4
"""Characters: what is shorter stands everywhere by chance."""
RUN = 12
"""Characters in a row that are no chance: an echo may be cut, or quoted in another way."""
READ, SAID = 4000, 200
"""Characters of an answer that are looked at, and that are told."""

_NUMBER = re.compile(r"(?<![\w-])\+?[0-9](?:[ ().-]{0,2}[0-9]){6,}(?![\w-])")
_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)


class Redactor:
    """Of one request: knows what must not be told of it."""

    def __init__(self, secrets: Iterable[str], body: bytes | None = None) -> None:
        self._values = [value for value in (*secrets, *_texts(body)) if len(value) >= SHORTEST]

    def __repr__(self) -> str:
        return "<Discretion>"

    def told(self, said: object) -> str:
        """`said` in one line of at most `SAID` characters; empty for what is no text."""
        if not isinstance(said, str):
            return ""
        text = "".join(letter if letter.isprintable() else " " for letter in said[:READ])
        for value in self._values:
            text = text.replace(value, _last(value)) if _is_number(value) else _without(text, value)
        text = " ".join(_NUMBER.sub(lambda found: _last(found[0]), text).split())
        return text if len(text) <= SAID else f"{text[:SAID].rstrip()}…"

    def told_of_page(self, body: bytes) -> str:
        """The begin of what is no JSON, such as a proxy's HTML, without its markup."""
        return self.told(_MARKUP.sub(" ", body[: 4 * READ].decode("utf-8", "replace")))


def _texts(body: bytes | None) -> Iterator[str]:
    if not body:
        return iter(())
    try:
        return _strings(json.loads(body))
    except (ValueError, RecursionError):
        return iter((body.decode("utf-8", "replace"),))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _is_number(value: str) -> bool:
    return value.removeprefix("+").isdigit()


def _last(number: str) -> str:
    return f"…{number[-4:]}"


def _without(text: str, value: str) -> str:
    """`text` with every run of `RUN` characters that `value` has, too, put out of sight."""
    run = min(len(value), RUN)
    runs = {value[at : at + run] for at in range(len(value) - run + 1)}
    hidden = [False] * len(text)
    for at in range(len(text) - run + 1):
        if text[at : at + run] in runs:
            hidden[at : at + run] = [True] * run
    pieces = groupby(zip(text, hidden, strict=True), key=lambda pair: pair[1])
    return "".join(HIDDEN if is_hidden else "".join(letter for letter, _ in pairs) for is_hidden, pairs in pieces)
