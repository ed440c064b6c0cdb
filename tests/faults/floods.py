"""An attacker of the web half's port, a process of its own: `python -m tests.faults.floods KIND PORT CONNECTIONS`.

It says ``ready`` when the flood is on, and goes on until its standard input is closed: what the other side ends is
begun anew. Bare sockets and one loop, so that it takes little of the machine that it attacks.
"""

from __future__ import annotations

import resource
import select
import selectors
import socket
import struct
import sys
from contextlib import suppress
from itertools import count

from tests.running import HOST, KEY

PIECE = 64 * 1024
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes of a close a reset."""
_GET = b"GET / HTTP/1.1\r\nHost:\r\n\r\n"
_POST = f"POST /carrierx/callback/{KEY} HTTP/1.1\r\nHost: gateway\r\n".encode()

FLOODS: dict[str, tuple[bytes, bytes]] = {
    "silent": (b"", b""),
    "half a head": (b"POST /carrierx/callback/key HTTP/1.1\r\nHost: gateway\r\nX-", b""),
    "half a body": (_POST + b"Content-Length: 1000\r\n\r\nhalf", b""),
    "answers never read": (b"GET /login HTTP/1.1\r\nHost: gateway\r\n\r\n" * 20, b""),
    "requests without end": (b"", _GET * (256 * 1024 // len(_GET))),
    "tiny chunks": (_POST + b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\nab\r\n" * (1024 * 1024 // 7)),
    "resets": (_POST[:20], b""),
}
"""The bytes that each connection sends at once, and those that it then repeats for as long as it is read."""


def _request(path: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_MIB = 1024 * 1024
_FORM = "application/x-www-form-urlencoded"
_PAIR = b"%41" * 170 + b"=" + b"%42" * 178
_PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n%s\r\n' % (b"b" * 980)
_ELEMENT = b"<a" + b"".join(b' a%02d="1"' % n for n in range(99)) + b"/>"
_ENVELOPE = (
    b"<Envelope xmlns='http://schemas.xmlsoap.org/soap/envelope/'><Body><sendMessage>%s</sendMessage></Body></Envelope>"
)
_SEND, _SOAP = "/legacy/sendMessage", "/legacy/webservices/"
EXPENSIVE: dict[str, bytes] = {
    "login": _request("/login", _FORM, b"a=b&c&" * (_MIB // 6)),
    "form": _request(_SEND, _FORM, b"&".join([_PAIR] * 990)[: _MIB - 1]),
    "small form": _request(_SEND, _FORM, b"&".join([b"%41=%42%42%42%42"] * 990)),
    "parts": _request(_SEND, "multipart/form-data; boundary=x", _PART * 990 + b"--x--\r\n"),
    "attributes": _request(_SOAP, "text/xml", _ENVELOPE % (_ELEMENT * 1100)),
    "elements": _request(_SOAP, "text/xml", _ENVELOPE % (b"<item><key>a</key><value>b</value></item>" * 9_900)),
}
"""Requests of a stranger that are expensive to read. A connection is for one; another is made when it is answered."""


class Attacker:
    def __init__(self, kind: str, port: int) -> None:
        self._kind, self._port = kind, port
        self._first, self._then = FLOODS.get(kind) or (b"", EXPENSIVE[kind])
        self._selector = selectors.DefaultSelector()
        self._sent: dict[socket.socket, int] = {}

    def open(self) -> None:
        with suppress(OSError):  # the other side has no room for more, just now
            made = socket.create_connection((HOST, self._port), timeout=5)
            made.sendall(self._first)
            made.setblocking(False)
            self._sent[made] = 0
            # Whoever reads no answers sees no end either, but from what cannot be sent.
            interest = selectors.EVENT_WRITE if self._then else 0
            reads = self._kind not in ("answers never read", "requests without end")
            if interest or reads:
                self._selector.register(made, interest | (selectors.EVENT_READ if reads else 0))

    def reset(self, number: int) -> None:
        with suppress(OSError):
            made = socket.create_connection((HOST, self._port), timeout=5)
            if number % 2:
                made.sendall(self._first)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            made.close()

    def turn(self) -> None:
        for key, events in self._selector.select(0.2) if self._selector.get_map() else ():
            made = key.fileobj
            assert isinstance(made, socket.socket)
            try:
                if events & selectors.EVENT_READ and (not made.recv(PIECE) or self._kind in EXPENSIVE):
                    raise ConnectionError
                if events & selectors.EVENT_WRITE:
                    at = self._sent[made] % len(self._then)
                    self._sent[made] += made.send(self._then[at : at + PIECE])
                    if self._kind in EXPENSIVE and self._sent[made] == len(self._then):
                        self._selector.modify(made, selectors.EVENT_READ)
            except BlockingIOError:
                continue
            except OSError:
                self._selector.unregister(made)
                del self._sent[made]
                made.close()
                self.open()


def main(kind: str, port: int, connections: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    attacker = Attacker(kind, port)
    for number in range(connections):
        if kind == "resets":
            attacker.reset(number)
        else:
            attacker.open()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for number in count():
        if select.select([sys.stdin], [], [], 0.01)[0]:
            return
        if kind == "resets":
            attacker.reset(number)
        else:
            attacker.turn()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
