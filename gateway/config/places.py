"""Where in the file a setting stands. `tomllib` says what is in a file, never on which line.

A place is the path to a setting: ``("number", 0, "keyword", 1, "match")``. The scan below only has
to understand text that `tomllib` took. What it found is held against what `tomllib` read, and is
thrown away where the two differ: no line rather than a wrong one.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterator, Mapping

from gateway.config.spelling import shown

Place = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")
# A long string may end in one or two quotes of its own, right before the three that close it.
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})' r"|'''.*?'''(?:'{0,2})" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'", re.DOTALL
)


def spelled(place: Place) -> str:
    """A place as people write it: ``number[0].keyword[1].match``, ``endpoint."my crm".url``."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _BARE.fullmatch(step) else shown(step))
    return text


def line_of(place: Place, lines: Mapping[Place, int]) -> int | None:
    """The line of a place; of what it is missing from, where it is not there itself; None if unknown."""
    return next((lines[place[:end]] for end in range(len(place), 0, -1) if place[:end] in lines), None)


def lines_of(text: str, parsed: Mapping[str, object]) -> dict[Place, int]:
    """Every place of `text` with its line, counted from 1; nothing at all when in doubt."""
    try:
        lines = _Scan(text).document()
    except (IndexError, ValueError, RecursionError):
        return {}
    return lines if lines.keys() == set(_places(parsed, ())) else {}


def _places(value: object, place: Place) -> Iterator[Place]:
    if place:
        yield place
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _places(inner, (*place, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places(inner, (*place, index))


class _Scan:
    """One walk over one text. Raises IndexError or ValueError where it does not understand."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.newlines = [found.start() for found in re.finditer("\n", text)]
        self.lines: dict[Place, int] = {}
        self.rows: dict[Place, int] = {}
        """How many tables each ``[[array]]`` has so far."""

    def document(self) -> dict[Place, int]:
        table: Place = ()
        self._skip()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip()
        return self.lines

    def _header(self) -> Place:
        start = self.at
        array = self.text.startswith("[[", start)
        self.at += 2 if array else 1
        *parents, last = self._key()
        self._take("]]" if array else "]")
        table = (*self._descend(parents, start), last)
        if not array:
            return self._descend([last], start, table[:-1])
        self.rows[table] = self.rows.get(table, 0) + 1
        self._note(table, start)
        return self._note((*table, self.rows[table] - 1), start)

    def _descend(self, keys: list[str], start: int, place: Place = ()) -> Place:
        """Down the `keys`, in every array into its latest table, as TOML has it."""
        for key in keys:
            place = self._note((*place, key), start)
            if place in self.rows:
                place = (*place, self.rows[place] - 1)
        return place

    def _pair(self, place: Place) -> None:
        start = self.at
        for key in self._key():
            place = self._note((*place, key), start)
        self._take("=")
        self._skip()
        self._value(place)

    def _key(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip()
            bare = _BARE.match(self.text, self.at)
            keys.append(self._matched(bare) if bare else self._quoted())
            self._skip()
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _quoted(self) -> str:
        return str(tomllib.loads(f"key = {self._matched(_STRING.match(self.text, self.at))}")["key"])

    def _value(self, place: Place) -> None:
        match self.text[self.at]:
            case '"' | "'":
                self._matched(_STRING.match(self.text, self.at))
            case "[":
                self._items(place)
            case "{":
                self._inline(place)
            case _:
                self._matched(_SCALAR.match(self.text, self.at))

    def _items(self, place: Place) -> None:
        index = 0
        for _ in self._until("]"):
            self._value(self._note((*place, index), self.at))
            index += 1

    def _inline(self, place: Place) -> None:
        for _ in self._until("}"):
            self._pair(place)

    def _until(self, end: str) -> Iterator[None]:
        self.at += 1
        self._skip()
        while self.text[self.at] != end:
            yield
            self._skip()
            if self.text[self.at] != end:
                self._take(",")
                self._skip()
        self.at += 1

    def _note(self, place: Place, at: int) -> Place:
        self.lines.setdefault(place, bisect_left(self.newlines, at) + 1)
        return place

    def _take(self, wanted: str) -> None:
        self._skip()
        if not self.text.startswith(wanted, self.at):
            raise ValueError(wanted)
        self.at += len(wanted)

    def _skip(self) -> None:
        blank = _BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at

    def _matched(self, found: re.Match[str] | None) -> str:
        if found is None:
            raise ValueError(self.at)
        self.at = found.end()
        return found.group()
