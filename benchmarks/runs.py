"""One run: one server under one load, with its ledger balanced afterwards."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from benchmarks import actors, processes, traffic
from benchmarks.actors import Receiver
from benchmarks.load import Load
from benchmarks.percentiles import Latency
from benchmarks.processes import Process
from benchmarks.receiver import Received
from benchmarks.servers import Server
from schemas.legacy import CALLBACK_FIELDS

DELIVERY_TIMEOUT_SECONDS = 60.0
"""Seconds without a single delivery after which what is still owed counts as lost. A second attempt waits 30 s."""

_LOOK = 0.05
Roles = dict[int, tuple[str, Process]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What was posted, and what became of it."""

    posted: int
    accepted: int
    unanswered: int
    answers: dict[str, int]
    delivered: int
    """Accepted ones that arrived, however often each."""
    lost: int
    """Accepted, and not arrived within `DELIVERY_TIMEOUT_SECONDS`."""
    doubled: int
    out_of_order: int
    wrong: int
    """Of the posts that were looked at: not what was texted, or not the documented fields."""
    looked_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run gave. Rates a second, latencies in ms, CPU in µs a message, memory in MB."""

    ledger: Ledger
    accepted_rate: float
    delivered_rate: float
    """While the load lasted; what arrived afterwards is not in it."""
    drain_seconds: float
    """From the end of the load to the last delivery."""
    accept: Latency
    endpoint: Latency

    cpu: dict[str, float]
    """By half: ``web``, ``worker``, ``supervisor``."""
    memory: dict[str, float]
    restarted: bool
    """Whether a process came or went: then `cpu` lacks some."""
    load_share: float
    receiver_share: float
    """Of one core, taken by our own tools."""
    foreign_share: float
    """Of all cores, taken by processes that are no part of this, and by the kernel on nobody's account."""
    steal_share: float


def warm_up(server: Server, receiver: Receiver, seconds: float, connections: int) -> None:
    """Connections opened, modules imported, pools filled: none of it is measured."""
    load = actors.post(server, seconds, connections)
    _drain(server, receiver, load)
    receiver.take(0, 0, [])


def measure(server: Server, receiver: Receiver, seconds: float, connections: int, rate: float = 0.0) -> Run:
    """Post, wait until all that was accepted has arrived, and count."""
    before, busy, clock = server.roles(), processes.busy(), time.monotonic()
    load = actors.post(server, seconds, connections, rate)
    last = _drain(server, receiver, load)
    after, busier, elapsed = server.roles(), processes.busy(), time.monotonic() - clock
    received = receiver.take(load.started, load.ended, load.not_accepted)
    spent = _spent(before, after)
    ours = sum(spent.values()) + load.cpu_seconds + received.cpu_seconds
    whole = elapsed * processes.CORES
    return Run(
        ledger=_ledger(server, load, received),
        accepted_rate=round(load.in_time / load.seconds, 1),
        delivered_rate=round(received.in_time / load.seconds, 1),
        drain_seconds=round(max(0.0, last - load.ended / 1e9), 2) if server.delivers else 0.0,
        accept=load.accept,
        endpoint=received.endpoint,
        cpu={half: round(seconds / max(1, load.accepted) * 1e6, 1) for half, seconds in spent.items()},
        memory=_memory(after),
        restarted=before.keys() != after.keys(),
        load_share=round(load.cpu_seconds / load.seconds, 3),
        receiver_share=round(received.cpu_seconds / elapsed, 3),
        foreign_share=round(max(0.0, busier[0] - busy[0] - ours) / whole, 3),
        steal_share=round((busier[1] - busy[1]) / whole, 3),
    )


def _drain(server: Server, receiver: Receiver, load: Load) -> float:
    """Wait until everything accepted has arrived, or nothing has for long. The time of the last arrival, about."""
    expected = load.accepted + len(load.not_accepted) if server.delivers else 0
    seen, last = receiver.unique(), time.monotonic()
    while seen < expected and time.monotonic() < last + _patience(load, seen):
        time.sleep(_LOOK)
        if (now := receiver.unique()) > seen:
            seen, last = now, time.monotonic()
    return last


def _patience(load: Load, seen: int) -> float:
    """What was not accepted may still come, but nobody promised that it would."""
    return DELIVERY_TIMEOUT_SECONDS if seen < load.accepted else 1.0


def _ledger(server: Server, load: Load, received: Received) -> Ledger:
    # What was answered otherwise, or not at all, may have been delivered: it makes up for nothing that is lost.
    arrived = received.unique - received.among
    return Ledger(
        posted=load.posted,
        accepted=load.accepted,
        unanswered=load.unanswered,
        answers=load.answers,
        delivered=arrived,
        lost=load.accepted - arrived if server.delivers else 0,
        doubled=received.doubled,
        out_of_order=received.out_of_order,
        wrong=sum(not _is_right(sample) for sample in received.samples) + received.unknown,
        looked_at=len(received.samples),
    )


def _is_right(sample: str) -> bool:
    """Whether a post has the ten documented fields in their order, and the text that the sid stands for."""
    head, _mark, body = sample.partition("\r\n\r\n")
    sid = next(line[15:].strip() for line in head.split("\r\n") if line.lower().startswith("x-message-sid:"))
    fields = parse_qsl(body, keep_blank_values=True, strict_parsing=True, errors="strict")
    text = traffic.TEXTS[traffic.read_sid(sid).sequence % len(traffic.TEXTS)]
    return tuple(name for name, _value in fields) == CALLBACK_FIELDS and dict(fields)["message"] == text


def _spent(before: Roles, after: Roles) -> dict[str, float]:
    """CPU seconds by half."""
    spent: dict[str, float] = defaultdict(float)
    for pid, (half, process) in after.items():
        earlier = before[pid][1].cpu if pid in before else 0.0
        spent[half] += process.cpu - earlier
    return dict(spent)


def _memory(roles: Roles) -> dict[str, float]:
    halves = sorted({half for half, _process in roles.values()})
    return {half: processes.resident(_pids(roles, half)) for half in halves}


def _pids(roles: Roles, half: str) -> Iterable[int]:
    return (pid for pid, (role, _process) in roles.items() if role == half)
