"""Texts with placeholders: ``Hello {name}``, or ``Hello {{ name }}``. Elsewhere `{{` and `}}` stand for braces. Pure.

Both spellings are in use. A name in braces must never reach a phone, so there is no way to write one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

MAX_NAME_CHARACTERS = 64
_NAME = rf"[A-Za-z0-9_.-]{{1,{MAX_NAME_CHARACTERS}}}"
_PARTS = re.compile(rf"\{{\{{ ?(?P<doubled>{_NAME}) ?\}}\}}|\{{\{{|\}}\}}|\{{(?P<name>{_NAME})\}}|[{{}}]")
_BRACES = {"{{": "{", "}}": "}"}


class MissingPlaceholder(ValueError):
    """Placeholders have no value: `names`, each once, in the order of the text."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(names))
        super().__init__(f"no value for {', '.join(self.names)}")


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with the values in their places; what a value holds is taken as it is. Raises `MissingPlaceholder`.
    An empty value is a value. In a text that `fault` finds wrong, what cannot be read stays as it stands."""
    if missing := [name for name in placeholders(text) if name not in values]:
        raise MissingPlaceholder(missing)
    return _PARTS.sub(
        lambda part: values[part[part.lastgroup]] if part.lastgroup else _BRACES.get(part[0], part[0]), text
    )


def placeholders(text: str) -> Iterator[str]:
    """The names of the placeholders, each as often as it occurs."""
    return (part[part.lastgroup] for part in _PARTS.finditer(text) if part.lastgroup)


def fault(text: str) -> str:
    """The end of a sentence that says what is wrong with the braces of a text, and quotes nothing of it; else empty."""
    for part in _PARTS.finditer(text):
        start = part.start()
        if part[0] == "}":
            return f"has a }} at character {start + 1} that closes nothing; write }}}} for the brace itself"
        if part[0] == "{":
            end = text.find("}", start)
            if end < 0 or "{" in text[start + 1 : end]:
                return f"has a {{ at character {start + 1} that nothing closes; write {{{{ for the brace itself"
            allowed = f"letters, digits and _ . -, {MAX_NAME_CHARACTERS} characters at most"
            return f"has {{ }} at character {start + 1} with no name in it: a placeholder is {{name}}, of {allowed}"
    return ""
