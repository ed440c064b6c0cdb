"""Every mistake of one reading, gathered with its place, so that all are said at once."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config.model import ConfigError, Fault
from gateway.config.places import Place, line_of, spelled

Tree = Mapping[str | int, object]


class Findings:
    """What is wrong, and what is odd, in one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: Mapping[Place, int] = {}
        self._faults: list[Fault] = []
        self._warnings: list[Fault] = []
        self._settled: set[Place] = set()

    def fault(self, place: Place, text: str, *, settled: bool = False) -> None:
        """One mistake. A `settled` one is the last word on its place: what follows from it is not said."""
        if self._is_settled(place):
            return
        self._faults.append(self._at(place, text))
        if settled:
            self._settled.add(place)

    def faults(self, place: Place, found: object) -> None:
        """All messages of a marshmallow ``ValidationError``: sentences, lists of them, trees by name."""
        if isinstance(found, Mapping):
            for step, inner in found.items():
                self.faults(place if step == "_schema" else (*place, step), inner)
        elif isinstance(found, list):
            for inner in found:
                self.faults(place, inner)
        else:
            self.fault(place, str(found))

    def on_line(self, line: int | None, text: str) -> None:
        """A mistake of the file as a whole, or of its grammar."""
        self._faults.append(Fault("", line, text))

    def warn(self, place: Place, text: str) -> None:
        """Something that works, but hardly as it was meant."""
        self._warnings.append(self._at(place, text))

    def stop(self) -> None:
        """Raises `ConfigError` if there is any mistake."""
        if self._faults:
            raise ConfigError(self._faults, self.file, self.warnings)

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line each, in the order of the file."""
        return tuple(each.said(self.file) for each in sorted(self._warnings, key=lambda each: each.line or 0))

    def _at(self, place: Place, text: str) -> Fault:
        return Fault(spelled(place), line_of(place, self.lines), text)

    def _is_settled(self, place: Place) -> bool:
        return any(place[:end] in self._settled for end in range(1, len(place) + 1))
