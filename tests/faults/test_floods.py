"""Somebody without a key fills the port: callbacks of others, each on a fresh connection, are answered meanwhile.

At length with the numbers of attackers, and limits in time; in short with few, and none. A table stands at the end:
p50 and p99 of the others' callbacks, and how much the web process grew.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests import acme
from tests.faults.floods import EXPENSIVE, FLOODS
from tests.legacy_calls import LEGACY
from tests.running import ROOT, Gateway, running_gateway, until
from tests.serve.test_serve import NOWHERE, lines, pids

EVERY = 0.05
"""Seconds from one callback to the next."""
P99_SECONDS = {"requests without end": 0.25} | dict.fromkeys(EXPENSIVE, 0.25)
"""All others have `SOON_SECONDS`: thousands of requests that come at once take a while to be read."""
SOON_SECONDS = 1.0
GROWTH_MB = dict.fromkeys(FLOODS, 150) | dict.fromkeys(EXPENSIVE, 250)
NUMBERS = {"requests without end": 300, "tiny chunks": 60, "resets": 3000} | dict.fromkeys(EXPENSIVE, 60)
"""Connections, at length; of all others `MANY`."""
MANY = 4300
Record = Callable[[str, object], None]


class Callbacks:
    """A platform's callbacks, one every 50 ms, whatever became of the last one."""

    def __init__(self, gateway: Gateway, name: str) -> None:
        self._gateway, self._name, self._end = gateway, name, threading.Event()
        self.took: list[float] = []
        self.statuses: Counter[int | str] = Counter()

    def _post(self, number: int) -> None:
        began = time.perf_counter()
        try:
            status: int | str = self._gateway.post(
                "/carrierx/callback", acme.text(message_sid=f"{self._name}-{number}")
            ).status
        except Exception as error:
            status = type(error).__name__
        self.took.append(time.perf_counter() - began)
        self.statuses[status] += 1

    def _run(self) -> None:
        with ThreadPoolExecutor(64) as threads:
            number = 0
            while not self._end.wait(EVERY):
                number += 1
                threads.submit(self._post, number)

    def __enter__(self) -> Callbacks:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def quantile(self, part: float) -> float:
        return sorted(self.took)[int(part * (len(self.took) - 1))]


@contextmanager
def flood(kind: str, port: int, connections: int) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.faults.floods", kind, str(port), str(connections)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as attacker:
        assert attacker.stdin is not None and attacker.stdout is not None
        try:
            assert attacker.stdout.readline() == b"ready\n"
            yield
        finally:
            attacker.stdin.close()
            attacker.wait(30)


def resident_mb(pid: int, name: str) -> float:
    """`VmRSS`, or `VmHWM`: the most since `forget_peak`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def test_others_are_answered(tmp_path: Path, floods: Sequence[str], full: bool, record_property: Record) -> None:
    """`floods`: in short all of them, one after another; what one of them leaves behind counts for the next."""
    with running_gateway(tmp_path, NOWHERE + LEGACY) as gateway:
        web = pids(gateway, "web")[-1]
        for number in range(20):  # warm
            assert gateway.post("/carrierx/callback", acme.text(message_sid=f"warm-{number}")).status == 200
        before = resident_mb(web, "VmRSS")
        for kind in floods:
            forget_peak(web)
            with (
                Callbacks(gateway, kind) as callbacks,
                flood(kind, gateway.process.port, NUMBERS.get(kind, MANY) if full else 10 if kind in EXPENSIVE else 50),
            ):
                enough = len(callbacks.took) + (400 if full else 20)
                until(lambda took=callbacks.took, enough=enough: len(took) >= enough, "callbacks are answered")  # type: ignore[misc]
            growth = resident_mb(web, "VmHWM") - before
            record_property(
                "flood",
                {
                    "flood": kind,
                    "callbacks": len(callbacks.took),
                    "p50 ms": round(callbacks.quantile(0.5) * 1000, 1),
                    "p99 ms": round(callbacks.quantile(0.99) * 1000, 1),
                    "grew MB": round(growth),
                    "log kB": round(gateway.process.log.stat().st_size / 1000),
                },
            )
            assert set(callbacks.statuses) == {200}, kind
            assert growth < GROWTH_MB[kind], kind
            assert pids(gateway, "web") == [web], kind
            assert not [line for line in lines(gateway.process.log) if line["level"] in ("error", "critical")], kind
            if full:
                assert callbacks.quantile(0.99) < P99_SECONDS.get(kind, SOON_SECONDS)
