"""The Sender beside the worker, in a thread of the same process: they end together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

import structlog

from gateway.sender.worker import Sender

JOIN = 8.5
"""Seconds that it may take longer than the worker to end: both have the same time, and one may have nothing to do."""


class SenderThread:
    """`give_up`: ends the process where the Sender has died; whoever watches the process starts another one."""

    def __init__(self, sender: Sender, stop: threading.Event, give_up: Callable[[], None]) -> None:
        self._sender, self._stop, self._give_up = sender, stop, give_up
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self.has_failed = False

    def alive(self, pulse: Callable[[], None]) -> Callable[[], None]:
        """The pulse that is only given while the Sender's loop turns, too."""
        return lambda: pulse() if self._sender.lives() else None

    def _run(self) -> None:
        try:
            self._sender.run(self._stop)
        except BaseException as error:
            self.has_failed = True
            structlog.get_logger().exception("sender_failed", error=type(error).__name__)
            self._give_up()

    def __enter__(self) -> SenderThread:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._sender.wake()
        self._thread.join(JOIN)
