"""Ways to wait for sockets. Masks: 1 to read, 2 to write, 3 both, as libcurl counts them and `selectors` too."""

from __future__ import annotations

import select
import selectors
import sys
from typing import Protocol

Ready = list[tuple[int, int]]
"""(file descriptor, mask)"""


class Poller(Protocol):
    """Sockets that the system is asked to watch, by their descriptors."""

    forgets: bool
    """Whether a socket that was closed is gone by itself; others must be told before its number comes again."""

    def add(self, descriptor: int, mask: int) -> None: ...

    def change(self, descriptor: int, mask: int) -> None: ...

    def remove(self, descriptor: int) -> None: ...

    def wait(self, timeout: float) -> Ready: ...

    def close(self) -> None: ...


class Selector:
    """What the standard library takes to be best here: `select` on Windows, kqueue on a Mac."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        names = ("EpollSelector", "KqueueSelector")
        self.forgets = isinstance(
            self._selector, tuple(getattr(selectors, name) for name in names if hasattr(selectors, name))
        )

    def add(self, descriptor: int, mask: int) -> None:
        self._selector.register(descriptor, mask)

    def change(self, descriptor: int, mask: int) -> None:
        self._selector.modify(descriptor, mask)

    def remove(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)

    def wait(self, timeout: float) -> Ready:
        return [(key.fd, mask) for key, mask in self._selector.select(timeout)]

    def close(self) -> None:
        self._selector.close()


if sys.platform == "linux":

    class Epoll:
        """The same, bare: `selectors` spends as much on an event as libcurl does on reading an answer's head."""

        forgets = True

        def __init__(self) -> None:
            self._epoll = select.epoll()

        def add(self, descriptor: int, mask: int) -> None:
            self._epoll.register(descriptor, _events(mask))

        def change(self, descriptor: int, mask: int) -> None:
            self._epoll.modify(descriptor, _events(mask))

        def remove(self, descriptor: int) -> None:
            self._epoll.unregister(descriptor)

        def wait(self, timeout: float) -> Ready:
            return [(one, event if event == 1 else _mask(event)) for one, event in self._epoll.poll(timeout)]

        def close(self) -> None:
            self._epoll.close()

    def _events(mask: int) -> int:
        return (select.EPOLLIN if mask & 1 else 0) | (select.EPOLLOUT if mask & 2 else 0)

    def _mask(event: int) -> int:
        """An error, or the other side's end, is something to read and to write: whoever does finds out which."""
        return (1 if event & ~select.EPOLLOUT else 0) | (2 if event & ~select.EPOLLIN else 0)


def best() -> Poller:
    """The cheapest that this system has."""
    return Epoll() if sys.platform == "linux" else Selector()
