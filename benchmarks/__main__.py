"""`python -m benchmarks`: the whole benchmark, about eight minutes with its defaults; writes `benchmarks/results/`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import actors, machine, servers, summary
from benchmarks.actors import Receiver
from benchmarks.report import Report, Settings
from benchmarks.runs import Run, measure, warm_up
from benchmarks.servers import Server

RESULTS = Path(__file__).resolve().parent / "results"
RATE = 500.0


class Contestant(NamedTuple):
    """Who is measured, and the runs that it is put through: a name and a rate, 0 for a closed loop."""

    start: Callable[[Path, str, int], AbstractContextManager[Server]]
    runs: tuple[tuple[str, float], ...]


CONTESTANTS: Mapping[str, Contestant] = {
    "gateway": Contestant(servers.gateway, ((summary.GATEWAY, 0.0), (summary.PACED, RATE))),
    "bare": Contestant(servers.bare, ((summary.BARE, 0.0),)),
    "relay": Contestant(servers.relay, ((summary.RELAY, 0.0),)),
    "session-relay": Contestant(servers.session_relay, ((summary.SESSION_RELAY, 0.0),)),
}


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of load in each run (%(default)g)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are quoted (%(default)d)")
    parser.add_argument("--connections", type=int, default=32, help="of the load generator (%(default)d)")
    parser.add_argument("--workers", type=int, default=1, help="web processes of each contestant (%(default)d)")
    parser.add_argument("--only", default=",".join(CONTESTANTS), help="some of %(default)s")
    parser.add_argument("--postgresql", metavar="URL", help="of a server on which the gateway keeps, and not in SQLite")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder to write into")
    given = parser.parse_args(words)
    given.only = tuple(given.only.split(","))
    if strangers := set(given.only) - set(CONTESTANTS):
        parser.error(f"not a contestant: {', '.join(sorted(strangers))}")
    return given


def main(words: Sequence[str] | None = None) -> int:
    """0 when everything that was accepted has arrived, as it was sent."""
    given = _arguments(words)
    disk = machine.disk()
    facts = machine.facts(disk)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=disk) as folder, actors.receiver() as receiver:
        runs = _rounds(given, Path(folder), receiver)
    report = Report(Settings(given.seconds, given.rounds, given.connections, given.workers, RATE), facts, runs)
    print(report.text())
    report.write(given.results)
    return 0 if all(one.accepted and not one.lost and not one.wrong for one in report.quoted.values()) else 1


def _rounds(given: argparse.Namespace, folder: Path, receiver: Receiver) -> dict[str, list[Run]]:
    """Interleaved: what slows the machine for a while slows everybody."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for turn in range(1, given.rounds + 1):
        for name in given.only:
            for run, measured in _round(
                _contestant(name, given.postgresql), given, folder / f"{name}-{turn}", receiver
            ):
                runs[run].append(measured)
                _tell(turn, run, measured)
    return runs


def _contestant(name: str, postgresql: str | None) -> Contestant:
    found = CONTESTANTS[name]
    if name == "gateway" and postgresql:
        return found._replace(start=partial(servers.on_postgresql, server=postgresql))
    return found


def _round(
    contestant: Contestant, given: argparse.Namespace, folder: Path, receiver: Receiver
) -> list[tuple[str, Run]]:
    """One contestant, started afresh, with an empty store of its own."""
    with contestant.start(folder, receiver.url, given.workers) as server:
        warm_up(server, receiver, min(2.0, given.seconds / 5), given.connections)
        return [
            (run, measure(server, receiver, given.seconds, given.connections, rate)) for run, rate in contestant.runs
        ]


def _tell(turn: int, name: str, run: Run) -> None:
    print(
        f"round {turn}, {name}: {run.accepted_rate:,.0f} accepted/s, {run.delivered_rate:,.0f} delivered/s, "
        f"lost={run.ledger.lost} doubled={run.ledger.doubled}",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
