"""Waits for sockets: those of the transfers, those that others want watched, and one to be woken by."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from gateway.safe_http.pollers import Ready, best


class SocketLoop:
    """One thread's. Only `wake` may be called from others."""

    def __init__(self) -> None:
        self._poller = best()
        # epoll and kqueue forget a socket that was closed, so an idle one can stay registered until it is used
        # again: two system calls less for each request on a connection that was kept. Others must be told.
        self._lazy = self._poller.forgets
        self._masks: dict[int, int] = {}
        """What the poller watches for transfers."""
        self._wanted: dict[int, int] = {}
        """What transfers ask for now, which is nothing (0) for a connection that is kept."""
        self._watched: dict[int, Callable[[], object]] = {}
        # Sockets and no pipe: on Windows nothing else can be waited for.
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self.watch(self._near, self._hear)

    def be_eager(self) -> None:
        """From now on some sockets will not be announced to `opened`: keep no idle ones."""
        self._lazy = False
        for descriptor in [one for one in self._masks if not self._wanted.get(one)]:
            self._leave(descriptor)

    def opened(self, descriptor: int) -> None:
        """A new socket: what is known of its number is of one that was closed."""
        if descriptor in self._masks:
            self._leave(descriptor)

    def want(self, what: int, descriptor: int, *_: object) -> None:
        """libcurl's own question: watch a transfer's socket for reading (1), writing (2), both (3); else for nothing
        now. No exception may leave this: libcurl would give up every transfer. As it is, a deadline ends one."""
        mask = self._wanted[descriptor] = what & 3
        if mask:
            if self._masks.get(descriptor) != mask:
                self._enter(descriptor, mask)
        elif not self._lazy:
            self._leave(descriptor)

    def _enter(self, descriptor: int, mask: int) -> None:
        known = descriptor in self._masks
        with contextlib.suppress(OSError, KeyError, ValueError):
            (self._poller.change if known else self._poller.add)(descriptor, mask)
            self._masks[descriptor] = mask

    def _leave(self, descriptor: int) -> None:
        self._masks.pop(descriptor, None)
        self._wanted.pop(descriptor, None)
        with contextlib.suppress(OSError, KeyError, ValueError):
            self._poller.remove(descriptor)

    def watch(self, fileobj: Any, callback: Callable[[], object]) -> None:
        """Call back, in this thread, whenever there is something to read."""
        self.opened(fileobj.fileno())
        self._poller.add(fileobj.fileno(), 1)
        self._watched[fileobj.fileno()] = callback

    def unwatch(self, fileobj: Any) -> None:
        del self._watched[fileobj.fileno()]
        self._poller.remove(fileobj.fileno())

    def wait(self, timeout: float) -> tuple[Ready, bool]:
        """Transfers' sockets that are ready, and whether somebody else's was (its callback ran) or woke us."""
        ready, others = [], False
        for one in self._poller.wait(timeout):
            if self._wanted.get(one[0]):
                ready.append(one)
            elif callback := self._watched.get(one[0]):
                others = True
                callback()
            else:
                # A connection that was kept has ended. libcurl sees that itself before it uses one.
                self._leave(one[0])
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
        self._poller.close()
        self._near.close()
        self._far.close()
