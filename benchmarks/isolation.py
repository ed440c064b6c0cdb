"""Whether endpoints that hang slow down the others: `python -m benchmarks.isolation`.

One real gateway, 20 endpoints, a steady rate over all of them. *Calm*: all of them answer at once. *Troubled*: one
accepts connections and never answers, one answers after ten seconds. What counts is the time from the callback to the
post for the other 18, which must not change by more than a tenth. Calm and troubled rounds take turns, each with a
gateway of its own, so that what else the machine does strikes both; medians over the rounds are compared.
"""

from __future__ import annotations

import argparse
import json
import secrets
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import actors, machine, servers, traffic
from benchmarks.actors import Receiver
from benchmarks.load import Connection, Generator, Load
from benchmarks.percentiles import Latency
from benchmarks.traffic import Mould

ENDPOINTS = 20
TROUBLED = 2
RATE = 200.0
SECONDS = 16.0
WARM_UP = 3.0
CONNECTIONS = 8
LATE = 10.0
"""Seconds after which the slow endpoint answers."""
TARGET = 10.0
"""Per cent by which the others' p99 may change."""
RESULT = Path(__file__).parent / "results" / "isolation.md"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


@dataclass(frozen=True, slots=True)
class Round:
    """What the 18 others saw."""

    endpoint: Latency
    posted: int
    arrived: int


@contextmanager
def black_hole() -> Iterator[str]:
    """The system takes the connections, nobody ever reads from them."""
    with socket.create_server((servers.HOST, 0), backlog=128) as listening:
        yield f"http://{servers.HOST}:{listening.getsockname()[1]}/hole"


@contextmanager
def slow() -> Iterator[str]:
    """Answers everything, `LATE` seconds after it came."""
    ended = threading.Event()
    with socket.create_server((servers.HOST, 0), backlog=128) as listening:
        threading.Thread(target=_accept, args=(listening, ended), daemon=True).start()
        try:
            yield f"http://{servers.HOST}:{listening.getsockname()[1]}/slow"
        finally:
            ended.set()


def _accept(listening: socket.socket, ended: threading.Event) -> None:
    while not ended.is_set():
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection, ended), daemon=True).start()


def _answer(connection: socket.socket, ended: threading.Event) -> None:
    """Requests are under 64 KB, and the next comes after the answer."""
    try:
        with connection:
            while connection.recv(65536) and not ended.wait(LATE):
                connection.sendall(_ANSWER)
    except OSError:
        return


def moulds(port: int, path: str) -> tuple[Mould, ...]:
    """A request to each of the numbers."""
    return tuple(_mould(number(at), port, path) for at in range(ENDPOINTS))


def number(at: int) -> str:
    return f"1516206{5000 + at}"


def _mould(to: str, port: int, path: str) -> Mould:
    body = json.dumps({**traffic.message("JOIN", "@sid@", "@from@"), "to_did": to}).encode()
    length = len(body) - len("@sid@") + 36 - len("@from@") + 11
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {servers.HOST}:{port}\r\nAccept: */*\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    before, rest = (head.encode() + body).split(b"@from@")
    between, after = rest.split(b"@sid@")
    return Mould(before, between, after)


def configuration(key: str, urls: Sequence[str]) -> str:
    parts = [f'[gateway]\ndatabase = "sqlite:///data/gateway.db"\nkeys = ["{key}"]\npassword = "{key}"\n']
    parts += [f'[endpoint.page{at}]\nurl = "{url}"\n' for at, url in enumerate(urls)]
    parts += [f'[[number]]\nnumber = "{number(at)}"\ncallback = ["page{at}"]\n' for at in range(ENDPOINTS)]
    return "\n".join(parts)


def measure(folder: Path, urls: Sequence[str], others: Receiver) -> Round:
    """One gateway, warmed up, loaded, waited for."""
    folder.mkdir()
    key, port = secrets.token_urlsafe(24), servers.free_port()
    config = folder / "gateway.toml"
    config.write_text(configuration(key, urls), encoding="utf-8")
    command = ["-m", "gateway", "serve", "--config", str(config), "--host", servers.HOST, "--port", str(port)]
    with servers._running(command, {}, folder / "gateway.log", f"http://{servers.HOST}:{port}/readyz"):
        path = f"/carrierx/callback/{key}"
        # The endpoints that hang are full of attempts when the measuring begins.
        _wait(others, _post(port, path, WARM_UP))
        others.take(0, 0, [])
        load = _post(port, path, SECONDS)
        arrived = _wait(others, load)
        return Round(others.take(load.started, load.ended, []).endpoint, _share(load), arrived)


def _post(port: int, path: str, seconds: float) -> Load:
    requests = moulds(port, path)
    connections = [
        Connection(at, (servers.HOST, port), traffic.phones(at, CONNECTIONS), requests[at:] + requests[:at])
        for at in range(CONNECTIONS)
    ]
    generator = Generator(connections)
    try:
        return generator.run(seconds, RATE)
    finally:
        generator.close()


def _share(load: Load) -> int:
    """About how many were the others'."""
    return load.accepted * (ENDPOINTS - TROUBLED) // ENDPOINTS


def _wait(others: Receiver, load: Load) -> int:
    """Until as many came as must, and no more come."""
    seen, since = -1, time.monotonic()
    while (now := others.unique()) > seen or now < _share(load) - ENDPOINTS:
        if now > seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() > since + 20:
            break
        time.sleep(0.3)
    return now


def run(rounds: int) -> tuple[list[Round], list[Round]]:
    """(calm, troubled)"""
    calm: list[Round] = []
    troubled: list[Round] = []
    with (
        tempfile.TemporaryDirectory(dir=machine.disk()) as place,
        actors.receiver() as others,
        actors.receiver() as two,
        black_hole() as hole,
        slow() as late,
    ):
        good = [others.url] * (ENDPOINTS - TROUBLED)
        for turn in range(rounds):
            calm.append(measure(Path(place) / f"calm{turn}", [two.url, two.url, *good], others))
            print(f"calm      {calm[-1]}", flush=True)
            troubled.append(measure(Path(place) / f"troubled{turn}", [hole, late, *good], others))
            print(f"troubled  {troubled[-1]}", flush=True)
    return calm, troubled


def report(calm: Sequence[Round], troubled: Sequence[Round]) -> str:
    facts = machine.facts(machine.disk())
    lines = [
        "# Isolation",
        "",
        f"{ENDPOINTS} endpoints, {RATE:g} callbacks a second over all of them for {SECONDS:g} s. *Troubled*: one of"
        f" them never answers, one answers after {LATE:g} s. From the callback to the post, for the other"
        f" {ENDPOINTS - TROUBLED}, in ms:",
        "",
        "| round | p50 calm | p50 troubled | p99 calm | p99 troubled | lost |",
        "|---|---|---|---|---|---|",
    ]
    for at, (one, other) in enumerate(zip(calm, troubled, strict=True), 1):
        lost = max(0, one.posted - one.arrived - ENDPOINTS) + max(0, other.posted - other.arrived - ENDPOINTS)
        p50, p99 = (one.endpoint.p50, other.endpoint.p50), (one.endpoint.p99, other.endpoint.p99)
        lines.append(f"| {at} | {p50[0]:.2f} | {p50[1]:.2f} | {p99[0]:.2f} | {p99[1]:.2f} | {lost} |")
    before, after = (statistics.median(one.endpoint.p99 for one in side) for side in (calm, troubled))
    change = (after - before) / before * 100
    met = "met" if change < TARGET else "missed"
    lines += [
        "",
        f"Medians of p99: {before:.2f} ms calm, {after:.2f} ms troubled: {change:+.1f} %. Target: less than"
        f" {TARGET:+g} %: {met}.",
        "",
        f"{facts['date']}, {facts['cores']} cores, {facts['cpu']}, {facts['system']}, Python {facts['python']}, load"
        f" average {facts['load_average']} afterwards.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isolation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    said = report(*run(parser.parse_args().rounds))
    RESULT.write_text(said, encoding="utf-8")
    print(said)


if __name__ == "__main__":
    main()
