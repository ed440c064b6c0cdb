"""An application that writes down all that arrives, and behaves as it is told."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from types import TracebackType

from tests.faults.ledger import SID, Arrival, Ledger
from tests.servers import Caller, Server, ok

Behaviour = Callable[[Caller], bool]
"""What to do after a request was read. False: the connection ends."""


def well(caller: Caller) -> bool:
    return caller.send(ok())


class Endpoint:
    """Listens from `__enter__` to `__exit__`. `delay`: seconds that its work takes, before it answers."""

    def __init__(self, name: str, tls: ssl.SSLContext | None = None, delay: float = 0.0) -> None:
        self.name, self.delay = name, delay
        self.ledger = Ledger()
        self.behave: Behaviour = well
        self.closes_at_use = False
        """Takes one request on each connection; the next one finds it closed, with no answer."""
        self.closed = 0
        self.on_arrival: Callable[[Arrival], object] = lambda arrival: None
        self.server = Server(self._script, tls=tls)

    @property
    def url(self) -> str:
        return self.server.url(f"/{self.name}")

    def speak(self, tls: ssl.SSLContext) -> None:
        """From now on; connections that there are come to an end."""
        self.server.speak(tls)

    def __enter__(self) -> Endpoint:
        self.server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.behave = well
        self.server.__exit__(kind, error, trace)

    def _script(self, caller: Caller) -> None:
        turn, goes_on = 0, True
        while goes_on and (request := caller.read_request()) is not None:
            turn += 1
            behave, closes = self.behave, self.closes_at_use and turn > 1
            self._write_down(request, taken=behave is well and not closes)
            if closes:
                self.closed += 1
                return
            if self.delay and behave is well:
                time.sleep(self.delay)  # its work
            goes_on = behave(caller)

    def _write_down(self, request: bytes, taken: bool) -> None:
        at, head, body = time.monotonic(), *request.split(b"\r\n\r\n", 1)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
        }
        found = SID.search(body)
        sid = found[0].decode() if found else f"unknown: {body[:80]!r}"
        arrival = Arrival(
            sid, self.name, headers.get("x-delivery-id", ""), int(headers.get("x-delivery-attempt", 0)), at, taken
        )
        self.ledger.arrive(arrival)
        self.on_arrival(arrival)
