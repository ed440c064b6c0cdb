"""Looks up names beside the loop, so that no transfer waits for another one's name server.

Why not libcurl's own resolver: its socket hook shows one address at a time, as they are tried, and a name that
answers with a public and a private address would be called at the public one. Here all answers are seen before
anything is dialled; the transport judges every one and then pins them (`CURLOPT_RESOLVE`), so that what was judged
is what is dialled, and a name that changes its mind in between (DNS rebinding) gains nothing.

A thread for each name under way: a hanging name server holds up its own names and nobody else's. Answers are kept
for a minute, so threads are rare; the same name is never looked up twice at once.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Thread
from typing import Any

from gateway.safe_http import shortage

TTL = 60.0
"""Seconds that answers are good for. The system's resolver tells no time to live; libcurl takes a minute too."""
_ERROR_TTL = 1.0
_MANY = 1024

Lookup = Callable[..., Iterable[tuple[Any, ...]]]
"""As `socket.getaddrinfo`."""


@dataclass(frozen=True, slots=True)
class ResolvedName:
    """All addresses of a name, in the resolver's order, or why there are none."""

    addresses: tuple[str, ...] = ()
    error: str = ""
    literal: bool = False
    """The host was an address already, in whatever spelling."""
    short: bool = False
    """Nobody was asked, for want of something of our own."""


class Resolver:
    """Used by one thread; `wake` is called from others when an answer came, to be taken in by `collect`."""

    def __init__(self, wake: Callable[[], None], lookup: Lookup = socket.getaddrinfo, ttl: float = TTL) -> None:
        self._wake, self._lookup, self._ttl = wake, lookup, ttl
        self._known: dict[str, tuple[float, ResolvedName]] = {}
        self._under_way: set[str] = set()
        self._came: deque[tuple[str, ResolvedName]] = deque()

    def __len__(self) -> int:
        """Names whose answers are kept."""
        return len(self._known)

    def find(self, host: str) -> ResolvedName | None:
        """The answer where it is known; else None, and the looking up has begun."""
        known = self._known.get(host)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        literal = self._literal(host)
        if literal is None:
            self._begin(host)
        return literal

    def collect(self) -> list[tuple[str, ResolvedName]]:
        """The answers that came since the last call."""
        came = []
        while self._came:
            host, found = self._came.popleft()
            self._under_way.discard(host)
            if not found.short:
                self._keep(host, found, _ERROR_TTL if found.error else self._ttl)
            came.append((host, found))
        return came

    def _literal(self, host: str) -> ResolvedName | None:
        """`127.1`, `0x7f000001` and their like are addresses to the system's resolver; this asks no name server."""
        try:
            answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return None
        found = ResolvedName(_addresses(answers), literal=True)
        self._keep(host, found, self._ttl)
        return found

    def _begin(self, host: str) -> None:
        if host not in self._under_way:
            self._under_way.add(host)
            try:
                Thread(target=self._look_up, args=(host,), name="resolver", daemon=True).start()
            except RuntimeError:
                self._came.append((host, ResolvedName(error="this machine is short of threads", short=True)))
                self._wake()

    def _look_up(self, host: str) -> None:
        try:
            addresses = _addresses(self._lookup(host, None, type=socket.SOCK_STREAM))
            found = ResolvedName(addresses) if addresses else ResolvedName(error="no address")
        except (OSError, UnicodeError) as error:
            found = _not_found(error)
        self._came.append((host, found))
        self._wake()

    def _keep(self, host: str, found: ResolvedName, seconds: float) -> None:
        now = time.monotonic()
        if len(self._known) >= _MANY:
            self._known = {name: kept for name, kept in self._known.items() if kept[0] > now}
        if len(self._known) >= _MANY:
            self._known.clear()
        self._known[host] = (now + seconds, found)


def _not_found(error: OSError | UnicodeError) -> ResolvedName:
    if isinstance(error, UnicodeError):
        return ResolvedName(error="no name of a host")
    # The system's resolver says "not known" too where it could not even open a socket.
    short = shortage.of(error) or shortage.now()
    return ResolvedName(error=short or error.strerror or str(error), short=bool(short))


def _addresses(answers: Iterable[tuple[Any, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))
