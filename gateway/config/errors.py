"""Mistakes in `gateway.toml`: all are collected, each with its setting, its line and the nearest name that is known.

`tomllib` says what is in a file, never on which line, so the text is scanned once more. The result of the scan is
compared with what `tomllib` read, and dropped where the two differ: no line rather than a wrong one.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

SettingPath = tuple[str | int, ...]  # where a setting stands in the file: ``("number", 0, "keyword", 1, "match")``
Messages = str | Mapping[Any, "Messages"]
"""A sentence about one setting, or sentences by the names and indices of its parts."""

_MAX_NAMES = 40
_MAX_VALUE_CHARACTERS = 60
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE = r"[A-Za-z0-9_-]+"
_SCALAR = r"[^,\]}#\n]+"
# A long string may end in one or two quotes of its own, right before the three that close it.
_STRING = r'"""(?s:\\.|[^\\])*?"""(?:"{0,2})|' r"'''(?s:.)*?'''(?:'{0,2})|" r'"(?:\\.|[^"\\\n])*"|' r"'[^'\n]*'"


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake in the configuration, in words that hold no value of a secret setting."""

    path: str  # ``endpoint.signup.timeout``; empty for the file as a whole
    line: int | None  # counted from 1; None where it is not known for sure
    text: str

    def message(self, file: str) -> str:
        """``gateway.toml:12: endpoint.signup.timeout: must be …``"""
        where = file if self.line is None else f"{file}:{self.line}"
        return ": ".join(part for part in (where, self.path, self.text) if part)


class OperatorError(Exception):
    """The operator must act; `str()` says how."""


class ConfigError(OperatorError):
    """Every mistake of one file, in the order of its lines; `str()` gives one line for each.
    `warnings` are those that could be found in spite of the mistakes."""

    def __init__(self, faults: Iterable[Fault], file: str = "gateway.toml", warnings: Sequence[str] = ()) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line or 0))
        self.file = file
        self.warnings = tuple(warnings)
        super().__init__("\n".join(fault.message(file) for fault in self.faults))


class FromEnvironment(str):
    """Text that came out of the environment. It may be a secret, so no message ever shows it."""

    __slots__ = ()


class ErrorCollector:
    """Collects the mistakes and the warnings of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: Mapping[SettingPath, int] = {}
        self.faults: list[Fault] = []
        self._warnings: list[Fault] = []
        self._final: set[SettingPath] = set()

    def add(self, path: SettingPath, found: Messages, *, final: bool = False) -> None:
        """Adds a mistake, or a tree of them. A `final` one is the last at its path: its consequences are left out."""
        if isinstance(found, Mapping):
            for step, inner in found.items():
                self.add((*path, step), inner)
        elif not any(path[:end] in self._final for end in range(1, len(path) + 1)):
            self.faults.append(Fault(dotted(path), line_of(path, self.lines), found))
            if final:
                self._final.add(path)

    def warn(self, path: SettingPath, text: str) -> None:
        """Adds a warning about something that works, but probably not as intended."""
        self._warnings.append(Fault(dotted(path), line_of(path, self.lines), text))

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line each, in the order of the file."""
        return tuple(each.message(self.file) for each in sorted(self._warnings, key=lambda each: each.line or 0))


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like `name`, whatever its case; empty where none is like it."""
    by_case = {each.casefold(): each for each in known}
    for spelling in (name.casefold().replace("-", "_"), name.casefold()):
        if found := get_close_matches(spelling, by_case, 1, 0.6):
            return by_case[found[0]]
    return ""


def unknown(name: str, known: Iterable[str], kind: str = "a setting") -> str:
    """The message about a name that is not known: with the nearest known name, or with all of a few."""
    names = list(known)
    if close := nearest(name, names):
        return f'{quoted(name)} is not {kind}; did you mean "{close}"?'
    more = ", …" if len(names) > _MAX_NAMES else ""
    listed = f"known: {', '.join(names[:_MAX_NAMES])}{more}" if names else "none is known here"
    return f"{quoted(name)} is not {kind}; {listed}"


def quoted(value: str) -> str:
    """A value in quotes, on one line and short; not shown at all if it came from the environment."""
    if isinstance(value, FromEnvironment):
        return "the value from the environment"
    short = value if len(value) <= _MAX_VALUE_CHARACTERS else f"{value[: _MAX_VALUE_CHARACTERS - 1]}…"
    plain = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in short)
    return f'"{plain}"'


def dotted(path: SettingPath) -> str:
    """A path as people write it: ``number[0].keyword[1].match``, ``endpoint."my crm".url``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if re.fullmatch(_BARE, step) else quoted(step))
    return text


def line_of(path: SettingPath, lines: Mapping[SettingPath, int]) -> int | None:
    """The line of a path; where it is not in the file, the line of what it is missing from; None if unknown."""
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)


def lines_of(text: str, parsed: Mapping[str, object]) -> dict[SettingPath, int]:
    """Every path of `text` with its line, counted from 1; nothing at all when in doubt."""
    try:
        lines = _Scan(text).lines
    except (ValueError, RecursionError):
        return {}
    return lines if lines.keys() == set(_paths(parsed, ())) else {}


def _paths(value: object, path: SettingPath) -> Iterator[SettingPath]:
    if path:
        yield path
    if isinstance(value, (Mapping, list)):
        for step, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _paths(inner, (*path, step))


class _Scan:
    """One pass over a text that `tomllib` took. Raises ValueError where it does not understand the text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.newlines = [found.start() for found in re.finditer("\n", text)]
        self.lines: dict[SettingPath, int] = {}
        self.lengths: dict[SettingPath, int] = {}  # tables that each ``[[array]]`` has so far
        table: SettingPath = ()
        while character := self._next():
            if character == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> SettingPath:
        start, path = self.at, SettingPath()
        brackets, keys = self._take(r"\[\[?"), self._key()
        self._take(r"\]" * len(brackets))
        for at, key in enumerate(keys, 1):
            path = self._note((*path, key), start)
            if brackets == "[[" and at == len(keys):
                self.lengths[path] = self.lengths.get(path, 0) + 1
            # In every array down into its latest table, as TOML has it.
            if path in self.lengths:
                path = self._note((*path, self.lengths[path] - 1), start)
        return path

    def _pair(self, path: SettingPath) -> None:
        start = self.at
        for key in self._key():
            path = self._note((*path, key), start)
        self._take("=")
        self._value(path)

    def _key(self) -> list[str]:
        keys: list[str] = []
        while True:
            key = self._take(f"{_BARE}|{_STRING}")
            keys.append(str(tomllib.loads(f"key = {key}")["key"]) if key[0] in "\"'" else key)
            if self._next() != ".":
                return keys
            self.at += 1

    def _value(self, path: SettingPath) -> None:
        opening, index = self._take(rf"[\[{{]|{_STRING}|{_SCALAR}"), 0
        end = {"[": "]", "{": "}"}.get(opening)
        while end and self._next() != end:
            if opening == "[":
                self._value(self._note((*path, index), self.at))
                index += 1
            else:
                self._pair(path)
            self._take(rf",|(?=\{end})")
        self._take(f"\\{end}" if end else "")

    def _note(self, path: SettingPath, at: int) -> SettingPath:
        self.lines.setdefault(path, bisect_left(self.newlines, at) + 1)
        return path

    def _take(self, pattern: str) -> str:
        self._next()
        found = re.compile(pattern).match(self.text, self.at)
        if found is None:
            raise ValueError(self.at)
        self.at = found.end()
        return found.group()

    def _next(self) -> str:
        """The next character that is neither blank nor of a comment; empty at the end."""
        blank = _BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at
        return self.text[self.at : self.at + 1]
