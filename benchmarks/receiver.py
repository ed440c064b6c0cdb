"""The application that is called, a process of its own: `python -m benchmarks.receiver` prints its port and serves.

It answers every post with 200 and keeps of it what the ledger needs: which `message_sid` came (header
`X-Message-Sid`), how often, when, in which order for one phone, and every so often the whole post. Bare sockets
and epoll, so that it takes little of the machine that is measured.

Standard input commands it, a line of JSON each; the answer is a line of JSON::

    {"do": "count"}                                  {"posts": 12, "unique": 12}
    {"do": "take", "from": ns, "until": ns, "among": [sid, …]}    everything since the last take, and starts anew

It ends with its standard input.
"""

from __future__ import annotations

import gc
import json
import re
import select
import socket
import sys
import time
from array import array
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.percentiles import Latency, latency
from benchmarks.traffic import read_sid

HOST = "127.0.0.1"
SAMPLE = 499
"""Every so many posts are kept whole, to be looked at after the run."""
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nOK"
_BAD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)
_SID = re.compile(rb"\r\nx-message-sid:[ \t]*([0-9a-f-]{36})", re.IGNORECASE)
_PHONE = re.compile(rb"(?:^|&)phone=([0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What came since the last take."""

    posts: int
    unique: int
    doubled: int
    """Posts of a `message_sid` that had come before."""
    unknown: int
    """Posts that no callback of ours can have led to."""
    out_of_order: int
    """First posts that came after a later one of the same phone."""
    in_time: int
    """First posts within the asked window."""
    among: int
    """How many of the asked sids came."""
    endpoint: Latency
    """From the callback's due time to the post's arrival."""
    samples: list[str]
    cpu_seconds: float


class Ledger:
    """What came, in the least that it takes."""

    def __init__(self) -> None:
        self.posts = self.doubled = self.unknown = self.out_of_order = 0
        self.seen: set[bytes] = set()
        self._last: dict[bytes, int] = {}
        self._took, self._when = array("q"), array("q")
        self._samples: list[str] = []
        self._cpu = time.process_time()

    def note(self, head: bytes, body: bytes, now: int) -> bool:
        """False if this is no post of the benchmark."""
        self.posts += 1
        sid, phone = _SID.search(head), _PHONE.search(body)
        if sid is None or phone is None:
            self.unknown += 1
            return False
        if sid[1] in self.seen:
            self.doubled += 1
            return True
        self.seen.add(sid[1])
        due, _connection, sequence = read_sid(sid[1])
        self.out_of_order += self._last.get(phone[1], 0) > sequence
        self._last[phone[1]] = sequence
        self._took.append(now - due)
        self._when.append(now)
        if len(self.seen) % SAMPLE == 1:
            self._samples.append((head + b"\r\n\r\n" + body).decode("latin-1"))
        return True

    def received(self, since: int, until: int, among: list[str]) -> Received:
        return Received(
            posts=self.posts,
            unique=len(self.seen),
            doubled=self.doubled,
            unknown=self.unknown,
            out_of_order=self.out_of_order,
            in_time=sum(since <= when <= until for when in self._when),
            among=sum(sid.encode() in self.seen for sid in among),
            endpoint=latency(self._took),
            samples=self._samples,
            cpu_seconds=round(time.process_time() - self._cpu, 3),
        )


class Receiver:
    """The loop over the listening socket, the connections and the commands."""

    def __init__(self) -> None:
        self._listening = socket.create_server((HOST, 0), backlog=1024)
        self._poll = select.epoll()
        self._open: dict[int, tuple[socket.socket, bytearray]] = {}
        self._ledger = Ledger()
        self._poll.register(self._listening.fileno(), select.EPOLLIN)
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN)

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    def serve(self) -> None:
        """Until standard input ends."""
        while True:
            for number, _event in self._poll.poll():
                if number in self._open:
                    self._read(number)
                elif number == self._listening.fileno():
                    self._accept()
                elif not self._obey():
                    return

    def _accept(self) -> None:
        connection, _address = self._listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open[connection.fileno()] = connection, bytearray()
        self._poll.register(connection.fileno(), select.EPOLLIN)

    def _read(self, number: int) -> None:
        connection, buffer = self._open[number]
        try:
            data = connection.recv(65536)
            if data:
                buffer += data
                self._posts(connection, buffer)
                return
        except ConnectionError:
            pass
        self._close(number)

    def _close(self, number: int) -> None:
        connection, _buffer = self._open.pop(number)
        self._poll.unregister(number)
        connection.close()

    def _posts(self, connection: socket.socket, buffer: bytearray) -> None:
        """Answer every whole request in the buffer; what is left over stays."""
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(buffer[:end])
            found = _LENGTH.search(head)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(buffer) < whole:
                return
            body = bytes(buffer[end + 4 : whole])
            del buffer[:whole]
            # The answer first: what is noted afterwards keeps nobody waiting.
            now = time.monotonic_ns()
            connection.send(_ANSWER if found else _BAD)
            self._ledger.note(head, body, now)

    def _obey(self) -> bool:
        line = sys.stdin.readline()
        if not line:
            return False
        print(json.dumps(self._answer(json.loads(line))), flush=True)
        return True

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        if command["do"] == "count":
            return {"posts": self._ledger.posts, "unique": len(self._ledger.seen)}
        taken = self._ledger.received(command["from"], command["until"], command["among"])
        self._ledger = Ledger()
        gc.collect()
        return asdict(taken)


def main() -> None:
    receiver = Receiver()
    print(json.dumps({"port": receiver.port}), flush=True)
    # A pause of the collector would be booked on the deliverer.
    gc.disable()
    receiver.serve()


if __name__ == "__main__":
    main()
