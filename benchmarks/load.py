"""The load generator, a process of its own: `python -m benchmarks.load --port 8080 --path /carrierx/callback/KEY`.

Keep-alive connections over bare sockets and epoll, requests cut from ready-made bytes: about a tenth of what
an HTTP library would take from the machine that is being measured. Without `--rate` it is a closed loop (each
connection posts as soon as it is answered), with it an open one: a callback's time counts from when it was *due*,
so that a server which keeps others waiting cannot hide them. Prints one JSON object, and ends by itself.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import select
import socket
import time
from array import array
from collections import Counter, deque
from dataclasses import asdict, dataclass, field

from benchmarks.percentiles import Latency, latency
from benchmarks.traffic import Mould, moulds, phones, write_sid

HOST = "127.0.0.1"
ANSWER_TIMEOUT_SECONDS = 15.0
"""Seconds that the last answers may take after the end."""


@dataclass(slots=True, kw_only=True)
class Load:
    """What was posted and what was answered. Times are CLOCK_MONOTONIC nanoseconds."""

    started: int
    ended: int
    posted: int
    accepted: int
    """Answered 200 in all; `in_time` of them before the end."""
    in_time: int
    answers: dict[str, int]
    unanswered: int
    not_accepted: list[str] = field(default_factory=list)
    """The sids that were posted and not answered 200: they may arrive all the same, and are no part of the ledger."""
    accept: Latency
    cpu_seconds: float

    @property
    def seconds(self) -> float:
        return (self.ended - self.started) / 1e9


class Connection:
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, at: int, address: tuple[str, int], own: tuple[str, ...], requests: tuple[Mould, ...]) -> None:
        self._at, self._address, self._moulds = at, address, requests
        self._phones = [phone.encode() for phone in own]
        self._dice = random.Random(at)  # the same phones in every run
        self._sequence = 0
        self._answer = b""
        self.sid = ""
        self.due = 0
        self.waiting: deque[int] = deque()
        self.open()

    def open(self) -> None:
        self.socket = socket.create_connection(self._address, timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answer = b""
        self.sid = ""

    def post(self, due: int) -> None:
        self._sequence += 1
        self.due = due
        self.sid = write_sid(due, self._at, self._sequence)
        mould = self._moulds[self._sequence % len(self._moulds)]
        phone = self._phones[int(self._dice.random() * len(self._phones))]
        # Under 1 KB into an empty buffer: never partial on loopback.
        self.socket.send(mould.filled(phone, self.sid.encode()))

    def status(self) -> int | None:
        """What has come: the status of a whole answer, None for a part of one. ConnectionError for an end."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed")
        answer = self._answer + data
        head, mark, body = answer.partition(b"\r\n\r\n")
        if not mark or len(body) < _length(head):
            self._answer = answer
            return None
        self._answer = b""
        return int(head[9:12])


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(b"content-length:")
    if at < 0:
        raise ConnectionError("an answer without Content-Length")
    return int(lower[at + 15 :].partition(b"\r\n")[0])


class Generator:
    """The loop over all connections."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections
        self._by_socket = {one.socket.fileno(): one for one in connections}
        self._poll = select.epoll()
        for number in self._by_socket:
            self._poll.register(number, select.EPOLLIN)
        self._answers: Counter[int] = Counter()
        self._took = array("q")
        self._not_accepted: list[str] = []
        self._posted = self._unanswered = self._in_time = 0
        self._end = 0

    def run(self, seconds: float, rate: float) -> Load:
        """Post for so many seconds; `rate` a second in all, 0 for as fast as they are answered."""
        started, before = time.monotonic_ns(), time.process_time()
        self._end = started + int(seconds * 1e9)
        if rate:
            self._paced(started, rate)
        else:
            for one in self._connections:
                self._post(one, time.monotonic_ns())
            while time.monotonic_ns() < self._end:
                self._answered(self._poll.poll(0.1), again=True)
        self._last_answers()
        return Load(
            started=started,
            ended=self._end,
            posted=self._posted,
            accepted=self._answers[200],
            in_time=self._in_time,
            answers={str(status): count for status, count in sorted(self._answers.items())},
            unanswered=self._unanswered,
            not_accepted=self._not_accepted,
            accept=latency(self._took),
            cpu_seconds=round(time.process_time() - before, 3),
        )

    def _paced(self, started: int, rate: float) -> None:
        """The n-th callback is due n/rate seconds after the start, whatever became of those before it."""
        turn, step = 0, 1e9 / rate
        while (due := started + int(turn * step)) < self._end:
            wait = (due - time.monotonic_ns()) / 1e9
            if wait > 0:
                # epoll's own timeout is rounded to milliseconds, select's is not.
                select.select([self._poll], [], [], wait)
                self._answered(self._poll.poll(0), again=False)
                continue
            one = self._connections[turn % len(self._connections)]
            if one.sid:
                one.waiting.append(due)
            else:
                self._post(one, due)
            turn += 1

    def _last_answers(self) -> None:
        until = time.monotonic() + ANSWER_TIMEOUT_SECONDS
        while any(one.sid or one.waiting for one in self._connections) and time.monotonic() < until:
            self._answered(self._poll.poll(0.1), again=False)
        for one in self._connections:
            if one.sid:
                self._lost(one)

    def _answered(self, ready: list[tuple[int, int]], again: bool) -> None:
        for number, _event in ready:
            one = self._by_socket[number]
            try:
                status = one.status()
            except ConnectionError:
                self._reopen(one)
                status = 0
            if status is None:
                continue
            now = time.monotonic_ns()
            if status:
                self._note(one, status, now)
            if one.waiting:
                self._post(one, one.waiting.popleft())
            elif again and now < self._end:
                self._post(one, now)

    def _note(self, one: Connection, status: int, now: int) -> None:
        self._answers[status] += 1
        if status == 200:
            self._took.append(now - one.due)
            self._in_time += now <= self._end
        else:
            self._not_accepted.append(one.sid)
        one.sid = ""

    def _post(self, one: Connection, due: int) -> None:
        self._posted += 1
        try:
            one.post(due)
        except ConnectionError:
            # Closed by the server while it was idle.
            self._reopen(one)
            self._posted += 1
            one.post(due)

    def _lost(self, one: Connection) -> None:
        self._unanswered += 1
        self._not_accepted.append(one.sid)
        one.sid = ""

    def _reopen(self, one: Connection) -> None:
        """A server may close a connection; what was on its way has no answer, and nobody knows its fate."""
        if one.sid:
            self._lost(one)
        del self._by_socket[one.socket.fileno()]
        self._poll.unregister(one.socket.fileno())
        one.socket.close()
        one.open()
        self._by_socket[one.socket.fileno()] = one
        self._poll.register(one.socket.fileno(), select.EPOLLIN)

    def close(self) -> None:
        for one in self._connections:
            one.socket.close()
        self._poll.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.0, help="callbacks a second; 0: as fast as they are answered")
    return parser.parse_args()


def main() -> None:
    given = _arguments()
    requests = moulds(HOST, given.port, given.path)
    count = given.connections
    connections = [Connection(at, (HOST, given.port), phones(at, count), requests) for at in range(count)]
    generator = Generator(connections)
    # A pause of the collector would be booked on the server.
    gc.disable()
    print(json.dumps(asdict(generator.run(given.seconds, given.rate))))
    generator.close()


if __name__ == "__main__":
    main()
