"""kill -9: at every step of a text's way, and at any moment under load."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import pytest

from tests.faults.conftest import Report
from tests.faults.load import Platform, ordering_keys
from tests.faults.world import World, gone, world
from tests.running import until

SHORT = 3
"""Steps at which the short form kills."""
PACE = 0.01
"""Seconds between two texts while a step is waited for: what comes in while nobody delivers must all arrive later."""
RARE = 10.0
"""Seconds after which a step counts as one that was only there by chance: a scan, a look at the clock."""
ENOUGH = {
    "web": {"BEGIN IMMEDIATE", "INSERT INTO events", "INSERT INTO deliveries", "commit", "committed", "told"},
    "worker": {"BEGIN IMMEDIATE", "UPDATE deliveries SET", "commit", "committed", "start", "started", "answers"},
}
"""Steps that there must be, whatever else there is."""


@contextmanager
def platform(world: World) -> Iterator[Platform]:
    made = Platform(world.ledger, [world.gateway.process.port], Event())
    try:
        yield made
    finally:
        made.close()


def tell(world: World, kind: str, name: str, number: int | str) -> Path:
    """Whole at once: the process may look at any moment."""
    file = world.folder / "points" / f"{kind}.kill"
    draft = file.with_suffix(".draft")
    draft.write_text(f"{name}\t{number}")
    draft.replace(file)
    return file


def steps(world: World, kind: str) -> list[tuple[str, int]]:
    """All that one text of each platform comes by: the name of each step, and its how manieth it is."""
    file = tell(world, kind, "", 0)
    with platform(world) as caller:
        assert all(caller.send(ordering_key) for ordering_key in ordering_keys(2))
    world.all_arrive()
    found = counted(file)
    names = {name for name, _ in found}
    assert names >= ENOUGH[kind], f"the steps of {kind} have other names now: {names}"
    return found


def counted(told: Path) -> list[tuple[str, int]]:
    """The steps that were passed since it was told; it is told no more."""
    told.unlink()
    count, found = Counter[str](), []
    for name in told.with_suffix(".steps").read_text().splitlines():
        count[name] += 1
        found.append((name, count[name]))
    return found


def some(found: list[tuple[str, int]], kind: str) -> list[tuple[str, int]]:
    """For the short form, none of those that are there by chance: it waits long for them, and may do so in vain."""
    sure = [step for step in found if step[0] in ENOUGH[kind]]
    return sure[:: max(1, len(sure) // SHORT)]


@pytest.mark.parametrize("kind", ["web", "worker"])
def test_at_every_step(kind: str, tmp_path: Path, full: bool, report: Report) -> None:
    """Between any two writes, to the disk or to the wire. Texts come until the step is reached, and are kept."""
    with world(tmp_path, delay=0.0) as here, platform(here) as caller:
        found, through, reached = steps(here, kind), itertools.cycle(here.ordering_keys), set[str]()
        for name, number in found if full else some(found, kind):
            file, end = tell(here, kind, name, number), time.monotonic() + RARE
            while file.exists() and time.monotonic() < end:
                with here.ledger.fault():  # the last of these is the one that counts
                    caller.send(next(through))
                    time.sleep(PACE)
                if file.exists():
                    here.ledger.faults.pop()
            if not file.exists():
                reached.add(name)
            file.unlink(missing_ok=True)
        here.all_arrive()
        here.balance(f"kill -9 of {kind} at every step", report)
        assert reached >= ENOUGH[kind] if full else reached


def test_while_an_endpoint_answers(tmp_path: Path, report: Report) -> None:
    """The request has arrived, and nobody is there any more to hear what became of it; or it was just answered."""
    with world(tmp_path) as here, platform(here) as caller:
        here.page.on_arrival = lambda arrival: kill_once(here)
        assert all(caller.send(ordering_key) for ordering_key in here.ordering_keys)
        here.all_arrive()
        row, _ = here.ledger.balance("", (), ())
        assert row.doubled, "nobody can know that it was taken"
        count = len(here.ledger.arrivals)
        assert all(caller.send(ordering_key) for ordering_key in here.ordering_keys)
        until(lambda: len(here.ledger.arrivals) > count, "the first one")
        here.kill("worker")
        here.all_arrive()
        here.balance("kill -9 of worker while endpoints answer", report)


def kill_once(here: World) -> None:
    """The worker whose request has just arrived."""
    here.page.on_arrival = lambda arrival: None
    here.kill("worker")


def test_in_its_first_start(tmp_path: Path, full: bool, report: Report) -> None:
    """While the tables are made: the next start makes them, and nobody has to clean up first."""
    with world(tmp_path, starts=False) as here:
        file = tell(here, "serve", "", 0)
        here.gateway.start()
        assert here.gateway.stop() == 0
        found = counted(file)
        for name, number in found[:: len(found) // 8] if full else [found[len(found) // 2]]:
            shutil.rmtree(here.gateway.folder / "data")
            tell(here, "serve", name, number)
            command, environ = here.gateway.process.command, here.gateway.process.environ
            killed = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
            assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        here.gateway.start()
        with platform(here) as caller:
            assert all(caller.send(ordering_key) for ordering_key in here.ordering_keys)
        here.all_arrive()
        here.balance("kill -9 in its first start", report, doubles=False)


def test_at_random_under_load(database: str | None, tmp_path: Path, full: bool, report: Report) -> None:
    """Web, worker, both; once the supervisor, with which all others end; at length all of them together, too."""
    kinds = [("web",), ("worker",), ("web", "worker")] * 13 if full else [("web", "worker")]
    random.Random(7).shuffle(kinds)
    with world(tmp_path, database=database) as here:
        with here.load() as load:
            for each in kinds:
                load.go_on(random.randrange(5, 40))
                here.kill(*each)
            load.go_on(20)
            with here.ledger.fault():
                kill_supervisor(here)
                here.gateway.start()
            load.go_on(20)
            if full:
                with here.ledger.fault():
                    here.gateway.kill()
                    here.gateway.start()
                load.go_on(20)
        here.all_arrive()
        here.balance(f"kill -9 at random, {len(kinds) + 1 + full} times{here.on}", report)


def kill_supervisor(here: World) -> None:
    process = here.gateway.process
    assert process.process is not None
    everybody = process.processes()
    with suppress(ProcessLookupError):
        os.kill(process.process.pid, signal.SIGKILL)
    process.process.wait()
    gone(*everybody)
