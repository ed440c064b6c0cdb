"""`python -m tests.fuzz [--seconds N] [--seed N] [TARGET…]`: all targets, or those, one after the other.

Each has a process of its own, so that its memory can be told, and the same share of the seconds.
"""

from __future__ import annotations

import importlib.util
import logging
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import structlog

from tests.fuzz import engine

OUT_OF_PROCESS = frozenset({"server"})  # no coverage is to be seen from here


@click.command()
@click.option("--seconds", default=600.0, show_default=True, help="For all targets together.")
@click.option("--seed", type=int, help="Draws the same inputs once more. Else one is made, and printed.")
@click.argument("targets", nargs=-1, type=click.Choice(engine.MODULES))
def main(seconds: float, seed: int | None, targets: tuple[str, ...]) -> None:
    seed = random.randrange(1, 1 << 31) if seed is None else seed
    if len(targets) == 1:
        return fuzz(targets[0], seconds, seed)
    names = targets or engine.MODULES
    share = ["--seconds", str(seconds / len(names)), "--seed", str(seed)]
    failed = [name for name in names if subprocess.run([sys.executable, "-m", "tests.fuzz", *share, name]).returncode]
    sys.exit(f"Faults found by: {', '.join(failed)}" if failed else 0)


def fuzz(name: str, seconds: float, seed: int) -> None:
    is_covered = name not in OUT_OF_PROCESS and importlib.util.find_spec("atheris") is not None
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    by = "atheris" if is_covered else "hypothesis"
    click.echo(f"{name}: {seconds:.0f} s with {by}, --seed {seed}")

    def report(done: engine.Run) -> None:
        click.echo(f"{name}: {done}")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        if is_covered:
            engine.run_covered(name, Path(folder), seconds, seed, report)
        with engine.opened(name, Path(folder)) as target:
            report(engine.run(target, seconds, seed))


if __name__ == "__main__":
    main()
