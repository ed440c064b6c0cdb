"""Bodies under way, without a server: for which of them the application is asked early, and what is left of them."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any, cast
from wsgiref.types import WSGIEnvironment

import pytest

from gateway.serve import bodies
from gateway.serve.bodies import FEW, READING, SMALL_BODY_BYTES, Bodies
from gateway.serve.calls import Answer, Calls
from gateway.serve.connections import Connections


class Sender:
    """Granian's side of a request whose body comes when the test says so."""

    def __init__(self) -> None:
        self.body: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.statuses: list[int] = []
        self.is_read = False

    def __call__(self) -> asyncio.Future[bytes]:
        self.is_read = True
        return self.body

    def response_bytes(self, status: int, _headers: list[tuple[str, str]], _body: bytes) -> None:
        self.statuses.append(status)


class Asked:
    """Stands for the application, which wants each body."""

    def __init__(self) -> None:
        self.count = 0

    async def on_thread(self, _environ: WSGIEnvironment) -> Answer | None:
        self.count += 1
        return None


class Clients:
    per_client = 10_000

    def count(self, reason: str) -> None:
        raise AssertionError(reason)

    def client(self, environ: WSGIEnvironment) -> str:
        return str(environ["REMOTE_ADDR"])


def test_of_many_slow_bodies_the_application_is_asked_for_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SLOW_SECONDS", 0.0)

    async def main() -> None:
        asked = Asked()
        made = Bodies(cast(Calls, asked), cast(Connections, Clients()))
        senders = [Sender() for _ in range(2 * FEW)]
        environs = [{"REMOTE_ADDR": f"192.0.2.{number % 7}"} for number in range(len(senders))]
        reading = [
            asyncio.create_task(made.read(environ, cast(Any, sender), 3))
            for environ, sender in zip(environs, senders, strict=True)
        ]
        while len(made._slow) < len(senders):
            await asyncio.sleep(0)
        for sender in senders:
            sender.body.set_result(b"abc")
        assert await asyncio.gather(*reading) == [b"abc"] * len(senders)
        assert asked.count == FEW
        assert not made._slow and not made._held
        assert not [sender for sender in senders if sender.statuses]

    asyncio.run(main())


@pytest.mark.parametrize("seconds", [1000.0, 0.0])
def test_few_large_bodies_come_in_at_once_but_for_slow_ones(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(bodies, "READING_SECONDS", seconds)
    monkeypatch.setattr(bodies, "SLOW_SECONDS", 1000.0)

    async def main() -> None:
        made = Bodies(cast(Calls, Asked()), cast(Connections, Clients()))
        senders = [Sender() for _ in range(3 * READING)]
        reading = [
            asyncio.create_task(made.read({"REMOTE_ADDR": "192.0.2.1"}, cast(Any, sender), SMALL_BODY_BYTES + 1))
            for sender in senders
        ]
        most = len(senders) if seconds == 0 else READING
        while sum(sender.is_read for sender in senders) < most:
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        assert sum(sender.is_read for sender in senders) == most
        # One that its sender gave up makes room, too: whether it waits, or comes in.
        reading[0].cancel()
        reading[-1].cancel()
        for sender in senders[1:-1]:
            sender.body.set_result(b"abc")
        assert await asyncio.gather(*reading[1:-1]) == [b"abc"] * (len(senders) - 2)
        assert made._may_read._value == READING and not made._reserved

    asyncio.run(main())


def test_a_large_body_that_came_in_is_kept_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "READING_SECONDS", 1000.0)

    async def main() -> None:
        made = Bodies(cast(Calls, Asked()), cast(Connections, Clients()))
        sender = Sender()
        sender.body.set_result(b"abc")
        kept = weakref.ref(sender)
        assert await made.read({"REMOTE_ADDR": "192.0.2.1"}, cast(Any, sender), SMALL_BODY_BYTES + 1) == b"abc"
        del sender
        gc.collect()
        assert kept() is None

    asyncio.run(main())
