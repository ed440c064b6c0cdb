"""Looks up names beside the loop, so that no transfer waits for another one's name server.

libcurl's own resolver will not do: its socket hook shows one address at a time, as they are tried, and a name that
answers with a public and a private address would be called at the public one. Here all answers are seen before
anything is dialled; every one is checked and then pinned (`CURLOPT_RESOLVE`), so that what was checked is what is
dialled, and a name that changes its answer in between (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Thread
from typing import Any

from gateway.safe_http.errors import current_shortage, shortage_of

TTL_SECONDS = 60.0
"""Time for which answers are good. The system's resolver tells no time to live; libcurl takes a minute too."""
ERROR_TTL_SECONDS = 1.0
MAX_KNOWN_NAMES = 1024

Lookup = Callable[..., Iterable[tuple[Any, ...]]]  # `socket.getaddrinfo`, or what takes its place


@dataclass(frozen=True, slots=True)
class ResolvedName:
    """All addresses of a name, in the resolver's order, or why there are none."""

    addresses: tuple[str, ...] = ()
    error: str = ""
    literal: bool = False  # the host was an address already, in whatever spelling
    short: bool = False  # no name server was asked: this machine ran out of something


class Resolver:
    """Looks up names in threads, one for each name under way: a hanging name server holds up its own names only.
    Answers are kept for a minute, so threads are rare; one name is never looked up twice at once. For one thread alone;
    `wake` is called from others when an answer came, to be fetched by `collect`."""

    def __init__(self, wake: Callable[[], None], lookup: Lookup = socket.getaddrinfo, ttl: float = TTL_SECONDS) -> None:
        self._wake, self._lookup, self._ttl = wake, lookup, ttl
        self._known: dict[str, tuple[float, ResolvedName]] = {}
        self._under_way: set[str] = set()
        self._answers: deque[tuple[str, ResolvedName]] = deque()

    def find(self, host: str) -> ResolvedName | None:
        """The answer if it is known; else None, and the lookup has begun."""
        known = self._known.get(host)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        try:
            # `127.1`, `0x7f000001` and their like are addresses to the system's resolver; this asks no name server.
            answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            self._start(host)
            return None
        found = ResolvedName(_addresses(answers), literal=True)
        self._keep(host, found, self._ttl)
        return found

    def collect(self) -> list[tuple[str, ResolvedName]]:
        """The answers that came since the last call."""
        collected = []
        while self._answers:
            host, found = self._answers.popleft()
            self._under_way.discard(host)
            if not found.short:
                self._keep(host, found, ERROR_TTL_SECONDS if found.error else self._ttl)
            collected.append((host, found))
        return collected

    def _start(self, host: str) -> None:
        if host not in self._under_way:
            self._under_way.add(host)
            try:
                Thread(target=self._look_up, args=(host,), name="resolver", daemon=True).start()
            except RuntimeError:
                self._answers.append((host, ResolvedName(error="this machine is short of threads", short=True)))
                self._wake()

    def _look_up(self, host: str) -> None:
        """Runs in a thread of its own."""
        try:
            addresses = _addresses(self._lookup(host, None, type=socket.SOCK_STREAM))
            found = ResolvedName(addresses) if addresses else ResolvedName(error="no address")
        except UnicodeError:
            found = ResolvedName(error="no name of a host")
        except OSError as error:
            # The system's resolver says "not known" too where it could not even open a socket.
            short = shortage_of(error) or current_shortage()
            found = ResolvedName(error=short or error.strerror or str(error), short=bool(short))
        self._answers.append((host, found))
        self._wake()

    def _keep(self, host: str, found: ResolvedName, seconds: float) -> None:
        now = time.monotonic()
        if len(self._known) >= MAX_KNOWN_NAMES:
            self._known = {name: kept for name, kept in self._known.items() if kept[0] > now}
        if len(self._known) >= MAX_KNOWN_NAMES:
            self._known.clear()
        self._known[host] = (now + seconds, found)


def _addresses(answers: Iterable[tuple[Any, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))
