"""Code that waits without standing in the way: an errand runs on an event loop's thread, and while it waits the loop
goes on with other errands.

A request that is handed to a thread and back costs several changes of threads, and threads that all want the
interpreter at once cost still more: at 32 requests side by side more than all the rest of a callback (measured). An
errand is plain code, such as a WSGI application; the one that makes it wait, the store's writer, asks `current`.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any, NoReturn, cast

from greenlet import getcurrent, greenlet

MAX_SPARE_GREENLETS = 256
"""Errands that are kept for later work: a new one costs 10 µs, most of it for its stack."""

Work = Callable[[], object]


class RequestGreenlet(greenlet):
    """One piece of work after another, each of which may wait, but for nothing that another errand has to free."""

    def __init__(self, errands: GreenletPool) -> None:
        super().__init__(self._labour)
        self._errands = errands

    @property
    def loop(self) -> AbstractEventLoop:
        return self._errands.loop

    def wait(self) -> Any:
        """Called within: let the loop go on. What is given to the next `switch` comes back."""
        return cast(greenlet, self.parent).switch()

    def _labour(self, work: Work) -> NoReturn | None:
        while True:
            work()
            if not self._errands.take_back(self):
                return None
            work = self.wait()


class GreenletPool:
    """Those of one event loop. For its thread alone."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self._spare: list[RequestGreenlet] = []

    def run(self, work: Work) -> None:
        """Until it ends, or has to wait."""
        if current() is not None:
            # An errand goes on to its end first: it would be left lying when this one waits.
            self.loop.call_soon(self.run, work)
            return
        errand = self._spare.pop() if self._spare else RequestGreenlet(self)
        errand.switch(work)

    def take_back(self, errand: RequestGreenlet) -> bool:
        if len(self._spare) >= MAX_SPARE_GREENLETS:
            return False
        self._spare.append(errand)
        return True


def current() -> RequestGreenlet | None:
    """The errand that calls; None where a thread may stand still."""
    here = getcurrent()
    return here if isinstance(here, RequestGreenlet) else None
