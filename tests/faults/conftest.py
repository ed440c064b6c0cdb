"""`--full-faults`: every fault at length. Without it each happens once, in short. A table stands at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.floods import EXPENSIVE, FLOODS
from tests.faults.ledger import Row
from tests.faults.misbehaviour import ALL

COLUMNS = ("accepted", "delivered", "owed", "dead", "lost", "doubled", "later")
FLOOD_COLUMNS = ("callbacks", "p50 ms", "p99 ms", "grew MB", "log kB")
Report = Callable[[Row], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full-faults", action="store_true", help="Every fault at length, and not only once in short.")


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    return is_full(request.config)


def is_full(config: pytest.Config) -> bool:
    # Not known where pytest was started for all tests: it reads the options before it finds this file.
    return bool(config.getoption("--full-faults", default=False))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`misbehaviours`: each alone, at length; in short all of them side by side. `database`: in short SQLite only.
    `floods`: each at a gateway of its own, at length; in short one after another at the same."""
    if "database" in metafunc.fixturenames:
        kinds = ["sqlite", "postgresql"] if is_full(metafunc.config) else ["sqlite"]
        metafunc.parametrize("database", kinds, indirect=True)
    for name, kinds in {"misbehaviours": ALL, "floods": (*FLOODS, *EXPENSIVE)}.items():
        if name in metafunc.fixturenames:
            each = [(one,) for one in kinds] if is_full(metafunc.config) else [kinds]
            metafunc.parametrize(name, each, ids=lambda some: some[0] if len(some) == 1 else "all")


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str | None:
    """The URL of an empty one; None: SQLite, in the gateway's own folder."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """Puts a line into the table; it travels with the test's report, from whichever process."""
    return lambda row: record_property("fault", row.as_dict())


def pytest_terminal_summary(terminalreporter: Any) -> None:
    _table(terminalreporter, "fault", COLUMNS, add_up=True)
    _table(terminalreporter, "flood", FLOOD_COLUMNS, add_up=False)


def _table(terminalreporter: Any, kind: str, columns: tuple[str, ...], *, add_up: bool) -> None:
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == kind
    ]
    if not rows:
        return
    rows.sort(key=lambda row: row[kind])
    if add_up:
        rows.append({kind: "all"} | {name: sum(row[name] for row in rows) for name in columns})
    width = max(len(row[kind]) for row in rows)
    terminalreporter.section(f"{kind}s")
    terminalreporter.write_line(" " * width + "".join(f"{name:>11}" for name in columns))
    for row in rows:
        terminalreporter.write_line(row[kind].ljust(width) + "".join(f"{row[name]:>11}" for name in columns))
