"""Waits for sockets: those of the transfers, those that others want watched, and one to be woken by."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable
from typing import Any

Ready = list[tuple[int, int]]
"""(file descriptor, mask): 1 to read, 2 to write, as libcurl and `selectors` both count."""

_FORGETFUL = tuple(getattr(selectors, name) for name in ("EpollSelector", "KqueueSelector") if hasattr(selectors, name))


class Loop:
    """One thread's. Only `wake` may be called from others."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        # epoll and kqueue forget a socket that was closed, so an idle one can stay registered until it is used
        # again: two system calls less for each request on a connection that was kept. Others must be told.
        self._lazy = isinstance(self._selector, _FORGETFUL)
        self._masks: dict[int, int] = {}
        """What the selector watches for transfers."""
        self._idle: set[int] = set()
        """Of these, the ones that no transfer asks for now."""
        # Sockets and no pipe: on Windows nothing else can be waited for.
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self.watch(self._near, self._hear)

    def be_eager(self) -> None:
        """From now on some sockets will not be announced to `opened`: keep no idle ones."""
        self._lazy = False
        for descriptor in list(self._idle):
            self._leave(descriptor)

    def opened(self, descriptor: int) -> None:
        """A new socket: what is known of its number is of one that was closed."""
        if descriptor in self._masks:
            self._leave(descriptor)

    def want(self, descriptor: int, mask: int) -> None:
        """Watch a transfer's socket for reading (1), writing (2), both (3); 0: for nothing now."""
        if mask and self._masks.get(descriptor) == mask:
            self._idle.discard(descriptor)
        elif mask:
            self._enter(descriptor, mask)
        elif self._lazy and descriptor in self._masks:
            self._idle.add(descriptor)
        else:
            self._leave(descriptor)

    def _enter(self, descriptor: int, mask: int) -> None:
        known = descriptor in self._masks
        self._idle.discard(descriptor)
        # No exception may leave this: libcurl would give up every transfer. As it is, a deadline ends one.
        with contextlib.suppress(OSError, KeyError, ValueError):
            (self._selector.modify if known else self._selector.register)(descriptor, mask)
            self._masks[descriptor] = mask

    def _leave(self, descriptor: int) -> None:
        self._masks.pop(descriptor, None)
        self._idle.discard(descriptor)
        with contextlib.suppress(OSError, KeyError, ValueError):
            self._selector.unregister(descriptor)

    def watch(self, fileobj: Any, callback: Callable[[], object]) -> None:
        """Call back, in this thread, whenever there is something to read."""
        self._selector.register(fileobj, selectors.EVENT_READ, callback)

    def unwatch(self, fileobj: Any) -> None:
        self._selector.unregister(fileobj)

    def wait(self, timeout: float) -> tuple[Ready, bool]:
        """Transfers' sockets that are ready, and whether somebody else's was (its callback ran) or woke us."""
        ready, others = [], False
        for key, mask in self._selector.select(timeout):
            if key.data is not None:
                others = True
                key.data()
            elif key.fd in self._idle:
                # A connection that was kept has ended. libcurl sees that itself before it uses one.
                self._leave(key.fd)
            else:
                ready.append((key.fd, mask))
        return ready, others

    def wake(self) -> None:
        """From any thread, also while the loop is being closed. Many calls may wake it once."""
        with contextlib.suppress(OSError):
            self._far.send(b"!")

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._near.recv(4096):
                pass

    def close(self) -> None:
        self._selector.close()
        self._near.close()
        self._far.close()
