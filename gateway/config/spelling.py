"""How a mistake is said: the nearest known name, the value that was found, what it is."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LISTED = 40
_LONGEST = 60


class Filled(str):
    """Text that came out of the environment. It may be a secret, so no message ever shows it."""

    __slots__ = ()


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like `name`, whatever its case; empty where none is like it."""
    by_fold = {each.casefold(): each for each in known}
    found = get_close_matches(name.casefold().replace("-", "_"), by_fold, 1, 0.6)
    found = found or get_close_matches(name.casefold(), by_fold, 1, 0.6)
    return by_fold[found[0]] if found else ""


def unknown(name: str, known: Iterable[str], kind: str = "a setting") -> str:
    """The sentence about a name that is not known: with the nearest, else with all that are."""
    names = list(known)
    close = nearest(name, names)
    if close:
        return f'{shown(name)} is not {kind}; did you mean "{close}"?'
    return f"{shown(name)} is not {kind}; {listed(names)}"


def listed(names: Iterable[str]) -> str:
    """All of a few names, the first of many."""
    known = list(names)
    if not known:
        return "none is known here"
    more = ", …" if len(known) > _LISTED else ""
    return f"known: {', '.join(known[:_LISTED])}{more}"


def shown(value: str) -> str:
    """A value in quotes, on one line and short; not shown at all if it came from the environment."""
    if isinstance(value, Filled):
        return "the value from the environment"
    short = value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…"
    plain = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in short)
    return f'"{plain}"'


def kind_of(value: object) -> str:
    """What a TOML value is, in plain words."""
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "true or false"),
        (int, "a whole number"),
        (float, "a number with a point"),
        (str, "text"),
        (list, "a list"),
        (dict, "a table"),
    )
    return next((words for kind, words in kinds if isinstance(value, kind)), "a date or a time")
