"""Waits for sockets: those of the transfers, those that others want watched, and one to be woken by.

Events are epoll's numbers on every system: 1 to read, 4 to write. libcurl counts 1 to read, 2 to write, 3 both.
"""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
import sys
from collections.abc import Callable
from typing import Any

Ready = list[tuple[int, int]]  # (file descriptor, what it is ready for in libcurl's numbers)
READ, WRITE = 1, 4
_EVENTS = (0, READ, WRITE, READ | WRITE)  # events by libcurl's numbers, which `selectors` shares


class Selector:
    """The best that the standard library finds (`select` on Windows, kqueue on a Mac), with the methods of `epoll`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.unregister, self.close = self._selector.unregister, self._selector.close
        self.forgets = type(self._selector).__name__ in ("EpollSelector", "KqueueSelector")
        """A socket that was closed is gone by itself; other systems must be told before its number comes again."""

    def register(self, descriptor: int, events: int) -> None:
        self._selector.register(descriptor, _EVENTS.index(events))

    def modify(self, descriptor: int, events: int) -> None:
        self._selector.modify(descriptor, _EVENTS.index(events))

    def poll(self, timeout: float) -> Ready:
        return [(key.fd, _EVENTS[mask]) for key, mask in self._selector.select(timeout)]


def new_poller() -> select.epoll | Selector:
    """On Linux bare epoll: `selectors` spends as much on an event as libcurl does on reading an answer's head."""
    return select.epoll() if sys.platform == "linux" else Selector()


class SocketLoop:
    """The sockets of one thread. Only `wake` may be called from others."""

    def __init__(self) -> None:
        self._poller = new_poller()
        # epoll and kqueue forget a socket that was closed, so an idle one can stay registered until it is used
        # again: two system calls less for each request on a connection that was kept. Others must be told.
        self._keeps_idle = getattr(self._poller, "forgets", True)
        self._registered: dict[int, int] = {}  # sockets of transfers, and the events that the poller watches them for
        self._wanted: dict[int, int] = {}  # events that transfers ask for now: 0, none, for a connection that is kept
        self._watched: dict[int, Callable[[], object]] = {}
        # Sockets and no pipe: on Windows nothing else can be waited for.
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self.watch(self._near, self._drain)

    def keep_no_idle(self) -> None:
        """Forget idle sockets at once, from now on: some new ones will not be announced to `opened`."""
        self._keeps_idle = False
        for descriptor in [known for known in self._registered if not self._wanted.get(known)]:
            self._unregister(descriptor)

    def opened(self, descriptor: int) -> None:
        """Announces a new socket: what is known of its number is of one that was closed."""
        if descriptor in self._registered:
            self._unregister(descriptor)

    def want(self, action: int, descriptor: int, *_: object) -> None:
        """libcurl's callback: watch a transfer's socket for reading (1), writing (2), both (3); else for nothing now.
        No exception may leave this: libcurl would give up every transfer. As it is, a deadline ends one."""
        events = self._wanted[descriptor] = _EVENTS[action & 3]
        known = self._registered.get(descriptor)
        if not events:
            if not self._keeps_idle:
                self._unregister(descriptor)
        elif known != events:
            with contextlib.suppress(OSError, KeyError, ValueError):
                (self._poller.register if known is None else self._poller.modify)(descriptor, events)
                self._registered[descriptor] = events

    def _unregister(self, descriptor: int) -> None:
        self._registered.pop(descriptor, None)
        self._wanted.pop(descriptor, None)
        with contextlib.suppress(OSError, KeyError, ValueError):
            self._poller.unregister(descriptor)

    def watch(self, fileobj: Any, callback: Callable[[], object]) -> None:
        """Call back, in this thread, whenever there is something to read."""
        self.opened(fileobj.fileno())
        self._poller.register(fileobj.fileno(), READ)
        self._watched[fileobj.fileno()] = callback

    def unwatch(self, fileobj: Any) -> None:
        """Ends a `watch`."""
        del self._watched[fileobj.fileno()]
        self._poller.unregister(fileobj.fileno())

    def wait(self, timeout: float) -> tuple[Ready, bool]:
        """The transfers' sockets that are ready; and True if a watched one was, whose callback ran, or `wake`."""
        ready, others = [], False
        for descriptor, event in self._poller.poll(timeout):
            if self._wanted.get(descriptor):
                # An error, or the other side's end, is something to read and to write: whoever does finds out which.
                mask = 1 if event == READ else (1 if event & ~WRITE else 0) | (2 if event & ~READ else 0)
                ready.append((descriptor, mask))
            elif callback := self._watched.get(descriptor):
                others = True
                callback()
            else:
                # A connection that was kept has ended. libcurl sees that itself before it uses one.
                self._unregister(descriptor)
        return ready, others

    def wake(self) -> None:
        """Makes `wait` return. From any thread, also while the loop is being closed. Many calls may wake it once."""
        with contextlib.suppress(OSError):
            self._far.send(b"!")

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._near.recv(4096):
                pass

    def close(self) -> None:
        self._poller.close()
        self._near.close()
        self._far.close()
