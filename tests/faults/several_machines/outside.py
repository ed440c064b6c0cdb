"""The world outside of the gateway, on a host of its own: handsets that text, and the page that is called.

    python -m tests.faults.several_machines.outside ADDRESS PORT

A handset posts one text after the other, each until it is answered 200, to one web or the next: as a platform behind
a load balancer does. So the order in which one handset's texts were accepted is known. A line of JSON on standard
input asks for something, a line of JSON answers; it ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
import uuid
from collections import Counter
from typing import Any

NUMBER = "15162065919"
PATIENCE = 20.0
"""Seconds that a platform waits for an answer."""
AGAIN = 0.1
"""Seconds until it posts a text again that was not accepted. A real platform is not so quick."""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def text_of(phone: str, sid: str) -> bytes:
    words = {
        "direction": "inbound",
        "from_did": phone,
        "to_did": NUMBER,
        "message": "JOIN, please",
        "message_sid": sid,
        "status": "received",
        "mcc": 310,
        "mnc": 260,
    }
    return json.dumps(words).encode()


class Page:
    """What the gateways deliver to. Notes every post before it answers it."""

    def __init__(self) -> None:
        self.delay = 0.01
        self.clear()

    def clear(self) -> None:
        self.arrived: list[tuple[str, str, int]] = []  # sid, delivery id, attempt
        self.first: dict[str, float] = {}  # when each sid came for the first time
        self.last = time.monotonic()
        self.pause = 0.0
        self.timed = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                headers, _body = await read(reader)
                self.note(headers)
                await asyncio.sleep(self.delay)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nOK")
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    def note(self, headers: dict[str, str]) -> None:
        sid = headers["x-message-sid"]
        self.arrived.append((sid, headers["x-delivery-id"], int(headers["x-delivery-attempt"])))
        if sid not in self.first:
            self.first[sid] = now = time.monotonic()
            self.pause = max(self.pause, now - self.last) if self.timed else self.pause
            self.last = now


class Platform:
    """All handsets, at so many texts a second together."""

    def __init__(self, webs: list[tuple[str, int]], path: str, handsets: int, rate: float) -> None:
        self.webs, self.path, self.rate = webs, path, rate
        self.accepted: dict[str, list[str]] = {f"1917555{one:04d}": [] for one in range(handsets)}
        self.when: dict[str, float] = {}
        self.refused: Counter[str] = Counter()
        self.last = time.monotonic()
        self.pause = 0.0
        self.going = True
        self.tasks = [asyncio.create_task(self.handset(at, phone)) for at, phone in enumerate(self.accepted)]

    async def handset(self, at: int, phone: str) -> None:
        dice, streams, web = random.Random(at), None, at
        period = len(self.accepted) / self.rate
        await asyncio.sleep(period * dice.random())
        while self.going:
            due, sid = time.monotonic() + period, str(uuid.uuid4())
            while True:
                streams, status = await self.post(streams, web, text_of(phone, sid))
                if status == "200":
                    break
                self.refused[status] += 1
                web += 1
                await asyncio.sleep(AGAIN)
            self.note(phone, sid)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await hang_up(streams)

    async def post(self, streams: Streams | None, web: int, body: bytes) -> tuple[Streams | None, str]:
        """The streams to use for the next one, and the status, or ``unanswered``."""
        try:
            async with asyncio.timeout(PATIENCE):
                streams = streams or await asyncio.open_connection(*self.webs[web % len(self.webs)])
                status = await exchange(streams, "POST", self.path, body)
        except (OSError, EOFError, TimeoutError):
            await hang_up(streams)
            return None, "unanswered"
        if status != "200":
            await hang_up(streams)
            return None, status
        return streams, status

    def note(self, phone: str, sid: str) -> None:
        self.accepted[phone].append(sid)
        self.when[sid] = now = time.monotonic()
        self.last, self.pause = now, max(self.pause, now - self.last)

    async def stop(self) -> None:
        """Every text that was begun is posted until it is accepted."""
        self.going = False
        await asyncio.gather(*self.tasks)


async def read(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    """One message of HTTP; its first line is under ``""``. EOFError, OSError for an end."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    headers[""] = lines[0]
    return headers, await reader.readexactly(int(headers.get("content-length", "0")))


async def exchange(streams: Streams, method: str, path: str, body: bytes = b"") -> str:
    reader, writer = streams
    head = f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    headers, _body = await read(reader)
    if headers.get("connection", "").lower() == "close":
        writer.close()
    return headers[""].split()[1]


async def hang_up(streams: Streams | None) -> None:
    if streams is not None:
        streams[1].close()


class World:
    """Obeys the test."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.platform: Platform | None = None

    async def do(self, asked: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = await getattr(self, f"do_{asked.pop('do')}")(**asked)
        return answer

    async def do_start(self, webs: list[list[Any]], path: str, handsets: int, rate: float) -> dict[str, Any]:
        """A new ledger: nothing is on its way."""
        self.page.clear()
        self.platform = Platform([(host, port) for host, port in webs], path, handsets, rate)
        return {}

    async def do_stop(self) -> dict[str, Any]:
        """No more texts: from here on it is no wonder that nothing comes."""
        assert self.platform is not None
        self.page.timed = False
        await self.platform.stop()
        return {}

    async def do_delay(self, seconds: float) -> dict[str, Any]:
        self.page.delay = seconds
        return {}

    async def do_ask(self, host: str, port: int, path: str) -> dict[str, Any]:
        """The status of a GET, empty where there is no answer."""
        streams = None
        try:
            async with asyncio.timeout(PATIENCE):
                streams = await asyncio.open_connection(host, port)
                return {"status": await exchange(streams, "GET", path)}
        except (OSError, EOFError, TimeoutError):
            return {"status": ""}
        finally:
            await hang_up(streams)

    async def do_peek(self) -> dict[str, Any]:
        assert self.platform is not None
        accepted = sum(map(len, self.platform.accepted.values()))
        return {"accepted": accepted, "arrived": len(self.page.first), "posts": len(self.page.arrived)}

    async def do_all(self) -> dict[str, Any]:
        """Everything since the start. Times: the longest with nothing accepted, with nothing new; of one text."""
        assert self.platform is not None
        came, accepted = self.page.first, self.platform.when
        slowest = max((came[sid] - accepted[sid] for sid in came.keys() & accepted.keys()), default=0.0)
        return {
            "accepted": self.platform.accepted,
            "arrived": self.page.arrived,
            "refused": dict(self.platform.refused),
            "times": [self.platform.pause, self.page.pause, slowest],
        }


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def main(address: str, port: int) -> None:
    world = World(Page())
    server = await asyncio.start_server(world.page.serve, address, port, backlog=512)
    lines = asyncio.StreamReader(limit=2**26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    say({})
    while line := await lines.readline():
        say(await world.do(json.loads(line)))
    server.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
