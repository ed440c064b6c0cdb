"""Endpoints that fail, hang or ask for a pause are left alone, and taken up again; nobody else waits for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import pytest

from gateway.config import Settings
from gateway.delivery import worker as worker_module
from gateway.delivery.circuit_breaker import FAILURES_TO_OPEN, OPEN_SECONDS
from gateway.delivery.result import RETRY_SECONDS
from gateway.delivery.worker import Worker
from gateway.metrics import Metrics
from gateway.store import Store, health
from tests import acme
from tests.delivering import Clock, clock, outcomes, rows, states, working
from tests.running import until
from tests.servers import Caller, Script, Server, answer, ok, replying, silent
from tests.store_samples import letter, owe

__all__ = ["clock"]


def configured(folder: Path, urls: dict[str, str], more: str = "") -> Settings:
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    endpoints = "".join(f'[endpoint.{name}]\nurl = "{url}"\n{more}\n' for name, url in urls.items())
    keys = f'[gateway]\nkeys = ["{acme.KEY}"]\npassword = "{acme.KEY}"\n'
    return Settings(acme.loads(keys + endpoints, path=folder / "gateway.toml", environ={}))


@contextmanager
def answering(script: Script) -> Iterator[Server]:
    with Server(script) as server:
        yield server


class Switched:
    """A script that can be changed while it runs; each request gets the answer of its time."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply

    def __call__(self, caller: Caller) -> None:
        while caller.read_request() is not None:
            caller.send(self.reply)


class Heard(Metrics):
    """Metrics that remember."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[tuple[str, str]] = []
        self.breakers: list[tuple[str, str]] = []

    def attempt(self, endpoint: str, outcome: str, seconds: float, since_owed: float) -> None:
        assert 0 <= seconds and 0 <= since_owed
        self.attempts.append((endpoint, outcome))

    def breaker(self, endpoint: str, state: str) -> None:
        self.breakers.append((endpoint, state))


def owed(store: Store, clock: Clock, endpoint: str, count: int, first: int = 0) -> None:
    owe(store, *[letter(f"{endpoint}|{nth}", endpoint) for nth in range(first, first + count)], now=clock())


def attempts(store: Store) -> Counter[int]:
    return Counter(row.attempts for row in rows(store, "SELECT attempts FROM deliveries"))


def breaker(store: Store, clock: Clock) -> str | None:
    with store.reader() as conn:
        found = health.current_breakers(conn, clock())
    return found["crm"].state if "crm" in found else None


def test_what_fails_on_and_on_is_left_alone_and_taken_up_again(store: Store, tmp_path: Path, clock: Clock) -> None:
    script, heard = Switched(answer(500)), Heard()
    with answering(script) as server:
        settings = configured(tmp_path, {"crm": server.url()}, "concurrency = 4")
        owed(store, clock, "crm", 40)
        with working(settings, store, clock, metrics=heard):
            until(lambda: breaker(store, clock) == "open", "opened")
            until(lambda: None not in outcomes(store) and len(outcomes(store)) == len(server.requests), "settled")
            begun = len(server.requests)
            # Those that were in flight when the fifth failed are the last.
            assert FAILURES_TO_OPEN <= begun <= FAILURES_TO_OPEN + 4
            assert attempts(store) == {0: 40 - begun, 1: begun}, "what waits is not counted"
            script.reply = ok()
            clock.ahead += OPEN_SECONDS[0] * 1.3
            until(lambda: states(store) == ["succeeded"] * 40, "all delivered")
            until(lambda: breaker(store, clock) is None, "closed")
    assert [state for _, state in heard.breakers] == ["open", "half_open", "ramp", "closed"]
    assert Counter(heard.attempts) == {("crm", "again"): begun, ("crm", "succeeded"): 40}


def test_one_probe_at_a_time_and_none_tried_more_often_than_planned(store: Store, tmp_path: Path, clock: Clock) -> None:
    with answering(replying(answer(503))) as server:
        settings = configured(tmp_path, {"crm": server.url()}, "concurrency = 4")
        owed(store, clock, "crm", 20)
        with working(settings, store, clock) as worker:
            until(lambda: breaker(store, clock) == "open", "opened")
            until(lambda: not worker._attempts and len(outcomes(store)) == len(server.requests), "settled")
            begun = seen = len(server.requests)
            for _ in range(6):
                clock.ahead += 73
                worker.wake()
                until(lambda seen=seen: len(outcomes(store)) == seen + 1, "a probe")  # type: ignore[misc]
                seen += 1
    assert len(server.requests) == begun + 6
    spent = [row.attempts_since_replay for row in rows(store, "SELECT attempts_since_replay FROM deliveries")]
    # Seven minutes have passed: the schedule has the fourth attempt behind 5 s, 30 s and 2 min.
    assert sum(spent) == begun + 6 and max(spent) <= 4 and RETRY_SECONDS[:3] == (5, 30, 120)


def test_an_endpoint_that_asks_for_time_gets_it(store: Store, tmp_path: Path, clock: Clock) -> None:
    script = Switched(answer(429, b"", "Retry-After: 300"))
    with answering(script) as server:
        settings = configured(tmp_path, {"crm": server.url()}, "concurrency = 2")
        owed(store, clock, "crm", 10)
        with working(settings, store, clock) as worker:
            until(lambda: breaker(store, clock) == "open", "paused")
            until(lambda: not worker._attempts and len(outcomes(store)) == len(server.requests), "settled")
            begun = len(server.requests)
            assert begun <= 2 and attempts(store)[0] == 10 - begun
            script.reply = ok()
            # A second message must not go out either, nor those that wait.
            owed(store, clock, "crm", 1, first=100)
            clock.ahead += 290
            looked = worker._maintenance.scan_at
            until(lambda: worker._maintenance.scan_at > looked, "a look")
            assert len(server.requests) == begun
            clock.ahead += 80
            until(lambda: states(store) == ["succeeded"] * 11, "all delivered")


def test_the_others_are_delivered_while_these_hang(
    store: Store, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A black hole, an endpoint that takes its time, and eighteen that are well, all of them with much to do."""
    go_on = Event()

    def slow(caller: Caller) -> None:
        while caller.read_request() is not None:
            go_on.wait(30)
            caller.send(ok())

    monkeypatch.setattr(worker_module, "DRAIN_TIMEOUT_SECONDS", 0.1)
    with ExitStack() as stack:
        hole, late = stack.enter_context(Server(silent)), stack.enter_context(Server(slow))
        well = {f"well{nth}": stack.enter_context(Server(replying(ok()))) for nth in range(18)}
        servers = {"hole": hole, "late": late, **well}
        settings = configured(tmp_path, {name: server.url() for name, server in servers.items()})
        for name in servers:
            owed(store, clock, name, 30)
        with working(settings, store, clock):
            until(lambda: all(len(server.requests) == 30 for server in well.values()), "all of the others")
            until(lambda: states(store).count("succeeded") == 18 * 30, "and written down")
            assert len(hole.requests) == len(late.requests) == 8
            go_on.set()
            until(lambda: len(late.requests) == 30, "the late one's")


def test_however_many_hang_there_is_room_for_those_that_do_not(store: Store, tmp_path: Path, clock: Clock) -> None:
    with ExitStack() as stack:
        holes = {f"hole{nth}": stack.enter_context(Server(silent)) for nth in range(5)}
        well = stack.enter_context(Server(replying(ok())))
        urls = {name: server.url() for name, server in holes.items()} | {"well": well.url()}
        settings = configured(tmp_path, urls, "timeout = 3\nconcurrency = 4")
        owed(store, clock, "well", 1)
        with working(settings, store, clock) as worker:
            worker._scheduler.concurrency._limit = 8
            until(lambda: len(well.requests) == 1, "known to be quick")
            for name in holes:
                owed(store, clock, name, 4)
            until(lambda: sum(len(hole.requests) for hole in holes.values()) == 4, "half is taken")
            owed(store, clock, "well", 20, first=1)
            until(lambda: len(well.requests) == 21, "all of them")
            assert sum(len(hole.requests) for hole in holes.values()) == 4


def test_a_worker_is_told_apart_from_one_that_hangs(store: Store, tmp_path: Path, clock: Clock) -> None:
    beats: list[float] = []
    settings = configured(tmp_path, {})
    worker: Worker
    with working(settings, store, clock, heartbeat=lambda: beats.append(clock())) as worker:
        until(lambda: len(beats) >= 3, "signs of life with nothing to do")
        assert isinstance(worker, Worker)
