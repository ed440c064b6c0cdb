"""How a process of the gateway learns that it is to end, and that it does end.

The supervisor holds the other end of every child's standard input. It says "stop" by closing it, on every operating
system alike; and where the supervisor is killed, the system closes it: no child outlives it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

GRACE = 9.0
"""Seconds from the wish to stop to the end, whatever is still in flight."""


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
