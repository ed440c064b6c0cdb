"""The bridge between the server library and Flask, without a server: which requests run at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from gateway.serve import bridge
from gateway.serve.bodies import Answer
from gateway.serve.bridge import BUSY, Bridge


class Held:
    """An application that answers nothing until it may."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.called = 0

    def __call__(self, _environ: WSGIEnvironment, start: StartResponse) -> list[bytes]:
        self.called += 1
        assert self.may_answer.wait(20)
        start("200 OK", [])
        return [b""]


@contextmanager
def bridged(application: Held, threads: int) -> Iterator[Bridge]:
    made = Bridge(
        application,
        ("127.0.0.1", 8080),
        threads=threads,
        quick=None,
        patience=1.0,
        client=lambda _environ: "",
        per_client=1,
        count=lambda _reason: None,
    )
    try:
        yield made
    finally:
        application.may_answer.set()
        made.bodies.close()


def calls(made: Bridge, count: int) -> list[asyncio.Task[Answer | None]]:
    return [asyncio.create_task(made._call({"REQUEST_METHOD": "GET"})) for _ in range(count)]


async def turn() -> None:
    await asyncio.sleep(0)


def test_few_requests_compute_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "BUSY_SECONDS", 1000.0)

    async def main() -> None:
        held = Held()
        with bridged(held, threads=64) as made:
            waiting = calls(made, 3 * BUSY)
            await turn()
            assert (len(made._running), len(made._queued)) == (BUSY, 2 * BUSY)
            held.may_answer.set()
            assert [answer.status for answer in await asyncio.gather(*waiting) if answer] == [200] * 3 * BUSY
            assert not made._running

    asyncio.run(main())


def test_those_that_take_long_keep_out_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "BUSY_SECONDS", 0.0)

    async def main() -> None:
        with bridged(Held(), threads=10) as made:
            calls(made, 3 * BUSY)
            await turn()
            assert (len(made._running), len(made._queued)) == (10, 2)

    asyncio.run(main())


def test_nothing_runs_for_whom_nobody_waits_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "BUSY_SECONDS", 1000.0)

    async def main() -> None:
        held = Held()
        with bridged(held, threads=1) as made:
            first, given_up = calls(made, 2)
            await turn()
            given_up.cancel()
            held.may_answer.set()
            await first
            await asyncio.gather(*calls(made, 1))  # which has the only thread after any before it
            assert given_up.cancelled() and not made._running and not made._queued
            assert held.called == 2

    asyncio.run(main())
