"""Takes an answer in, piece by piece, and says when it is enough. Pure: libcurl calls it, it does not know libcurl."""

from __future__ import annotations

import re
from io import BytesIO

from gateway.delivery.exchange import Headers

MAX_BODY = 64 * 1024
MAX_HEAD = 16 * 1024
MAX_LINES = 100
STOP = 0
"""What a callback returns to end the transfer: "taken: nothing"."""

_END = re.compile(rb"\n\r?\n")
_NEXT_HEAD = re.compile(rb"\r?\n\r?\n(?=HTTP/)")


class Incoming:
    """One answer; `clear` makes room for the next."""

    __slots__ = ("head", "size", "enough", "_pieces")

    def __init__(self) -> None:
        # A buffer's own `write` is the callback for the head: libcurl calls it for every line, and a function of
        # ours in its place would cost as much as all the rest of the reading. libcurl itself ends a head, interim
        # answers and trailers with it, at 300 KB; what is more than we take is seen when the transfer is over.
        self.head = BytesIO()
        self.clear()

    def clear(self) -> None:
        self.head.seek(0)
        self.head.truncate()
        self._pieces: list[bytes] = []
        self.size = 0
        self.enough = False
        """The body was cut at 64 KB. That is no failure: the status was known by then."""

    def write(self, piece: bytes) -> int | None:
        """A piece of the body, as it came. None goes on."""
        self.size += len(piece)
        self._pieces.append(piece)
        if self.size <= MAX_BODY:
            return None
        self.enough = True
        return STOP

    def body(self) -> bytes:
        return b"".join(self._pieces)[:MAX_BODY]

    def too_large(self) -> str:
        """What was too much in the head, in words; empty: nothing."""
        raw = self.head.getvalue()
        if len(raw) <= MAX_HEAD and raw.count(b"\n") <= MAX_LINES:
            return ""
        return f"the answer's headers are longer than {MAX_HEAD // 1024} KB or {MAX_LINES} lines"

    def whole(self) -> bool:
        """Whether the head, if there is one, came to its end."""
        last = self._last()
        return not last or last.endswith(b"\r\n\r\n") or _END.search(last) is not None

    def headers(self) -> Headers:
        """(name, value) of the final answer and its trailers, in order, as they came."""
        fields = [line.partition(":") for line in self._last().decode("latin-1").split("\n")[1:]]
        return tuple([(name, value.strip()) for name, colon, value in fields if colon])

    def _last(self) -> bytes:
        """The final answer's head: interim answers stand before it."""
        raw = self.head.getvalue()
        return _NEXT_HEAD.split(raw)[-1] if raw.find(b"HTTP/", 5) > 0 else raw
