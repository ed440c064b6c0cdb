"""A process that runs and does nothing is noticed, killed and replaced; one that only starts slowly is not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.serve import supervisor as module
from gateway.serve.supervisor import SUSPENDED_SECONDS, Heartbeat, Supervisor
from tests import acme
from tests.running import Gateway, running_gateway, until
from tests.serve.test_serve import Script, answers, in_thread, lines, pids
from tests.servers import Server, ok, replying

CONFIG = """
[endpoint.page]
url = "{url}"
format = "carrierx"

[[number]]
number = "15162065919"
callback = ["page"]
"""
BEATS = "import sys, threading, os\nthreading.Thread(target=lambda: [sys.stdin.read(), os._exit(0)]).start()\n"
BEATS_ON = BEATS + "import time\nwhile True: os.write(1, b'.'); time.sleep(0.05)"
BEATS_ONCE = BEATS + "os.write(1, b'.')"
BEATS_NEVER = BEATS


@pytest.fixture
def page() -> Iterator[Server]:
    with Server(replying(ok())) as server:
        yield server


def events(gateway: Gateway, event: str) -> list[str]:
    return [line["name"] for line in lines(gateway.process.log) if line["event"] == event]


@pytest.mark.parametrize("name", ["worker", "web"])
def test_a_half_that_hangs_is_replaced(tmp_path: Path, page: Server, name: str) -> None:
    with running_gateway(tmp_path, CONFIG.format(url=page.url()), {"GATEWAY_PATIENCE": "2"}) as gateway:
        assert gateway.post("/carrierx/callback", acme.text()).status == 200
        # No lease is held then: what a killed worker had in flight comes back when its lease ends, not before.
        until(
            lambda: gateway.rows("SELECT 1 FROM deliveries WHERE state = 'succeeded'"),
            "it is settled",
        )
        os.kill(pids(gateway, name)[-1], signal.SIGSTOP)
        if name == "worker":
            assert gateway.post("/carrierx/callback", acme.text(message_sid="meanwhile")).status == 200
        until(lambda: events(gateway, "process_hung") == [name], "it is noticed")
        until(lambda: len(pids(gateway, name)) == 2, "started again")
        until(lambda: answers(gateway), "the web half answers")
        assert gateway.post("/carrierx/callback", acme.text(message_sid="after")).status == 200
        page.wait_for(3 if name == "worker" else 2)
        ends = [
            (line["name"], line["reason"]) for line in lines(gateway.process.log) if line["event"] == "process_ended"
        ]
        assert ends == [(name, "SIGKILL")]


def test_one_that_gave_no_sign_yet_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bringing a large database up to date takes long."""
    slow, quick = Script("slow", [BEATS_NEVER]), Script("quick", [BEATS_ONCE])
    with in_thread(Supervisor([slow, quick], heartbeat_timeout=1.0), monkeypatch):
        until(lambda: quick.deaths == 1, "the one that stopped is killed")
        assert slow.deaths == 0


def test_one_that_beats_on_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    child, other = Script("x", [BEATS_ON]), Script("y", [BEATS_ONCE])
    with in_thread(Supervisor([child, other], heartbeat_timeout=1.0), monkeypatch):
        until(lambda: other.deaths == 2, "the other one is killed again and again")
        assert child.deaths == 0


def test_after_a_sleep_of_the_machine_the_time_starts_anew() -> None:
    """No sign of life could be read while the supervisor itself did not run."""
    now = 1000.0
    child = Script("x", [BEATS_ON])
    supervisor = Supervisor([child], heartbeat_timeout=30.0, clock=lambda: now)
    child.start(now)
    assert child.process is not None
    try:
        child.last_beat = now
        now += 3600.0
        supervisor._kill_hung()
        assert child.last_beat == now and child.process.poll() is None
        for _ in range(6):
            now += SUSPENDED_SECONDS
            supervisor._kill_hung()
        assert child.process.poll() is None
        now += 1.0
        supervisor._kill_hung()
        assert child.process.wait(10) == -signal.SIGKILL
    finally:
        child.process.kill()
        child.process.wait()
        child.ask_to_stop()
        if child.process.stdout is not None:
            child.process.stdout.close()


def test_a_pulse_is_cheap_and_outlives_its_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(module.os, "write", lambda _file, data: written.append(data))
    pulse = Heartbeat(lifeline=True)
    for _ in range(1000):
        pulse()
    assert len(written) <= 2
    for _ in range(10):
        Heartbeat(lifeline=False)()
    assert len(written) <= 2

    def broken(_file: int, _data: bytes) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(module.os, "write", broken)
    Heartbeat(lifeline=True)()
