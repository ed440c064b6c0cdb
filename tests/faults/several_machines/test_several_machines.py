"""Two webs, two workers, a database and its standby, each on a host of its own. With ``--full-faults`` all of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.ledger import Row
from tests.faults.several_machines.happenings import FULL, SHORT
from tests.faults.several_machines.ledger import Balance
from tests.faults.several_machines.machines import Machines, several_machines

Happening = Callable[[Machines], None]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The short form is one test on one set of machines; in the full one each has machines of its own."""
    full = metafunc.config.getoption("--full-faults", default=False)
    each = [(one,) for one in FULL] if full else [SHORT]
    metafunc.parametrize("happenings", each, ids=[_name(*those) if full else "short" for those in each])


def test_nothing_is_lost_doubled_or_out_of_order(
    happenings: tuple[Happening, ...], report: Callable[[Row], None]
) -> None:
    with several_machines() as machines:
        machines.make()
        for happening in happenings:
            machines.text(handsets=40, rate=100)
            machines.flow()
            happening(machines)
            balance = machines.settle()
            report(_row(happening, balance))
            assert (balance.lost, balance.wrong) == (0, ()), f"{_name(happening)}: {balance}"


def _row(happening: Happening, balance: Balance) -> Row:
    no_accept, no_arrival, slowest = balance.times
    took = f"no 200 for {no_accept:.1f} s, no arrival for {no_arrival:.1f} s, the slowest after {slowest:.1f} s"
    return Row(
        fault=f"machines: {_name(happening)} ({took})",
        accepted=balance.accepted,
        delivered=balance.arrived,
        owed=0,
        dead=0,
        lost=balance.lost,
        doubled=balance.doubled,
        later=balance.later,
    )


def _name(happening: Happening) -> str:
    return happening.__name__.replace("_", " ")
