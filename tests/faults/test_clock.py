"""The clock is set back by an hour, while all runs or over a restart; later somebody sets it right."""

from __future__ import annotations

from pathlib import Path

from tests.faults.conftest import Report
from tests.faults.world import World, told, world

BACK = -3600


def set_clock(here: World, seconds: float) -> None:
    """Wrong by so much, for the gateway's processes alone."""
    file = here.folder / "points" / "clock"
    draft = file.with_suffix(".draft")
    draft.write_text(str(seconds))
    draft.replace(file)


def test_set_back_while_it_runs(tmp_path: Path, report: Report) -> None:
    """What was owed before is not forgotten for an hour, nor does it hold anybody up."""
    with world(tmp_path, environ=told(tmp_path, clock=True)) as here:
        with here.load() as load:
            load.go_on(40)
            with here.ledger.fault():
                set_clock(here, BACK)
                load.go_on(40)
                here.so_far_arrive()
            load.go_on(40)
            with here.ledger.fault():
                set_clock(here, 0)
                load.go_on(40)
                here.so_far_arrive()
        here.all_arrive()
        here.balance("clock set back an hour, and right again", report)


def test_set_back_over_a_restart(tmp_path: Path, report: Report) -> None:
    """A machine that comes up with a wrong clock, and deliveries in its outbox that are due later than now."""
    with world(tmp_path, environ=told(tmp_path, clock=True), delay=0.3) as here:
        with here.load() as load:
            load.go_on(40)
            with here.ledger.fault():
                here.gateway.kill()
                set_clock(here, BACK)
                here.gateway.start()
            load.go_on(40)
        here.all_arrive()
        here.balance("clock set back an hour over a kill -9", report)
