"""Requests that wait for their commit without a thread: each runs in a greenlet on the event loop's thread, and while
it waits the loop goes on with others.

To hand a request to a thread and back costs several switches of threads, and threads that all want the interpreter at
once cost still more: at 32 requests side by side, more than all the rest of a callback (measured). A request is plain
code, such as a WSGI application; the store's writer, which makes it wait, asks for the `current` greenlet.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any, NoReturn, cast

from greenlet import getcurrent, greenlet

MAX_SPARE_GREENLETS = 256
"""Greenlets that are kept for later requests: a new one costs 10 µs, most of it for its stack."""

Work = Callable[[], object]


class RequestGreenlet(greenlet):
    """Runs one request after another. Each may wait, but not for what another request on this loop has to release."""

    def __init__(self, pool: GreenletPool) -> None:
        super().__init__(self._run)
        self._pool = pool
        self.loop = pool.loop

    def wait(self) -> Any:
        """To be called within the request: lets the loop go on, and returns what the next `switch` is given."""
        return cast(greenlet, self.parent).switch()

    def _run(self, work: Work) -> NoReturn | None:
        while True:
            work()
            if not self._pool.release(self):
                return None
            work = self.wait()


class GreenletPool:
    """The greenlets of one event loop; not thread-safe."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self._spare: list[RequestGreenlet] = []

    def run(self, work: Work) -> None:
        """Runs it until it ends, or has to wait."""
        if current() is not None:
            # That request goes on to its end first: its greenlet would never be resumed if this one waited.
            self.loop.call_soon(self.run, work)
            return
        idle = self._spare.pop() if self._spare else RequestGreenlet(self)
        idle.switch(work)

    def release(self, idle: RequestGreenlet) -> bool:
        """Keeps it for the next request. False: there are enough, and it ends."""
        if len(self._spare) >= MAX_SPARE_GREENLETS:
            return False
        self._spare.append(idle)
        return True


def current() -> RequestGreenlet | None:
    """Returns the greenlet that calls; None where a thread may block."""
    found = getcurrent()
    return found if isinstance(found, RequestGreenlet) else None
