"""This process has no descriptors or memory left: no endpoint is to blame, and nothing is counted."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from gateway.config import Settings
from gateway.metrics import Metrics
from gateway.safe_http import dns, errors
from gateway.safe_http.client import HttpClient, post
from gateway.safe_http.errors import (
    OUT_OF_RESOURCES,
    RESERVED_DESCRIPTORS,
    DescriptorShortage,
    current_shortage,
    shortage_of,
)
from gateway.safe_http.models import Failure
from gateway.store import Store
from tests.delivering import Clock, Page, clock, outcomes, page, rows, settings, states, text, working
from tests.running import until
from tests.safe_http.test_loop import one, request
from tests.servers import Caller, Server, ok, replying

__all__ = ["clock", "page", "settings"]

STARVED = """
import os, resource, sys
from gateway.safe_http.client import HttpClient
from tests.safe_http.test_loop import one
url, name, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
with HttpClient() as transport:
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 1 + left, hard))
    # All that is free below: the next one is the limit's.
    while left == 0:
        try:
            os.dup(0)
        except OSError:
            break
    for where in (url, name):
        found = one(transport, where).failure
        print(found.kind if found else "fine")
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    print(one(transport, url).status)
"""


@pytest.mark.parametrize(("left", "kinds"), [(0, ["resources"] * 2), (RESERVED_DESCRIPTORS - 1, ["resources"] * 2)])
def test_a_process_without_descriptors(left: int, kinds: list[str]) -> None:
    """At its limit, and within the reserve: as soon as there are some again, all is well."""
    with Server(replying(ok())) as server:
        named = server.url(host="localhost") if left else "http://page.invalid/"
        run = [sys.executable, "-c", STARVED, server.url(), named, str(left)]
        done = subprocess.run(run, capture_output=True, text=True, timeout=60)
        assert done.stdout.split() == [*kinds, "200"], done.stderr
    assert len(server.requests) == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_what_says_that_something_is_short(number: int) -> None:
    assert os.strerror(number) in shortage_of(OSError(number, "?"))


def test_what_does_not() -> None:
    for error in (OSError(), OSError(errno.EAFNOSUPPORT, "?"), socket.gaierror(errno.ENOMEM, "?")):
        assert shortage_of(error) == ""
    assert current_shortage() == ""


def test_no_thread_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoThread:
        def __init__(self, **_: object) -> None:
            pass

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(dns, "Thread", NoThread)
    found = post(request("http://page.test/")).failure
    assert found == Failure(OUT_OF_RESOURCES, "this machine is short of threads")


def test_one_that_was_sent_is_an_attempt_though_the_next_connection_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection that was kept dies with the request on it: nobody knows whether that arrived."""

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(ok())
        caller.read_request()

    with Server(script) as server, HttpClient() as transport:
        assert one(transport, server.url()).status == 200
        monkeypatch.setattr(errors, "reserve_reached", lambda _: "too many open files")
        found = one(transport, server.url()).failure
        assert len(server.requests) == 2
    assert found is not None and found.kind != OUT_OF_RESOURCES


class Starved:
    """Sockets to endpoints cannot be had, until they can."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.short, self.asked = True, 0
        monkeypatch.setattr(errors, "reserve_reached", self.reaches)

    def reaches(self, _: int) -> str:
        self.asked += 1
        return "too many open files" if self.short else ""


def test_a_worker_gives_back_what_it_could_not_send(
    store: Store, settings: Settings, page: Page, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    starved, heard = Starved(monkeypatch), list[str]()

    class Counted(Metrics):
        def attempt(self, endpoint: str, outcome: str, seconds: float, since_owed: float) -> None:
            heard.append(outcome)

        def breaker(self, endpoint: str, state: str) -> None:
            heard.append(state)

    for nth in range(30):
        text(store, settings, "kept", phone=f"151620655{nth:02}")
    text(store, settings, "behind it", phone="15162065500")

    def is_given_back() -> bool:
        waiting = rows(
            store,
            "SELECT 1 FROM deliveries WHERE owner IS NULL AND due > 0 AND attempts = 0 AND attempts_since_replay = 0",
        )
        return starved.asked >= 8 and len(waiting) == 30

    with capture_logs() as logs, working(settings, store, clock, metrics=Counted()):
        until(is_given_back, "given back")
        assert not heard and not page.got and outcomes(store) == []
        starved.short = False
        clock.ahead += 6
        until(lambda: states(store) == ["succeeded"] * 31, "delivered when there are sockets again")
    assert set(heard) == {"succeeded"} and set(outcomes(store)) == {"succeeded"}
    assert {headers["X-Delivery-Attempt"] for headers, _ in page.got} == {"1"}
    assert [(line["log_level"], line["put_off"]) for line in logs if line["event"] == "resources_short"] == [
        ("error", 1)
    ]


def test_it_is_logged_now_and_then() -> None:
    with capture_logs() as logs:
        import structlog

        short = DescriptorShortage(structlog.get_logger())
        for nth in range(100):
            short.record(1000.0 + nth / 100, "too many open files")
        assert short.lasts(1001.0) and not short.lasts(1000.99 + DescriptorShortage.REST_SECONDS)
        short.record(1000.0 + DescriptorShortage.LOG_SECONDS, "too many open files")
    assert [line["put_off"] for line in logs] == [1, 100]
