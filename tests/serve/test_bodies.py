"""Bodies under way, without a server: for which of them the application is asked early, and what is left of them."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from wsgiref.types import WSGIEnvironment

import pytest

from gateway.serve import bodies
from gateway.serve.bodies import FEW, Bodies
from gateway.serve.calls import Answer, Calls
from gateway.serve.connections import Connections


class Sender:
    """Granian's side of a request whose body comes when the test says so."""

    def __init__(self) -> None:
        self.body: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.statuses: list[int] = []

    def __call__(self) -> asyncio.Future[bytes]:
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
