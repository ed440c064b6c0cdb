"""PostgreSQL goes away under load, politely and not, and comes back."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults.conftest import Report
from tests.faults.world import World, world
from tests.postgresql_server import PostgresqlServer
from tests.running import until

AWAY = 1.0
"""Seconds."""


def test_restarted_and_cut_off_under_load(
    tmp_path: Path, full: bool, report: Report, postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    """`immediate` is a crash: all connections are gone at once, with commits of which nobody knows. `fast` tells.

    Then only the connections are cut, again and again."""
    with world(tmp_path, database=postgresql_url) as here:
        with here.load() as load:
            for mode in ("immediate", "fast") * (4 if full else 1):
                load.go_on(40)
                with here.ledger.fault():
                    postgresql.halt(mode)
                    away(here)
                    postgresql.resume()
                until(lambda: here.readyz() == 200, "readyz is green again")
            for _ in range(40 if full else 5):
                load.go_on(5)
                with here.ledger.fault():
                    cut_off(postgresql)
            load.go_on(40)
        here.all_arrive()
        here.balance("PostgreSQL restarted, and cut off, under load", report, doubles=False)


def cut_off(server: PostgresqlServer) -> None:
    """Every connection but our own, in whatever it is doing."""
    others = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
    with server.connect() as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")


def away(here: World) -> None:
    until(lambda: here.readyz() == 503, "readyz is red")
    before, end = here.ledger.later, time.monotonic() + AWAY
    until(lambda: here.ledger.later > before and time.monotonic() > end, "callbacks are answered 503")
