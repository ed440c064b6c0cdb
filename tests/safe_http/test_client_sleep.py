"""A process that did not run for a while: what came meanwhile lies in the sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from gateway.safe_http import client as module
from gateway.safe_http.client import HttpClient
from tests.running import until
from tests.safe_http.test_loop import finish, request
from tests.servers import Caller, Server, ok

TIMEOUT = 0.6


@pytest.fixture(autouse=True)
def _light_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLEPT_SECONDS", 0.2)


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def leaves(transport: HttpClient, server: Server, count: int) -> None:
    def all_there() -> bool:
        assert not transport.run(0.01)
        return len(server.requests) == count

    until(all_there, "the requests arrived")


def sleep(seconds: float) -> None:
    """As one that is stopped: nothing else can be waited for."""
    over = time.monotonic() + seconds
    until(lambda: time.monotonic() > over, "asleep")


def test_answers_that_came_meanwhile_are_taken_in(go_on: threading.Event) -> None:
    """Those of any size; who gave none has timed out all the same."""
    bodies = {b"/0": b"short", b"/1": b"x" * 60_000, b"/2": b"y" * 300_000}

    def script(caller: Caller) -> None:
        path = (caller.read_request() or b"").split(b" ")[1]
        go_on.wait(20)
        if path in bodies:
            caller.send(ok(bodies[path]))
        caller.wait_for_end()

    with Server(script) as server, HttpClient() as transport:
        for number in range(5):
            transport.start(request(server.url(f"/{number}"), timeout=TIMEOUT), number)
        leaves(transport, server, 5)
        began = time.monotonic()
        go_on.set()
        sleep(TIMEOUT * 2)
        answers = finish(transport)
    assert [answers[number].status for number in range(5)] == [200, 200, 200, None, None]
    assert [answers[number].size > 60_000 or answers[number].body for number in range(3)] == [
        b"short",
        bodies[b"/1"],
        True,
    ]
    kinds = [failure.kind for number in (3, 4) if (failure := answers[number].failure)]
    assert kinds == ["timeout"] * 2 and transport.woke_at > began


def test_who_has_time_left_goes_on_and_ends_in_time(go_on: threading.Event) -> None:
    def script(caller: Caller) -> None:
        while asked := caller.read_request():
            if asked.startswith(b"POST /late "):
                go_on.wait(20)
                caller.send(ok())

    with Server(script) as server, HttpClient() as transport:
        transport.start(request(server.url("/late")), "late")
        transport.start(request(server.url("/never"), timeout=TIMEOUT * 2), "never")
        leaves(transport, server, 2)
        sleep(TIMEOUT)
        assert not transport.run(0.01) and transport.woke_at
        go_on.set()
        answers = finish(transport)
        assert answers["late"].status == 200
        found = answers["never"].failure
        assert found is not None and found.kind == "timeout"
        transport.start(request(server.url("/late"), timeout=TIMEOUT * 2), "again")
        assert finish(transport)["again"].status == 200


def test_who_only_waited_did_not_sleep() -> None:
    with HttpClient() as transport:
        began = time.monotonic()
        assert not transport.run(TIMEOUT)
        assert not transport.run(0.01)
    assert transport.woke_at < began


@pytest.mark.parametrize("asks", [0, 1])
def test_nothing_is_sent_when_its_time_is_over(asks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even after a sleep that was too short to be noticed: its lease may be over, and others may have sent it.
    `asks`: requests before it, whose connection it would use."""
    monkeypatch.setattr(module, "SLEPT_SECONDS", 60.0)

    def script(caller: Caller) -> None:
        while caller.read_request():
            caller.send(ok())

    with Server(script) as server, HttpClient() as transport:
        for _ in range(asks):
            transport.start(request(server.url("/before")), "before")
            assert finish(transport)["before"].status == 200
        transport.start(request(server.url("/late"), timeout=TIMEOUT), "late")
        sleep(TIMEOUT)
        found = finish(transport)["late"].failure
        assert found is not None and found.kind == "timeout"
        transport.start(request(server.url("/after")), "after", time.monotonic())
        assert finish(transport)["after"].status == 200
        transport.start(request(server.url("/late"), timeout=TIMEOUT), "late", time.monotonic() - TIMEOUT)
        assert finish(transport)["late"].failure == found
    assert [asked.split(b" ")[1] for asked in server.requests] == [b"/before"] * asks + [b"/after"]
