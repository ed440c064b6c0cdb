"""Runs a target: draws inputs, checks each, and holds it to its time and to its memory."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import Phase, given
from hypothesis import strategies as st

MODULES = ("formats", "callbacks", "legacy_calls", "console", "configuration", "server")
MAX_ANSWER_SECONDS = 1.0
MAX_TRIES = 3  # a busy machine is late now and then, a slow parser each time
MAX_GROWTH_BYTES = 192 << 20
"""By how much the process that is fuzzed may grow, once it has answered `WARM_UP_INPUTS`. Hypothesis, atheris' counters
and the pages of SQLite take some of it."""
WARM_UP_INPUTS = 100
BATCH_INPUTS = 50
MAX_INPUTS = 5_000  # after its time, a run goes on only to walk the ways that are missing, and not for ever
PAGE_BYTES = 4096
MAX_LENGTH_BYTES = 4096  # of the bytes from which atheris lets hypothesis draw one input


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target of the fuzzing. `check` raises for a fault, and else says which way the input went."""

    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], str]
    ways: Sequence[str]
    """Ways that must be walked: inputs that are all refused at the door find nothing."""
    processes: Callable[[], Sequence[int | str]] = lambda: ("self",)
    """Whose memory is watched."""


@dataclass(slots=True)
class Run:
    """One run of a target, and its figures."""

    target: Target
    inputs: int = 0
    slowest_seconds: float = 0.0
    first_bytes: int = 0
    most_bytes: int = 0
    ways: Counter[str] = field(default_factory=Counter)

    def one(self, drawn: Any) -> None:
        try:
            seconds, tries = self._timed(drawn), 1
            while seconds > MAX_ANSWER_SECONDS and tries < MAX_TRIES:
                seconds, tries = self._timed(drawn), tries + 1
            assert seconds <= MAX_ANSWER_SECONDS, f"answered after {seconds:.1f} s, {MAX_TRIES} times"
            self.inputs += 1
            if self.inputs % WARM_UP_INPUTS == 0:
                self._weigh()
        except Exception as error:
            error.add_note(f"The input: {drawn!r}")
            raise
        self.slowest_seconds = max(self.slowest_seconds, seconds)
        hypothesis.target(seconds, label="seconds")

    def _timed(self, drawn: Any) -> float:
        started = time.perf_counter()
        way = self.target.check(drawn)
        seconds = time.perf_counter() - started
        self.ways[way] += 1
        return seconds

    def _weigh(self) -> None:
        pids = self.target.processes()
        resident = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES for pid in pids)
        self.first_bytes = self.first_bytes or resident
        self.most_bytes = max(self.most_bytes, resident)
        growth = resident - self.first_bytes
        assert growth < MAX_GROWTH_BYTES, f"{growth >> 20} MiB more after {self.inputs} inputs"

    def missing(self) -> list[str]:
        return [way for way in self.target.ways if not self.ways[way]]

    def __str__(self) -> str:
        ways = ", ".join(f"{way} {count}" for way, count in sorted(self.ways.items()))
        growth = (self.most_bytes - self.first_bytes) >> 20
        return f"{self.inputs} inputs, slowest {self.slowest_seconds:.3f} s, {growth} MiB more; {ways}"


def opened(name: str, folder: Path) -> AbstractContextManager[Target]:
    """The target of a module of this folder, with whatever it runs in `folder`."""
    found: AbstractContextManager[Target] = import_module(f"tests.fuzz.{name}").target(folder)
    return found


def run(target: Target, seconds: float, seed: int) -> Run:
    """Inputs drawn by hypothesis, one batch after the other, which climb towards slow answers. A fault is raised with
    the simplest input that shows it."""
    done, end = Run(target), time.monotonic() + seconds
    while time.monotonic() < end or (done.missing() and done.inputs < MAX_INPUTS):

        @hypothesis.settings(
            max_examples=BATCH_INPUTS,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=(Phase.generate, Phase.target, Phase.shrink),
        )
        @given(target.inputs)
        def batch(drawn: Any) -> None:
            done.one(drawn)

        hypothesis.seed(seed)(batch)()
        seed += 1
    return done


def run_covered(name: str, folder: Path, seconds: float, seed: int, report: Callable[[Run], None]) -> None:
    """Inputs that atheris mutates towards code that none before them reached. Ends the process."""
    import atheris  # type: ignore[import-untyped]  # only Linux has it, and only `make fuzz` installs it

    with atheris.instrument_imports(include=["schemas", "gateway"]):
        entered = opened(name, folder)
        target = entered.__enter__()
    done, end = Run(target), time.monotonic() + seconds

    @hypothesis.settings(database=None, deadline=None)
    @given(target.inputs)
    def one(drawn: Any) -> None:
        done.one(drawn)

    def one_input(data: bytes) -> None:
        if time.monotonic() > end:
            report(done)
            entered.__exit__(None, None, None)
            shutil.rmtree(folder)
            os._exit(0)  # libFuzzer takes any other end for a fault
        try:
            one.hypothesis.fuzz_one_input(data)  # type: ignore[attr-defined]
        except Exception as error:
            # libFuzzer shows the exception without its notes.
            sys.stderr.write("\n".join(getattr(error, "__notes__", ())) + "\n")
            raise

    corpus = folder / "corpus"
    corpus.mkdir()
    dice = random.Random(seed)
    for number in range(200):
        (corpus / f"{number:03}").write_bytes(dice.randbytes(dice.randrange(64, MAX_LENGTH_BYTES)))
    options = [f"-seed={seed or 1}", f"-max_len={MAX_LENGTH_BYTES}", "-len_control=0", "-rss_limit_mb=0"]
    atheris.Setup(["fuzz", *options, "-verbosity=0", f"-artifact_prefix={folder}/", str(corpus)], one_input)
    atheris.Fuzz()
