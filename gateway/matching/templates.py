"""Texts with placeholders: ``Hello {name}``, or ``Hello {{ name }}``. Elsewhere `{{` and `}}` stand for braces. PURE.

Both spellings are in use, and a name in braces must never reach a phone: so it cannot be said at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

LONGEST_NAME = 64
"""Characters."""
_NAME = r"[A-Za-z0-9_.-]{1,64}"
_PARTS = re.compile(rf"\{{\{{ ?(?P<doubled>{_NAME}) ?\}}\}}|\{{\{{|\}}\}}|\{{(?P<name>{_NAME})\}}|[{{}}]")
_BRACES = {"{{": "{", "}}": "}"}


class MissingPlaceholder(ValueError):
    """Placeholders have no value: `names`, each once, in the order of the text."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(names))
        super().__init__(f"no value for {', '.join(self.names)}")


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with the values in their places; what a value holds is taken as it is. Raises `MissingPlaceholder`.

    An empty value is one. Of a text that `fault` finds wrong, what cannot be read stays as it stands.
    """
    missing = [name for name in placeholders(text) if name not in values]
    if missing:
        raise MissingPlaceholder(missing)
    return _PARTS.sub(lambda found: values[_named(found)] if _named(found) else _BRACES.get(found[0], found[0]), text)


def placeholders(text: str) -> Iterator[str]:
    """Their names, as often as they stand there."""
    return (name for found in _PARTS.finditer(text) if (name := _named(found)))


def _named(found: re.Match[str]) -> str:
    return found["name"] or found["doubled"] or ""


def fault(text: str) -> str:
    """What is wrong with the braces of a text, the end of a sentence that quotes nothing of it; empty: nothing."""
    for found in _PARTS.finditer(text):
        if found[0] == "}":
            return f"has a }} at character {found.start() + 1} that closes nothing; write }}}} for the brace itself"
        if found[0] == "{":
            return _opened(text, found.start())
    return ""


def _opened(text: str, at: int) -> str:
    end = text.find("}", at)
    if end < 0 or "{" in text[at + 1 : end]:
        return f"has a {{ at character {at + 1} that nothing closes; write {{{{ for the brace itself"
    return (
        f"has {{ }} at character {at + 1} with no name in it: a placeholder is {{name}}, of letters, digits and _ . -, "
        f"{LONGEST_NAME} characters at most"
    )
