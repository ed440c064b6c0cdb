"""Keeps secrets, texts and numbers out of error messages: CarrierX's answers may echo the request. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

HIDDEN = "[hidden]"
MIN_CHARACTERS = 4  # shorter values are not hidden: they stand everywhere by chance
RUN_CHARACTERS = 12  # a run of this length in common is no chance: an echo may be cut, or quoted in another way
MAX_READ_CHARACTERS = 4000
MAX_SHOWN_CHARACTERS = 200

_NUMBER = re.compile(r"(?<![\w-])\+?[0-9](?:[ ().-]{0,2}[0-9]){6,}(?![\w-])")
_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)


class Redactor:
    """Hides the secrets of an account, and the texts of one request's body."""

    def __init__(self, secrets: Iterable[str], body: bytes | None = None) -> None:
        try:
            texts = list(_strings(json.loads(body))) if body else []
        except (ValueError, RecursionError):
            texts = [(body or b"").decode("utf-8", "replace")]
        self._values = [value for value in (*secrets, *texts) if len(value) >= MIN_CHARACTERS]

    def redact(self, value: object) -> str:
        """`value` in one line of at most `MAX_SHOWN_CHARACTERS`; empty where it is no text."""
        if not isinstance(value, str):
            return ""
        text = "".join(character if character.isprintable() else " " for character in value[:MAX_READ_CHARACTERS])
        for hidden in self._values:
            is_number = hidden.removeprefix("+").isdigit()
            text = text.replace(hidden, _last_digits(hidden)) if is_number else _hide(text, hidden)
        text = " ".join(_NUMBER.sub(lambda found: _last_digits(found[0]), text).split())
        return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS].rstrip()}…"

    def redact_page(self, body: bytes) -> str:
        """The beginning of a body that is no JSON, such as a proxy's HTML, without its markup."""
        return self.redact(_MARKUP.sub(" ", body[: 4 * MAX_READ_CHARACTERS].decode("utf-8", "replace")))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _last_digits(number: str) -> str:
    return f"…{number[-4:]}"


def _hide(text: str, value: str) -> str:
    """`text` with `HIDDEN` in place of each run of `RUN_CHARACTERS` that stands in `value`, too."""
    run = min(len(value), RUN_CHARACTERS)
    runs = {value[at : at + run] for at in range(len(value) - run + 1)}
    hidden = [False] * len(text)
    for at in range(len(text) - run + 1):
        if text[at : at + run] in runs:
            hidden[at : at + run] = [True] * run
    pieces = groupby(zip(text, hidden, strict=True), key=lambda pair: pair[1])
    return "".join(HIDDEN if is_hidden else "".join(character for character, _ in pairs) for is_hidden, pairs in pieces)
