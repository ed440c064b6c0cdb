"""One request under way: what libcurl asks us while it goes, and what is made of its end.

These are libcurl's callbacks, but not libcurl: the few numbers of its interface that they need stand here.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from gateway.safe_http import shortage
from gateway.safe_http.departures import PendingRequest
from gateway.safe_http.errors import CurlError, describe
from gateway.safe_http.gate import AddressPolicy
from gateway.safe_http.incoming import MAX_BODY_BYTES, ResponseBuffer, ResponseHead
from gateway.safe_http.models import Failure, Response, Timings

SOCKET_BAD = -1
GO_ON, ABORT = 0, 1
HEAD_OUT, BODY_OUT = 2, 4
NAMES, CONNECT = (5, 6), 7
"""CURL_SOCKET_BAD, CURL_PREREQFUNC_…, CURLINFO_HEADER_OUT and …_DATA_OUT, CURLE_COULDNT_…."""


class Transfer(ResponseBuffer):
    """The answer that is being read, the rules that its connection must pass, the bytes that went out."""

    __slots__ = (
        "tag",
        "start",
        "connected",
        "dialled",
        "address",
        "_gate",
        "_opened",
        "_refusal",
        "_short",
        "_cut",
        "_sent",
    )

    def __init__(self, opened: Callable[[int], None]) -> None:
        """`opened` is told the descriptor of every socket that is made."""
        super().__init__()
        self.tag: object = None
        self._opened = opened
        self._sent: list[bytes] = []

    def begin(self, start: PendingRequest, gate: AddressPolicy) -> None:
        self.clear()
        self.tag, self.start, self._gate = start.tag, start, gate
        self.connected = self.dialled = self._cut = False
        self._refusal = self._short = ""
        self._sent.clear()

    def is_late(self, now: float) -> bool:
        """Whether its time is over. `now`: seconds of the clock that nobody sets."""
        request, gone = self.start.request, now - self.start.begun
        return gone >= request.timeout or (not self.connected and gone >= request.connect_timeout)

    def open(self, _purpose: int, address: Any) -> int:
        """The choke point: nothing is dialled that does not pass here. After a refusal no other address is tried."""
        if not self._passes(address.addr[0], address.addr[1]):
            return SOCKET_BAD
        try:
            opened = socket.socket(address.family, address.socktype, address.protocol)
        except OSError as error:
            self._short = shortage.of(error)
            return SOCKET_BAD
        self._short = shortage.reaches(opened.fileno())
        if self._short:
            opened.close()
            return SOCKET_BAD
        self._opened(opened.fileno())
        self.dialled = True
        return opened.detach()

    def before(self, address: str, _local: str, port: int, _local_port: int) -> int:
        """Before the request is sent: its connection may be one that another opened, under other rules."""
        self.connected, self.address = True, address
        # An answer had begun, and libcurl, which has not seen its end, would send the request once more.
        self._cut = bool(self.lines)
        if not (self._cut or self._refusal) and (address, port) in self._gate.passed:
            return GO_ON
        return GO_ON if self._passes(address, port) and not self._cut else ABORT

    def note(self, kind: int, piece: bytes) -> None:
        """What goes out. A request that begins anew, on another connection or behind a CONNECT, replaces the first."""
        if kind == HEAD_OUT and piece.startswith((b"POST ", b"CONNECT ")):
            self._sent.clear()
        if kind in (HEAD_OUT, BODY_OUT):
            self._sent.append(piece)

    def _passes(self, address: str, port: int) -> bool:
        self._refusal = self._refusal or self._gate.judge(address, port) or ""
        return not self._refusal

    def answer(
        self, head: ResponseHead, status: int | None, address: str, times: Timings, failure: Failure | None
    ) -> Response:
        read, sent = b"".join(self.pieces)[:MAX_BODY_BYTES], b"".join(self._sent)
        return Response(status, head.headers, read, self.size, sent, times, address, failure)

    def fault(self, head: ResponseHead, code: int) -> Failure | None:
        """What we found ourselves, whatever libcurl says. A head that breaks off is an answer to libcurl."""
        if head.fine and not (self._cut or self._refusal):
            return None
        if self._refusal:
            return Failure(kind="refused_address", sentence=self._refusal)
        if head.too_large:
            return Failure(kind="too_large", sentence=head.too_large)
        if self._cut or not (code or head.whole):
            return Failure(kind="reset", sentence="the connection broke off in the middle of the answer")
        return None

    def _lack(self, code: int) -> str:
        """What we were short of ourselves, if that is what ended it; else empty."""
        if code in NAMES:  # libcurl's own looking up, of a proxy
            return shortage.now()
        return self._short if code == CONNECT else ""

    def failure(self, code: int, text: str, **facts: Any) -> Failure | None:
        """What libcurl's error means; `facts` are those of `CurlError` that it alone knows."""
        if self.enough:
            return None
        if not self.connected and (short := self._lack(code)):
            return Failure(kind=shortage.KIND, sentence=short)
        request = self.start.request
        return describe(
            CurlError(
                code=code,
                text=text,
                secure=self.start.target.secure,
                connected=self.connected,
                timeout=request.timeout,
                connect_timeout=request.connect_timeout,
                **facts,
            )
        )
