"""Real processes for tests: `gateway serve`, and whatever else must run beside it. Every one is gone afterwards.

with running_gateway(tmp_path, CONFIG) as gateway:
    answer = gateway.post("/carrierx/callback", body)     # the key is put behind it
    gateway.kill(); gateway.start()                       # kill -9 of every process of it; the same folder again
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
KEY, PASSWORD = "key-of-the-tests", "password-of-the-tests"
START, STOP, PATIENCE = 30.0, 10.0, 60.0
"""Seconds until it must be up, until it must be down, until a delivery must have come. All is well long before."""

BASE = f"""
[gateway]
database = "sqlite:///data/gateway.db"
keys = ["{KEY}"]
password = "{PASSWORD}"
"""


def until(happened: Callable[[], T], what: str, within: float = PATIENCE) -> T:
    """Look again and again until there is something; that something."""
    end = time.monotonic() + within
    while not (found := happened()):
        assert time.monotonic() < end, f"{what}: not within {within:.0f} s"
        time.sleep(0.02)
    return found


def free_port() -> int:
    """A port on which nobody listens.

    Not one of those that the system gives to whoever connects: it might do so before the port is listened on.
    """
    while True:
        port = random.randrange(10_240, 32_000)
        with closing(socket.socket()) as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex((HOST, port)) == 0


def descendants(pid: int) -> list[int]:
    """Every process below this one, as Linux tells. Processes that end meanwhile are left out."""
    try:
        below = Path(f"/proc/{pid}/task").glob("*/children")
        children = [int(child) for threads in below for child in threads.read_text().split()]
    except OSError:
        return []
    return [*children, *(one for child in children for one in descendants(child))]


def alive(pid: int) -> bool:
    """A zombie is not: it only waits for somebody to ask for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


class Process:
    """A command with everything that it starts. Its output goes to a file, which is shown where it does not come up."""

    def __init__(self, command: Sequence[str], log: Path, port: int, environ: Mapping[str, str] | None = None) -> None:
        self.command, self.log, self.port = list(command), log, port
        self.environ = {**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self._seen: set[int] = set()

    def start(self) -> None:
        with self.log.open("ab") as out:
            # A session of its own: no signal of a terminal, and none of ours to anybody else.
            self.process = subprocess.Popen(
                self.command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=self.environ, start_new_session=True
            )
        try:
            until(self._is_up, f"{self.command[0]} listens on {self.port}", START)
        except AssertionError:
            self.kill()
            raise

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}"
        return listens(self.port)

    def processes(self) -> list[int]:
        """This one and all below it."""
        assert self.process is not None
        found = [self.process.pid, *descendants(self.process.pid)]
        self._seen.update(found)
        return found

    def stop(self) -> int:
        """As a service manager does: SIGTERM to the first one, which has to see to the others. Its exit code."""
        assert self.process is not None
        self.processes()
        self.process.terminate()
        try:
            code = self.process.wait(STOP)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"not down {STOP:.0f} s after SIGTERM:\n{self.log.read_text()[-4000:]}") from None
        self.process = None
        left = [pid for pid in self._seen if alive(pid)]
        self._end(left)
        assert not left, f"{len(left)} processes outlived the one that had to end them"
        return code

    def kill(self) -> None:
        """kill -9 of every process, with no time for any of them to notice that another one died."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)
            self._end([*reversed(self.processes()), *(pid for pid in self._seen if alive(pid))])
        self.process.wait(STOP)
        self.process = None
        until(lambda: not any(map(alive, self._seen)), "all processes dead", STOP)

    def _end(self, pids: Sequence[int]) -> None:
        for pid in dict.fromkeys(pids):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Gateway:
    """`gateway serve` in a folder of its own."""

    folder: Path
    config: str
    environ: Mapping[str, str] = field(default_factory=dict)
    process: Process = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "gateway.toml").write_text(self.config, "utf-8")
        port = free_port()
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(self.folder / "gateway.toml")]
        self.process = Process([*command, "--port", str(port)], self.folder / "gateway.log", port, self.environ)

    def start(self) -> None:
        self.process.start()
        until(self._is_ready, "ready", START)

    def _is_ready(self) -> bool:
        try:
            return self.call("GET", "/readyz").status == 200
        except OSError:
            # What listened may have been the supervisor, which looks for a moment whether the port is free.
            return False

    def stop(self) -> int:
        return self.process.stop()

    def kill(self) -> None:
        self.process.kill()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.process.port}"

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request with these headers and no others than it takes; a `Content-Type` only if you name one."""
        with closing(http.client.HTTPConnection(HOST, self.process.port, timeout=PATIENCE)) as connection:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def post(self, path: str, body: bytes, content_type: str | None = None) -> Answer:
        """As a platform calls: the key behind the path."""
        return self.call("POST", f"{path}/{KEY}", body, {} if content_type is None else {"Content-Type": content_type})

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What stands in the database."""
        with closing(sqlite3.connect(f"file:{self.folder / 'data' / 'gateway.db'}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]


@contextmanager
def running_gateway(folder: Path, config: str, environ: Mapping[str, str] | None = None) -> Iterator[Gateway]:
    """Started, and stopped as a service manager would, unless the test has ended it. `config` goes behind `BASE`.
    Its tables are there already: `Gateway` by itself begins with none."""
    gateway = Gateway(folder, BASE + config, environ or {})
    from tests.prepared import prepare  # half the gateway; and programs of tests that start nothing import this module

    prepare(folder)
    try:
        gateway.start()
        yield gateway
        if gateway.process.process is not None:
            assert gateway.stop() == 0
    finally:
        gateway.kill()
