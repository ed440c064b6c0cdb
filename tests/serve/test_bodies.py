"""Bodies under way, without a server: for which of them the application is asked early, and what is left of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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
    """Stands for the application, which wants each body, or answers without one."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.count, self.answer = 0, answer

    async def on_thread(self, _environ: WSGIEnvironment) -> Answer | None:
        self.count += 1
        return self.answer


class Clients:
    per_client = 10_000

    def count(self, reason: str) -> None:
        assert reason == "size"

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
            asyncio.create_task(made.read(environ, cast(Any, sender), 3, 1000))
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


@pytest.mark.parametrize(("answer", "status"), [(Answer(303, [], b""), 303), (None, 413)])
def test_a_body_that_is_larger_than_its_request_may_have_is_not_read(answer: Answer | None, status: int) -> None:
    async def main() -> None:
        asked, sender = Asked(answer), Sender()
        made = Bodies(cast(Calls, asked), cast(Connections, Clients()))
        # It expects to be asked for its body, so nothing of it is under way.
        environ = {"REMOTE_ADDR": "192.0.2.1", "HTTP_EXPECT": "100-continue"}
        assert await made.read(environ, cast(Any, sender), 1001, 1000) is None
        assert (asked.count, sender.statuses, sender.body.done()) == (1, [status], False)
        assert not made._reserved and not made._slow

    asyncio.run(main())


@pytest.mark.parametrize(("limit", "kept"), [(1000, 1001), (5000, 3000)])
def test_of_a_body_in_chunks_that_is_too_large_one_byte_too_many_is_kept(limit: int, kept: int) -> None:
    class Chunks(Sender):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in (b"a" * 1500, b"b" * 1500, b""):
                yield piece

    async def main() -> None:
        made = Bodies(cast(Calls, Asked()), cast(Connections, Clients()))
        found = await made.read({"REMOTE_ADDR": "192.0.2.1"}, cast(Any, Chunks()), None, limit)
        assert found is not None and len(found) == kept

    asyncio.run(main())
