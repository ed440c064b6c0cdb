"""Regular expressions of the configuration: Python's syntax, searched for by RE2, in time linear in the text. Pure.

`re` tries one way after the other: for ``^(a|aa)+$`` and a text of 62 characters it needs longer than anybody waits.
RE2 cannot do that, and so has no lookaround and no references. It also reads some patterns differently: its ``\\w`` is
ASCII, its ``$`` not before a final newline, ``{,3}`` not a repetition. Therefore Python's own parser reads a pattern,
and what it has understood is written down for RE2. Only ``\\b`` stays RE2's: a boundary of ASCII's words.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from re import _parser  # type: ignore[attr-defined]  # the tests of this module compare its patterns with `re`
from typing import Any

import re2

MAX_REPETITIONS = 1_000  # RE2's own limit
_REFUSED = {
    "ASSERT": "lookaround, (?=…) or (?<=…); write what must stand there as a part of the pattern",
    "ASSERT_NOT": "negative lookaround, (?!…) or (?<!…); write what may stand there instead, such as [^0-9] or $",
    "ATOMIC_GROUP": "an atomic group, (?>…); write (?:…)",
    "GROUPREF": r"a reference to a group, \1 or (?P=name); write out what may be repeated, such as aa|bb",
    "GROUPREF_EXISTS": "a condition, (?(1)…|…); write out both cases, such as <a>|a",
    "POSSESSIVE_REPEAT": "a possessive repetition, such as a++; write a+",
}
_REFUSED["FAILURE"] = _REFUSED["ASSERT_NOT"]  # ``(?!)``, as newer versions of Python read it
_SETS = {"DIGIT": r"\d", "NOT_DIGIT": r"\D", "SPACE": r"\s", "NOT_SPACE": r"\S", "WORD": r"\w", "NOT_WORD": r"\W"}
_PLACES = {"BEGINNING": r"\A", "BEGINNING_STRING": r"\A", "BOUNDARY": r"\b", "NON_BOUNDARY": r"\B"}
_PLACES |= {"END": r"(?:\n?\z)", "END_STRING": r"\z"}
_LINES = {"BEGINNING": "(?m:^)", "END": "(?m:$)"}

parse = _parser.parse  # of `re` itself: pattern and flags → a tree of (operation, argument)


class RefusedPattern(ValueError):
    """Python knows such a pattern, RE2 does not. The message is the end of a sentence about the pattern."""


@dataclass(frozen=True, slots=True)
class LinearPattern:
    """A pattern that can be searched for. Raises `re.error`, `OverflowError` and `RecursionError` as `re` does for what
    is no pattern, and `RefusedPattern`. `flags`: `re.ASCII`, `re.IGNORECASE` and `re.MULTILINE`, if at all.
    With the first two of them letters outside ASCII have two cases nevertheless."""

    pattern: str
    flags: int = 0
    _engine: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tree, options = parse(self.pattern, self.flags), re2.Options()
        options.log_errors = False
        try:
            object.__setattr__(self, "_engine", re2.compile(_scoped(tree, tree.state.flags), options))
        except re2.error:
            raise RefusedPattern("is too large; let it repeat less") from None

    def __str__(self) -> str:
        return self.pattern

    def search(self, text: str) -> bool:
        """True if it is found anywhere in the text, of which a lone surrogate counts as ``?``."""
        return self._engine.search(text.encode("utf-8", "replace")) is not None


def _scoped(items: Iterable[tuple[Any, Any]], flags: int) -> str:
    return f"({'?i' if flags & re.IGNORECASE else '?-i'}:{''.join(_write(str(name), of, flags) for name, of in items)})"


def _write(name: str, argument: Any, flags: int) -> str:
    """One operation in RE2's syntax. It is only ever asked whether a pattern is found: no group needs to capture."""
    match name:
        case "LITERAL":
            return f"\\x{{{argument:x}}}"
        case "NOT_LITERAL":
            return f"[^\\x{{{argument:x}}}]"
        case "ANY":
            return "(?s:.)" if flags & re.DOTALL else r"[^\n]"
        case "IN":
            return f"[{''.join(_member(str(kind), of, flags) for kind, of in argument)}]"
        case "AT":
            place = str(argument).removeprefix("AT_")
            return (flags & re.MULTILINE and _LINES.get(place)) or _PLACES[place]
        case "BRANCH":
            return f"(?:{'|'.join(_scoped(branch, flags) for branch in argument[1])})"
        case "SUBPATTERN":
            _, added, removed, items = argument
            return _scoped(items, (flags | added) & ~removed)
        case "MAX_REPEAT" | "MIN_REPEAT":
            low, high, items = argument
            most = "" if high is _parser.MAXREPEAT else high
            if max(low, most or 0) > MAX_REPETITIONS:
                raise RefusedPattern(f"repeats something more than {MAX_REPETITIONS:,} times; write * or +")
            return f"(?:{_scoped(items, flags)}{{{low},{most}}})"
    raise RefusedPattern(f"has {_REFUSED[name]}")


def _member(kind: str, argument: Any, flags: int) -> str:
    """One member of a set of characters, ``[…]``, in RE2's syntax."""
    match kind:
        case "NEGATE":
            return "^"
        case "LITERAL":
            return f"\\x{{{argument:x}}}"
        case "RANGE":
            return "\\x{{{:x}}}-\\x{{{:x}}}".format(*argument)
    return _ranges(_SETS[str(argument).removeprefix("CATEGORY_")], flags & re.ASCII)


@cache
def _ranges(escape: str, flags: int) -> str:
    """The characters that ``\\w`` and its like mean in Python, as ranges: Unicode's, or ASCII's if the flags
    say so. Behind ASCII all characters are alike then, and two stand for them."""
    every = "".join(map(chr, [*range(129), sys.maxunicode] if flags & re.ASCII else range(sys.maxunicode + 1)))
    runs = (run[0] for run in re.finditer(f"{escape}+", every, flags))
    return "".join(f"\\x{{{ord(run[0]):x}}}-\\x{{{ord(run[-1]):x}}}" for run in runs)
