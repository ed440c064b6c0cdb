"""Calls of the application on threads, without a server: which of them run at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from gateway.serve import calls
from gateway.serve.calls import BUSY, LARGE, MAX_WAITING_BYTES, Answer, Calls
from gateway.web.callbacks import MAX_BODY_BYTES, MAX_QUICK_BYTES
from tests.running import until


class Held:
    """An application that answers nothing until it may."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.called: list[int] = []

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> list[bytes]:
        self.called.append(environ["number"])
        assert self.may_answer.wait(20)
        start("200 OK", [])
        return [b""]


@contextmanager
def held() -> Iterator[Held]:
    """Its threads end with the process; none of them is left waiting."""
    application = Held()
    try:
        yield application
    finally:
        application.may_answer.set()


def start(made: Calls, numbers: range, size: int = 0) -> list[asyncio.Task[Answer | None]]:
    environs = [{"REQUEST_METHOD": "GET", "number": number} for number in numbers]
    return [asyncio.create_task(made.on_thread(environ, size)) for environ in environs]


async def turn() -> None:
    await asyncio.sleep(0)


def test_few_calls_compute_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "BUSY_SECONDS", 1000.0)

    async def main() -> None:
        with held() as application:
            waiting = start(Calls(application), range(3 * BUSY))
            await turn()
            until(lambda: len(application.called) == BUSY, "as many as may")
            await turn()
            assert len(application.called) == BUSY
            application.may_answer.set()
            assert [answer.status for answer in await asyncio.gather(*waiting) if answer] == [200] * 3 * BUSY
            assert sorted(application.called) == list(range(3 * BUSY))

    asyncio.run(main())


def test_those_that_take_long_keep_out_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "BUSY_SECONDS", 0.0)

    async def main() -> None:
        with held() as application:
            waiting = start(Calls(application), range(3 * BUSY))
            while len(application.called) < 3 * BUSY:
                await turn()
            application.may_answer.set()
            await asyncio.gather(*waiting)

    asyncio.run(main())


def test_a_call_that_took_long_makes_room_for_one_other_and_not_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with held() as application:
            made = Calls(application)
            monkeypatch.setattr(calls, "BUSY_SECONDS", 0.0)
            long = start(made, range(BUSY))
            while made._computing or len(application.called) < BUSY:
                await turn()
            application.may_answer.set()
            await asyncio.gather(*long)  # each has ended, too
            application.may_answer.clear()
            monkeypatch.setattr(calls, "BUSY_SECONDS", 1000.0)
            waiting = start(made, range(BUSY, 4 * BUSY))
            await turn()
            until(lambda: len(application.called) == 2 * BUSY, "as many as may")
            await turn()
            assert len(made._computing) == BUSY
            application.may_answer.set()
            await asyncio.gather(*waiting)

    asyncio.run(main())


def test_nothing_runs_for_whom_nobody_waits_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "BUSY_SECONDS", 1000.0)

    async def main() -> None:
        with held() as application:
            made = Calls(application)
            waiting = start(made, range(BUSY + 1))
            await turn()
            waiting[-1].cancel()
            await turn()
            application.may_answer.set()
            await asyncio.gather(*waiting[:-1])
            await asyncio.gather(*start(made, range(100, 104)))
            assert waiting[-1].cancelled() and not made._computing
            assert sorted(application.called) == [*range(BUSY), *range(100, 104)]

    asyncio.run(main())


def test_two_large_calls_run_at_once_and_keep_out_no_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "BUSY_SECONDS", 0.0)

    async def main() -> None:
        with held() as application:
            made = Calls(application)
            large = start(made, range(3 * LARGE), MAX_QUICK_BYTES + 1)
            await turn()
            small = start(made, range(100, 110), MAX_QUICK_BYTES)
            while len(application.called) < LARGE + 10:
                await turn()
            while made._may_compute in made._computing.values():
                await turn()
            assert sorted(application.called) == [*range(LARGE), *range(100, 110)]
            application.may_answer.set()
            await asyncio.gather(*large, *small)

    asyncio.run(main())


def test_large_calls_wait_while_there_is_memory() -> None:
    async def main() -> None:
        with held() as application:
            made = Calls(application)
            waiting = start(made, range(LARGE + MAX_WAITING_BYTES // MAX_BODY_BYTES), MAX_BODY_BYTES)
            await turn()
            refused = await made.on_thread({"REQUEST_METHOD": "GET", "number": -1}, MAX_BODY_BYTES)
            assert refused is not None and refused.status == 503 and dict(refused.headers)["Retry-After"]
            application.may_answer.set()
            assert {answer.status for answer in await asyncio.gather(*waiting) if answer} == {200}
            (answer,) = await asyncio.gather(*start(made, range(1), MAX_BODY_BYTES))
            assert answer is not None and answer.status == 200 and not made._waiting_bytes

    asyncio.run(main())
