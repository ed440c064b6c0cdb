"""What is measured: the gateway, the bare route, the relay. Each a process of its own, on a free port of 127.0.0.1."""

from __future__ import annotations

import ctypes
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from benchmarks import traffic
from benchmarks.processes import Process, tree

HOST = "127.0.0.1"
SQLITE = "sqlite:///data/gateway.db"
ROOT = Path(__file__).resolve().parent.parent
START = 30.0
"""Seconds that a server gets to be ready, and again to stop."""
ENDPOINT_CONCURRENCY = 32
"""Attempts that the gateway makes side by side; the relay makes as many as its server has threads."""


class Unready(RuntimeError):
    """A server that did not start. Says what it wrote last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server."""

    port: int
    path: str
    """Where the callbacks go."""
    pid: int
    delivers: bool
    halves: tuple[str, ...] = ("web",)
    """Words that tell its processes apart by their command lines; with a single one, all are of that."""

    def roles(self) -> dict[int, tuple[str, Process]]:
        """Every process with its half: ``web``, ``worker``, or ``supervisor`` for what is neither."""
        everybody = tree(self.pid)
        return {pid: (self._role(pid, everybody), one) for pid, one in everybody.items()}

    def _role(self, pid: int, everybody: Mapping[int, Process]) -> str:
        if len(self.halves) == 1:
            return self.halves[0]
        while pid in everybody:
            # A server's own children are recognised by their ancestor.
            named = [half for half in self.halves if half in everybody[pid].command]
            if named:
                return named[0]
            pid = everybody[pid].parent
        return "supervisor"


@contextmanager
def gateway(folder: Path, endpoint: str, workers: int, database: str = SQLITE) -> Iterator[Server]:
    """A real `gateway serve` with SQLite under `folder`, or another database, and one endpoint for everything."""
    folder.mkdir()
    key, port = secrets.token_urlsafe(24), free_port()
    config = folder / "gateway.toml"
    config.write_text(_configuration(key, endpoint, database), encoding="utf-8")
    command = ["-m", "gateway", "serve", "--config", str(config), "--host", HOST, "--port", str(port)]
    command += ["--workers", str(workers)]
    with _running(command, {}, folder / "gateway.log", f"http://{HOST}:{port}/readyz") as pid:
        yield Server(port=port, path=f"/carrierx/callback/{key}", pid=pid, delivers=True, halves=("web", "worker"))


@contextmanager
def on_postgresql(folder: Path, endpoint: str, workers: int, *, server: str) -> Iterator[Server]:
    """The same on a server of PostgreSQL, in a database of its own. `server`: the URL of one that is there."""
    name = f"bench_{secrets.token_hex(8)}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            with gateway(folder, endpoint, workers, urlsplit(server)._replace(path=f"/{name}").geturl()) as running:
                yield running
        finally:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def bare(folder: Path, endpoint: str, workers: int) -> Iterator[Server]:
    """The upper bound; never calls `endpoint`."""
    with _flask("benchmarks.bare:app", {}, folder, workers) as (port, pid):
        yield Server(port=port, path="/callback", pid=pid, delivers=False)


@contextmanager
def relay(folder: Path, endpoint: str, workers: int) -> Iterator[Server]:
    """A connection for every post, as `requests.post` makes them."""
    with _flask("benchmarks.relay:app", {"RELAY_URL": endpoint}, folder, workers) as (port, pid):
        yield Server(port=port, path="/callback", pid=pid, delivers=True)


@contextmanager
def session_relay(folder: Path, endpoint: str, workers: int) -> Iterator[Server]:
    """The kinder relay: connections are kept."""
    environment = {"RELAY_URL": endpoint, "RELAY_SESSION": "1"}
    with _flask("benchmarks.relay:app", environment, folder, workers) as (port, pid):
        yield Server(port=port, path="/callback", pid=pid, delivers=True)


@contextmanager
def _flask(app: str, environment: Mapping[str, str], folder: Path, workers: int) -> Iterator[tuple[int, int]]:
    """A Flask application on the gateway's own server, with the gateway's own settings of it."""
    folder.mkdir()
    port = free_port()
    command = ["-m", "benchmarks.same_server", "--port", str(port), "--workers", str(workers), app]
    with _running(command, environment, folder / "server.log", f"http://{HOST}:{port}/") as pid:
        yield port, pid


@contextmanager
def _running(command: Sequence[str], environment: Mapping[str, str], log: Path, ready: str) -> Iterator[int]:
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent,
        ) as process,
    ):
        try:
            _wait(process, ready, log)
            yield process.pid
        finally:
            _stop(process)


def _end_with_parent() -> None:
    """Between fork and exec: a benchmark that is killed leaves no server behind (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > until:
            raise Unready(f"{' '.join(map(str, process.args))}:\n{tail(log)}")  # type: ignore[arg-type]
        time.sleep(0.05)


def _answers(url: str) -> bool:
    """Whether there is a server that is well: a 404 of the bare route is an answer, a 503 of the gateway is not."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError as error:
        with error:
            return error.code < 500
    except OSError:
        return False
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(START)
    except subprocess.TimeoutExpired:
        process.kill()


def tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def free_port() -> int:
    """Not one of those that the system gives to whoever connects: the load generator connects a lot."""
    while True:
        port = random.randrange(10_240, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def _configuration(key: str, endpoint: str, database: str) -> str:
    return f"""\
[gateway]
database = "{database}"
keys     = ["{key}"]
password = "{secrets.token_urlsafe(24)}"

[endpoint.page]
url         = "{endpoint}"
concurrency = {ENDPOINT_CONCURRENCY}

[[number]]
number          = "{traffic.NUMBER}"
shortcode       = "{traffic.SHORTCODE}"
title           = "Acme alerts"
group           = "Acme"
default_keyword = "ACME1234"
callback        = ["page"]

  [[number.keyword]]
  word     = "{traffic.KEYWORD}"
  callback = ["page"]
"""
