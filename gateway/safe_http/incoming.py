"""Takes an answer in, piece by piece, and says when it is enough. Pure: libcurl calls it, it does not know libcurl."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from gateway.safe_http.models import Headers

MAX_BODY_BYTES = 64 * 1024
MAX_HEAD_BYTES = 16 * 1024
MAX_LINES = 100
STOP = 0
"""What a callback returns to end the transfer: "taken: nothing"."""

_USUAL = 1024
"""Bytes of a head that is remembered once it was read."""
_END = re.compile(rb"\n\r?\n")
_NEXT_HEAD = re.compile(rb"\r?\n\r?\n(?=HTTP/)")


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What an answer's head comes to."""

    headers: Headers
    """(name, value) of the final answer and its trailers, in order, as they came."""
    whole: bool
    """The head, if there is one, came to its end."""
    too_large: str
    """What was too much in it, in words; empty: nothing."""
    fine: bool
    """Whole, and not too large."""


class ResponseBuffer:
    """One answer; `clear` makes room for the next."""

    __slots__ = ("lines", "size", "enough", "pieces")

    def __init__(self) -> None:
        # A list's own `append` is the callback for the head: libcurl calls it for every line, and a function of
        # ours in its place would cost as much as all the rest of the reading. libcurl itself ends a head, interim
        # answers and trailers with it, at 300 KB; what is more than we take is seen when the transfer is over.
        self.lines: list[bytes] = []
        self.pieces: list[bytes] = []
        """Of the body. The last one may go beyond `MAX_BODY_BYTES`."""
        self.size = 0
        self.enough = False
        """The body was cut at 64 KB. That is no failure: the status was known by then."""

    def clear(self) -> None:
        self.lines.clear()
        self.pieces.clear()
        self.size = 0
        self.enough = False

    def write(self, piece: bytes) -> int | None:
        """A piece of the body, as it came. None goes on."""
        self.size += len(piece)
        self.pieces.append(piece)
        if self.size <= MAX_BODY_BYTES:
            return None
        self.enough = True
        return STOP

    def head(self) -> ResponseHead:
        raw = b"".join(self.lines)
        return _remembered(raw) if len(raw) <= _USUAL else _read(raw)


def _read(raw: bytes) -> ResponseHead:
    large = len(raw) > MAX_HEAD_BYTES or raw.count(b"\n") > MAX_LINES
    # The final answer's head: interim answers stand before it.
    last = _NEXT_HEAD.split(raw)[-1] if raw.find(b"HTTP/", 5) > 0 else raw
    fields = [line.partition(":") for line in last.decode("latin-1").split("\n")[1:]]
    whole = not last or last.endswith(b"\r\n\r\n") or _END.search(last) is not None
    return ResponseHead(
        headers=tuple([(name, value.strip()) for name, colon, value in fields if colon]),
        whole=whole,
        too_large=f"the answer's headers are longer than {MAX_HEAD_BYTES // 1024} KB or {MAX_LINES} lines"
        if large
        else "",
        fine=whole and not large,
    )


# An endpoint's answers mostly begin with the same lines, but for the second in `Date`.
_remembered = lru_cache(256)(_read)
