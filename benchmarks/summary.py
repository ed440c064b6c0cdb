"""Of many runs, the figures that are quoted: medians, the ledger's sums, and the targets beside what was reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.runs import Run

GATEWAY, PACED = "gateway", "gateway, 500/s"
BARE, RELAY, SESSION_RELAY = "bare Flask route", "relay, requests.post", "relay, Session"

Runs = Mapping[str, Sequence[Run]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """One contestant. Medians over the rounds; the ledger is a sum over them."""

    rounds: int
    accepted_rate: float
    accepted_least: float
    accepted_most: float
    delivered_rate: float
    drain_seconds: float
    accept_p50: float
    accept_p99: float
    endpoint_p50: float
    endpoint_p99: float
    cpu_web: float
    cpu_worker: float
    cpu_supervisor: float
    memory_web: float
    memory_worker: float
    memory_supervisor: float
    accepted: int
    delivered: int
    lost: int
    doubled: int
    out_of_order: int
    wrong: int
    unanswered: int
    refused: int
    foreign_share: float
    steal_share: float
    load_share: float
    receiver_share: float
    restarted: bool

    @property
    def cpu(self) -> float:
        """µs a message, all processes of the contestant together."""
        return round(self.cpu_web + self.cpu_worker + self.cpu_supervisor, 1)


@dataclass(frozen=True, slots=True)
class Target:
    """What we set out for, and where we are. `value` is None where the contestants were not run."""

    what: str
    wanted: str
    value: float | None
    met: bool | None


def quote(runs: Sequence[Run]) -> Quoted:
    """Of the rounds of one contestant."""
    rates = [run.accepted_rate for run in runs]
    return Quoted(
        rounds=len(runs),
        accepted_rate=_middle(runs, lambda run: run.accepted_rate),
        accepted_least=min(rates),
        accepted_most=max(rates),
        delivered_rate=_middle(runs, lambda run: run.delivered_rate),
        drain_seconds=_middle(runs, lambda run: run.drain_seconds),
        accept_p50=_middle(runs, lambda run: run.accept.p50),
        accept_p99=_middle(runs, lambda run: run.accept.p99),
        endpoint_p50=_middle(runs, lambda run: run.endpoint.p50),
        endpoint_p99=_middle(runs, lambda run: run.endpoint.p99),
        cpu_web=_middle(runs, lambda run: run.cpu.get("web", 0.0)),
        cpu_worker=_middle(runs, lambda run: run.cpu.get("worker", 0.0)),
        cpu_supervisor=_middle(runs, lambda run: run.cpu.get("supervisor", 0.0)),
        memory_web=_middle(runs, lambda run: run.memory.get("web", 0.0)),
        memory_worker=_middle(runs, lambda run: run.memory.get("worker", 0.0)),
        memory_supervisor=_middle(runs, lambda run: run.memory.get("supervisor", 0.0)),
        foreign_share=_middle(runs, lambda run: run.foreign_share),
        steal_share=_middle(runs, lambda run: run.steal_share),
        load_share=_middle(runs, lambda run: run.load_share),
        receiver_share=_middle(runs, lambda run: run.receiver_share),
        restarted=any(run.restarted for run in runs),
        refused=sum(count for run in runs for status, count in run.ledger.answers.items() if status != "200"),
        **_sums(runs, ("accepted", "delivered", "lost", "doubled", "out_of_order", "wrong", "unanswered")),
    )


def _middle(runs: Sequence[Run], figure: Callable[[Run], float]) -> float:
    return round(statistics.median(figure(run) for run in runs), 3)


def _sums(runs: Sequence[Run], names: Iterable[str]) -> dict[str, int]:
    return {name: sum(getattr(run.ledger, name) for run in runs) for name in names}


def targets(quoted: Mapping[str, Quoted]) -> tuple[Target, ...]:
    """In the order of the table."""
    return (
        _at_least("accepted, of the bare Flask route's", 0.5, _ratio(quoted, "accepted_rate", BARE)),
        _at_least("delivered, of the relay's (requests.post)", 8, _ratio(quoted, "delivered_rate", RELAY)),
        _at_most("accept to endpoint at 500/s, p50, ms", 3, _of(quoted, PACED, "endpoint_p50")),
        _at_most("accept to endpoint at 500/s, p99, ms", 15, _of(quoted, PACED, "endpoint_p99")),
        _at_most("CPU of the web half, µs a callback", 200, _of(quoted, GATEWAY, "cpu_web")),
        _at_most("CPU of the worker, µs a delivery", 60, _of(quoted, GATEWAY, "cpu_worker")),
        _at_most("accepted and not delivered", 0, _of(quoted, GATEWAY, "lost")),
    )


def _of(quoted: Mapping[str, Quoted], name: str, figure: str) -> float | None:
    return float(getattr(quoted[name], figure)) if name in quoted else None


def _ratio(quoted: Mapping[str, Quoted], figure: str, other: str) -> float | None:
    mine, theirs = _of(quoted, GATEWAY, figure), _of(quoted, other, figure)
    return round(mine / theirs, 2) if mine is not None and theirs else None


def _at_least(what: str, wanted: float, value: float | None) -> Target:
    return Target(what, f"≥ {wanted:g} ×", value, None if value is None else value >= wanted)


def _at_most(what: str, wanted: float, value: float | None) -> Target:
    return Target(what, f"≤ {wanted:g}", value, None if value is None else value <= wanted)
