"""A gateway under load, the applications that it calls, and the ledger between them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import psycopg.rows

from tests.faults.conftest import Report
from tests.faults.endpoint import Endpoint
from tests.faults.ledger import SID, Ledger, Row
from tests.faults.load import Lane, Load, ordering_keys
from tests.prepared import prepare
from tests.running import BASE, ROOT, Gateway, alive, until

POINTS = Path(__file__).parent / "points"
SOON: dict[str, dict[str, object]] = {
    "worker": {
        "gateway.delivery.batch.LEASE_MARGIN_SECONDS": 1.5,
        "gateway.delivery.result.RETRY_SECONDS": [1, 2, 3, 4, 5, 5, 5, 5, 5],
    },
    "serve": {"gateway.serve.supervisor.MAX_PAUSE_SECONDS": 0.3},
}
"""A test has no time for leases of dead workers, nor for the usual schedule: the same things happen, only sooner."""

CONFIG = """
[endpoint.page]
url = "{page}"
timeout = {timeout}
concurrency = 16

[endpoint.app]
url = "{app}"
format = "carrierx"
timeout = {timeout}
concurrency = 16

[[number]]
number = "15162065919"
shortcode = "12345"
callback = ["page"]

[[number]]
number = "15162065920"
shortcode = "54321"
callback = ["app"]
"""


def told(folder: Path, settings: Mapping[str, Mapping[str, object]] = SOON, clock: bool = False) -> dict[str, str]:
    """The environment in which the gateway's processes load tests/faults/points."""
    (folder / "points").mkdir(parents=True, exist_ok=True)
    return {
        "PYTHONPATH": os.pathsep.join((str(POINTS), str(ROOT))),
        "GATEWAY_FAULTS": str(folder / "points"),
        "GATEWAY_FAULTS_SET": json.dumps(settings),
        "GATEWAY_FAULTS_CLOCK": "1" if clock else "",
    }


@dataclass(slots=True)
class World:
    folder: Path
    gateway: Gateway
    ledger: Ledger
    page: Endpoint
    app: Endpoint
    database: str | None = None
    ordering_keys: list[Lane] = field(default_factory=lambda: ordering_keys(32))

    @property
    def on(self) -> str:
        """For the table."""
        return " (PostgreSQL)" if self.database else ""

    def load(self, **manners: Any) -> Load:
        return Load(self.ledger, [self.gateway.process.port], self.ordering_keys, **manners)

    def rows(self, query: str) -> list[dict[str, Any]]:
        if self.database is None:
            return self.gateway.rows(query)
        with psycopg.connect(self.database, row_factory=psycopg.rows.dict_row) as conn:
            return conn.execute(query).fetchall()

    def pids(self, kind: str) -> list[int]:
        """Of the gateway's processes: ``web`` or ``worker``, as the supervisor has started them."""
        return [pid for pid in self.gateway.process.processes()[1:] if kind in _command(pid)]

    def kill(self, *kinds: str) -> None:
        """kill -9 of all processes of these kinds, without waiting for anything."""
        with self.ledger.fault():
            for pid in [pid for kind in kinds for pid in self.pids(kind)]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def readyz(self) -> int:
        try:
            return self.gateway.call("GET", "/readyz").status
        except OSError:
            return 0

    def standing(self, state: str) -> set[str]:
        found = self.rows(f"SELECT body FROM deliveries WHERE state = '{state}'")
        return {sid.decode() for row in found for sid in SID.findall(bytes(row["body"]))}

    def so_far_arrive(self) -> None:
        """Returns when all that was accepted until now has arrived; more may come in meanwhile."""
        accepted = set(self.ledger.accepted)
        until(lambda: not accepted & self.ledger.missing(), "all that was accepted arrives")

    def all_arrive(self) -> None:
        """Returns when nothing is owed any more, and nothing is missing. Short of that the balance tells what is."""
        end = time.monotonic() + 60.0
        while (self.ledger.missing() or self._owes()) and time.monotonic() < end:
            time.sleep(0.05)

    def _owes(self) -> bool:
        return bool(self.rows("SELECT 1 FROM deliveries WHERE state = 'pending' LIMIT 1"))

    def balance(self, fault: str, report: Report, doubles: bool = True) -> Row:
        """All that was accepted has arrived, or is dead; one line of the table. `doubles`: there may be some."""
        row, wrong = self.ledger.balance(fault, self.standing("pending"), self.standing("dead"))
        report(row)
        assert not wrong, "\n".join(wrong[:20])
        assert (row.lost, row.owed, row.dead) == (0, 0, 0), row
        assert row.accepted and (doubles or not row.doubled), row
        return row


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return []


def gone(*pids: int) -> None:
    until(lambda: not any(map(alive, pids)), "killed processes are gone")


@contextmanager
def world(
    folder: Path,
    *,
    environ: Mapping[str, str] | None = None,
    database: str | None = None,
    more: str = "",
    delay: float = 0.02,
    timeout: int = 1,
    starts: bool = True,
) -> Iterator[World]:
    """Everything up, and all of it gone afterwards. `more`: of the configuration; `delay`: of the applications, for
    which an attempt waits `timeout`; both in seconds."""
    ledger = Ledger()
    with ExitStack() as stack:
        page, app = (stack.enter_context(Endpoint(name, delay=delay)) for name in ("page", "app"))
        page.ledger = app.ledger = ledger
        base = BASE.replace("sqlite:///data/gateway.db", database or "sqlite:///data/gateway.db")
        config = base + CONFIG.format(page=page.url, app=app.url, timeout=timeout) + more
        gateway = Gateway(folder / "gateway", config, told(folder) if environ is None else environ)
        stack.callback(gateway.kill)
        if starts:
            prepare(gateway.folder)
            gateway.start()
        yield World(folder, gateway, ledger, page, app, database)
        if gateway.process.process is not None:
            assert gateway.stop() == 0
