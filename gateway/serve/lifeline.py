"""How a process of the gateway learns that it is to end, and that it does end.

The supervisor holds the other end of every child's standard input. It says "stop" by closing it, on every operating
system alike; and where the supervisor is killed, the system closes it: no child outlives it. The other way round, a
child says over its standard output that its loop still turns: what runs and does nothing is ended, too.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

GRACE = 9.0
"""Seconds from the wish to stop to the end, whatever is still in flight."""

BEAT = 0.5
"""Seconds between two signs of life."""


class Heartbeat:
    """To be called in every turn of a process's loop: a sign of life for the supervisor, where there is one."""

    def __init__(self, *, lifeline: bool) -> None:
        self._next = 0.0 if lifeline else float("inf")

    def __call__(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + BEAT
        try:
            os.write(1, b".")
        except OSError:  # the supervisor is gone: the lifeline says so, too
            self._next = float("inf")


def on_stop(stop: Callable[[], None], *, lifeline: bool) -> None:
    """Call `stop` once: at SIGTERM, at Ctrl-C, or when the supervisor lets go. It may come from any thread.

    What has not ended `GRACE` seconds later is ended from here. To be called in the main thread.
    """
    asked = threading.Event()

    def ask() -> None:
        if asked.is_set():
            return
        asked.set()
        deadline = threading.Timer(GRACE, os._exit, (1,))
        deadline.daemon = True
        deadline.start()
        stop()

    on_signals(ask)
    if lifeline:
        threading.Thread(target=_hold, args=(ask,), name="lifeline", daemon=True).start()


def on_signals(ask: Callable[[], None]) -> None:
    """SIGTERM and Ctrl-C, under each of the names that the operating system has for them."""
    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: ask())


def _hold(ask: Callable[[], None]) -> None:
    # Not through sys.stdin: its buffer's lock would be held when the interpreter ends.
    try:
        while os.read(0, 64):
            pass
    except OSError:
        pass
    ask()
