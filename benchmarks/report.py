"""What is written after the last run: tables on the terminal and as Markdown, every figure as JSON, a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import plot, summary, table
from benchmarks.runs import Run
from benchmarks.summary import Quoted


@dataclass(frozen=True, slots=True)
class Settings:
    """How it was run. `rate` is that of the paced run, callbacks a second."""

    seconds: float
    rounds: int
    connections: int
    workers: int
    rate: float


@dataclass(frozen=True, slots=True)
class Report:
    """All that is known at the end. `runs` by the names of `summary`, one for each round."""

    settings: Settings
    machine: Mapping[str, object]
    runs: Mapping[str, Sequence[Run]]
    quoted: Mapping[str, Quoted] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "quoted", {name: summary.quote(some) for name, some in self.runs.items()})

    def text(self) -> str:
        """Markdown that reads as well on a terminal."""
        how = self.settings
        return "\n\n".join(
            (
                f"{how.seconds:g} s a run, medians of {how.rounds}, {how.connections} connections, "
                f"{how.workers} web {'process' if how.workers == 1 else 'processes'}.",
                table.results(self.quoted),
                table.reached(summary.targets(self.quoted)),
                table.conditions(self.quoted),
                table.machine(self.machine),
            )
        )

    def write(self, folder: Path) -> None:
        """``latest.md``, ``latest.json``, ``latest.svg``; the ones before are replaced."""
        folder.mkdir(parents=True, exist_ok=True)
        page = f"# Latest figures\n\n![The figures below as bars](latest.svg)\n\n{self.text()}\n"
        (folder / "latest.md").write_text(page, encoding="utf-8")
        (folder / "latest.json").write_text(self._json(), encoding="utf-8")
        (folder / "latest.svg").write_text(plot.svg(self.quoted, self._subtitle()), encoding="utf-8")

    def _json(self) -> str:
        everything = {
            "settings": asdict(self.settings),
            "machine": self.machine,
            "quoted": {name: asdict(one) for name, one in self.quoted.items()},
            "targets": [asdict(one) for one in summary.targets(self.quoted)],
            "runs": {name: [asdict(run) for run in some] for name, some in self.runs.items()},
        }
        return json.dumps(everything, indent=1, ensure_ascii=False) + "\n"

    def _subtitle(self) -> str:
        how, here = self.settings, self.machine
        return (
            f"{here['cores']} cores ({here['cpu']}), {here['python']}, SQLite on {here['file_system']}, "
            f"{how.connections} connections; medians of {how.rounds} × {how.seconds:g} s, {here['date']}"
        )
