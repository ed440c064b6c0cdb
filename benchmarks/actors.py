"""The load generator and the receiver as the conductor of the benchmark sees them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from benchmarks.load import ANSWER_TIMEOUT_SECONDS, Load
from benchmarks.percentiles import Latency
from benchmarks.receiver import Received
from benchmarks.servers import ROOT, Server


class Receiver:
    """The running receiver. One question at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._line()["port"])
        self.url = f"http://127.0.0.1:{self.port}/sms/join.php"

    def unique(self) -> int:
        """How many callbacks have arrived at least once since the last take."""
        return int(self._ask({"do": "count"})["unique"])

    def take(self, since: int, until: int, among: list[str]) -> Received:
        """All that came since the last take; see `Received`."""
        said = self._ask({"do": "take", "from": since, "until": until, "among": among})
        return Received(**{**said, "endpoint": Latency(**said["endpoint"])})

    def _ask(self, command: dict[str, object]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return cast("dict[str, Any]", json.loads(self._process.stdout.readline()))


@contextmanager
def receiver() -> Iterator[Receiver]:
    """One for the whole benchmark: it ends when its standard input is closed."""
    command = [sys.executable, "-m", "benchmarks.receiver"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Receiver(process)


def post(server: Server, seconds: float, connections: int, rate: float = 0.0) -> Load:
    """One run of the load generator, to its end."""
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(server.port), "--path", server.path]
    command += ["--seconds", str(seconds), "--connections", str(connections), "--rate", str(rate)]
    bound = seconds + ANSWER_TIMEOUT_SECONDS + 30
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=bound, check=True)
    said = json.loads(done.stdout)
    return Load(**{**said, "accept": Latency(**said["accept"])})
