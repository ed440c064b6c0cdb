"""`python -m benchmarks.scale`: what a backlog of a million costs, beside an empty store in the same run.

Both stores take the same work in turns: a group of callbacks is accepted, what is due is claimed, and settled. Needs
about 2 GB of disk and some minutes; writes `benchmarks/results/scale.md`.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks import machine
from benchmarks.scale_fill import DEAD, fill
from gateway.store import Connection, Store, events, leases, message_status, outbox
from schemas.message import Body

RESULTS = Path(__file__).resolve().parent / "results" / "scale.md"
GROUP = 32
"""Callbacks in one commit, as a busy gateway has them; and deliveries claimed and settled in one."""
SPREAD = 8
"""Endpoints that a group goes to."""
ROUNDS = 60
BLOCK = 5
"""Groups that one store gets in a row before the other has its turn."""
WITHIN = 1.2
LEASE = 45.0

Figures = dict[str, list[float]]


def main(words: Sequence[str] | None = None) -> int:
    given = _arguments(words)
    if given.begin:
        print(json.dumps(_begin(given.begin)))
        return 0
    tables = []
    with tempfile.TemporaryDirectory(prefix="scale-", dir=machine.disk()) as folder:
        for kind in ("sqlite", "postgresql") if given.postgresql else ("sqlite",):
            with _stores(kind, Path(folder)) as urls:
                tables.append(_table(kind, _measured(urls, given)))
    said = _report(given, tables)
    print(said)
    given.results.write_text(said)
    return 0


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--owed", type=int, default=1_000_000, help="deliveries in the full store (%(default)d)")
    parser.add_argument("--endpoints", type=int, default=5_000, help="that they are owed to (%(default)d)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="groups of each kind for each store (%(default)d)")
    parser.add_argument("--postgresql", action="store_true", help="measure it too, on a server started for this")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file to write")
    parser.add_argument("--begin", help=argparse.SUPPRESS)
    return parser.parse_args(words)


@contextmanager
def _stores(kind: str, folder: Path) -> Iterator[dict[str, str]]:
    """An URL for the empty store and one for the full."""
    with ExitStack() as opened:
        if kind == "sqlite":
            yield {name: f"sqlite:///{folder / name}.db" for name in ("empty", "full")}
            return
        from tests.postgresql_server import PostgresqlServer  # the tests know how to start one

        server = PostgresqlServer()
        opened.callback(server.stop)
        server.start()
        yield {name: server.url(server.create()) for name in ("empty", "full")}


def _measured(urls: Mapping[str, str], given: argparse.Namespace) -> Figures:
    figures: Figures = defaultdict(list)
    with ExitStack() as opened:
        stores = {name: opened.enter_context(Store(url)) for name, url in urls.items()}
        for store in stores.values():
            store.migrate()
        now = time.time()
        fill(stores["full"], given.owed, given.endpoints, now)
        for turn in range(0, given.rounds + BLOCK, BLOCK):
            for name, store in stores.items():
                for each in range(turn, turn + BLOCK):
                    # The first block is for warming up: caches fill, statements are spelled.
                    kept: Figures = figures if turn else defaultdict(list)
                    _round(store, name, each, now + each, given.endpoints, kept)
        for name, store in stores.items():
            for _ in range(5):
                with store.reader() as conn, _timed(figures, f"{name} due"):
                    outbox.due_endpoints(conn)
    for name, url in urls.items():
        for _ in range(min(3, given.rounds)):
            for what, value in _begun(url).items():
                figures[f"{name} {what}"].append(value)
    return figures


def _round(store: Store, name: str, turn: int, now: float, endpoints: int, figures: Figures) -> None:
    """One group accepted, as many claimed, as many settled; each in one commit."""
    living = [place for place in range(endpoints) if place % DEAD]
    chosen = [f"app-{living[(turn * SPREAD + one) * 37 % len(living)]}" for one in range(SPREAD)]
    works = [partial(_accept, endpoint=chosen[one % SPREAD], now=now) for one in range(GROUP)]
    with _timed(figures, f"{name} accept"):
        store.writer.write(lambda conn: [work(conn) for work in works])
    limits = {endpoint: leases.ClaimLimit(GROUP // SPREAD, 1) for endpoint in chosen}
    seconds = dict.fromkeys(chosen, LEASE)
    with _timed(figures, f"{name} claim"):
        work = partial(leases.claim, owner="scale", limits=limits, now=now, lease_seconds=seconds)
        claimed = store.writer.write(work)
    if len(claimed) != GROUP:
        raise RuntimeError(f"{len(claimed)} were claimed, not {GROUP}")
    ended = [_ended(one, now) for one in claimed]
    with _timed(figures, f"{name} settle"):
        store.writer.write(partial(leases.settle_all, owner="scale", settled=ended, now=now))


def _accept(conn: Connection, endpoint: str, now: float) -> None:
    sid = str(uuid.uuid4())
    phone = f"1555{uuid.UUID(sid).int % 10**7:07}"
    message_status.record_status(conn, sid, phone, "received", now)
    new = events.NewEvent(
        source="carrierx", state="accepted", received_at=now, direction="inbound", phone=phone, number="15160000000",
        keyword="JOIN", message_sid=sid, status="received", content_type="application/json",
        body=b'{"message": "JOIN"}'.ljust(250), remote="127.0.0.1",
    )  # fmt: skip
    body = Body(
        content_type="application/x-www-form-urlencoded", data=b"message=JOIN".ljust(100), headers=(("X", "1"),)
    )
    owed = outbox.OwedDelivery(
        endpoint=endpoint, wire_format="legacy-callback", ordering_key=f"{endpoint}|{sid}", body=body
    )
    outbox.owe(conn, events.add(conn, new), [owed], now)


def _ended(claimed: leases.ClaimedDelivery, now: float) -> leases.SettledDelivery:
    return leases.SettledDelivery(
        claimed=claimed, outcome="succeeded", finished_at=now, status=200, times={"total": 1.25}
    )


@contextmanager
def _timed(figures: Figures, name: str) -> Iterator[None]:
    """Wall and CPU, in microseconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    figures[f"{name} cpu"].append((time.process_time() - cpu) * 1e6)
    figures[f"{name} wall"].append((time.perf_counter() - wall) * 1e6)


def _begun(url: str) -> dict[str, float]:
    """A process of its own starts on that store: what it took, and how much memory."""
    command = [sys.executable, "-m", "benchmarks.scale", "--begin", url]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


def _begin(url: str) -> dict[str, float]:
    """As a worker begins: the tables are looked at, the due endpoints are found, the first deliveries are claimed."""
    started = time.perf_counter()
    with Store(url) as store:
        store.migrate()
        with store.reader() as conn:
            due = outbox.due_endpoints(conn)
        limits = dict.fromkeys(due, leases.ClaimLimit(1))
        seconds = dict.fromkeys(due, 0.0)
        store.writer.write(partial(leases.claim, owner="scale", limits=limits, now=time.time(), lease_seconds=seconds))
        took = time.perf_counter() - started
    return {"start seconds": took, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


Row = tuple[str, str, str, str, str]


def _table(kind: str, figures: Figures) -> str:
    middle = {name: statistics.median(values) for name, values in figures.items()}
    rows: list[Row] = [("", "empty", "full", "target", "")]
    for what in ("accept", "claim", "settle"):
        for unit in ("cpu", "wall"):
            rows.append(_each(f"{what}, {unit} µs each", *(middle[f"{name} {what} {unit}"] / GROUP for name in _BOTH)))
    due = [middle[f"{name} due wall"] / 1000 for name in _BOTH]
    rows.append(("due endpoints, ms", f"{due[0]:.1f}", f"{due[1]:.1f}", "", ""))
    rows.append(_below("start and first claim, s", [middle[f"{name} start seconds"] for name in _BOTH], 3, ".2f"))
    rows.append(_below("memory at most, MB", [middle[f"{name} memory"] for name in _BOTH], 250, ".0f"))
    return f"## {_NAMES[kind]}\n\n{_drawn(rows)}\n"


_BOTH = ("empty", "full")
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def _each(what: str, empty: float, full: float) -> Row:
    verdict = "met" if full <= empty * WITHIN else "MISSED"
    return what, f"{empty:.1f}", f"{full:.1f}", f"within {WITHIN - 1:.0%}: {full / empty - 1:+.0%}", verdict


def _below(what: str, values: Sequence[float], most: float, shape: str) -> Row:
    verdict = "met" if values[1] < most else "MISSED"
    return what, f"{values[0]:{shape}}", f"{values[1]:{shape}}", f"below {most:g}", verdict


def _drawn(rows: Sequence[Row]) -> str:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    padded.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(padded)


def _report(given: argparse.Namespace, tables: Sequence[str]) -> str:
    facts = machine.facts(machine.disk())
    shown = ("date", "cpu", "cores", "python", "file_system", "sync_us", "load_average")
    about = ", ".join(f"{name} {facts[name]}" for name in shown)
    return (
        f"# What a backlog costs\n\nThe full store owes {given.owed:,} deliveries to {given.endpoints:,} endpoints, "
        f"one in {DEAD} of them dead; medians of {given.rounds} groups of {GROUP}, both stores in turns. On PostgreSQL "
        f"CPU is the gateway's own, without the server's.\n\n" + "\n".join(tables) + f"\n{about}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
