"""How often callers may try: limits that all processes share, and callers whom the guesses of others do not hold up.

Guesses are counted before credentials are looked at, so that those sent all at once count too.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from werkzeug.exceptions import TooManyRequests

from gateway.config import Settings
from gateway.store import Connection, Store, StoreUnavailable, limits
from gateway.store.limits import Window

WINDOW_SECONDS = 60.0
KNOWN_CALLER_DAYS = 30  # a program that did not call for so long is unknown again
REFRESH_SECONDS = 86_400.0  # between two notes in the store that a program still calls
MIN_FORWARDED = 10  # requests through a proxy before anything is said about it
MAX_PROXIES = 64  # that are counted; strangers may claim to be one
MAX_REMEMBERED = 10_000  # callers that one process remembers, and windows that are full

MOST = {"login": 10, "code": 5, "program": 60, "key": 60, "call": 60}
"""Guesses in a window from one address; at one account twice as many, from all addresses together. ``program``: at a
password by HTTP Basic where the right one came from before; ``key``, ``call``: more than of passwords, as a program
with old credentials repeats them."""


class Limit(NamedTuple):
    name: str  # what is counted, of whom
    most: int  # in a window of `WINDOW_SECONDS`


UNREADABLE_KEPT = Limit("calls of strangers kept", 60)
"""Calls with wrong credentials, and unreadable ones, that are kept, from all senders together."""


def guesses(what: str, caller: str, account: str | None = None) -> tuple[Limit, ...]:
    """The limits of guessing. `caller`: an address, or a device that is known."""
    found = Limit(f"{what} from {caller}", MOST[what])
    if account is None:
        return (found,)
    # Some give their password for a user name: nothing that they say is kept.
    digest = hashlib.sha256(account.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return found, Limit(f"{what} as {digest}", 2 * MOST[what])


@lru_cache(maxsize=4_096)
def caller_key(address: str | None) -> str:
    """Names a caller for the limits: an IPv4 address, or the /64 in which an IPv6 host can choose its own."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return address or ""
    if found.version == 4:
        return str(found)
    return str(found.ipv4_mapped or ip_network((found.packed[:8] + bytes(8), 64)))


def is_trusted_proxy(settings: Settings, peer: str) -> bool:
    """Says whether the configuration trusts the `X-Forwarded-*` headers of this address."""
    try:
        address = ip_address(peer)
    except ValueError:  # not an IP address: a Unix socket, say
        return False
    return any(address in network for network in settings.current.trusted_proxies)


class UnnamedProxies:
    """Counts what comes through proxies that `trusted_proxies` does not name, in this process: behind one, all callers
    have one address, and share their limits."""

    def __init__(self) -> None:
        self._direct = 0
        self._forwarded = Counter[str]()

    def note(self, peer: str, is_forwarded: bool) -> None:
        """Counts one request. `is_forwarded`: its headers say that the peer is a proxy."""
        if is_forwarded and (peer in self._forwarded or len(self._forwarded) < MAX_PROXIES):
            self._forwarded[peer] += 1
        else:
            self._direct += 1

    def found(self, settings: Settings) -> str:
        """The address through which nearly all requests came; empty if there is none, or it is trusted by now."""
        peer, times = next(iter(self._forwarded.most_common(1)), ("", 0))
        others = self._direct + self._forwarded.total() - times
        return peer if times >= MIN_FORWARDED and others * 4 <= times and not is_trusted_proxy(settings, peer) else ""


class RateLimits:
    """The limits of one application. A window that is full is remembered here, so that a flood costs no transactions;
    so is a caller who is known, so that an ordinary call costs none. `now`: epoch seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._full: dict[str, float] = {}  # until when
        self._known: dict[tuple[str, str], float] = {}  # when the store was told
        self._busy: set[str] = set()
        self._uncounted = Counter[str]()  # by name of the window: counts that wait for the store
        self._lock = threading.Lock()

    def count(self, now: float, *these: Limit) -> None:
        """Counts once more. Raises 429 with `Retry-After` where that is too often, and `StoreUnavailable`."""
        self._raise_if_full(now, these)
        windows = self._store.writer.write(partial(self._note, ask=limits.count, now=now, these=these))
        if any(window.hits > limit.most for limit, window in zip(these, windows, strict=True)):
            self._raise_if_full(now, these)

    def count_later(self, now: float, *these: Limit) -> None:
        """Counts without waiting for the store, and also where there is none just now. Raises 429 as `count` does, a
        commit later, or where as many as may be wait for that commit."""
        self._raise_if_full(now, these)
        names = [limit.name for limit in these]
        with suppress(StoreUnavailable):
            counted = self._store.writer.submit(partial(self._note, ask=limits.count, now=now, these=these))
            with self._lock:
                self._uncounted.update(names)
                over = [limit.name for limit in these if self._uncounted[limit.name] >= limit.most]
            self._full |= dict.fromkeys(over, now + WINDOW_SECONDS)
            counted.add_done_callback(lambda _: self._is_counted(names))

    def _is_counted(self, names: list[str]) -> None:
        with self._lock:
            for name in names:
                self._uncounted[name] -= 1
                if not self._uncounted[name]:
                    del self._uncounted[name]

    def check(self, now: float, *these: Limit) -> None:
        """Raises 429 where there were too many already. Counts nothing."""
        with self._store.reader() as conn:
            self._note(conn, limits.look, now, these)
        self._raise_if_full(now, these)

    def admit(self, credential: str, now: float, caller: str, guesses: Callable[[str], tuple[Limit, ...]]) -> None:
        """Lets right credentials pass, and remembers where they came from. Raises 429 where there were too many
        guesses, unless the same came from there before: who guesses must not learn which guess is right, and who calls
        day by day must not be locked out. `credential`: its name, not itself; `guesses`: the limits of a caller."""
        if now - self._known.get((caller, credential), 0.0) < REFRESH_SECONDS:
            return
        these = guesses(caller)

        def admit(conn: Connection) -> bool:
            windows = self._note(conn, limits.look, now, these)
            if any(window.hits >= limit.most for limit, window in zip(these, windows, strict=True)):
                if not limits.is_known_caller(conn, caller, credential):
                    return False
            limits.remember_caller(conn, caller, credential, now, KNOWN_CALLER_DAYS)
            return True

        if not self._store.writer.write(admit):
            self._raise_if_full(now, these)
        if len(self._known) >= MAX_REMEMBERED:
            self._known = {}
        self._known[caller, credential] = now

    def knows(self, caller: str, credential: str) -> bool:
        """True: these credentials came from there before, and were right."""
        with self._store.reader() as conn:
            return limits.is_known_caller(conn, caller, credential)

    @contextmanager
    def exclusive(self, user: str) -> Iterator[bool]:
        """Yields False if the user is within it already; blocks nobody."""
        with self._lock:
            is_free = user not in self._busy
            self._busy.add(user)
        try:
            yield is_free
        finally:
            if is_free:
                with self._lock:
                    self._busy.discard(user)

    def _raise_if_full(self, now: float, these: tuple[Limit, ...]) -> None:
        for limit in these:
            wait = math.ceil(self._full.get(limit.name, 0.0) - now)
            if 0 < wait <= WINDOW_SECONDS:  # not a window of before the clock was set back
                raise TooManyRequests(f"Too many of these; try again in {wait} s.", retry_after=wait)

    def _note(self, conn: Connection, ask: Callable[..., Window], now: float, these: tuple[Limit, ...]) -> list[Window]:
        """Counts in the windows, or looks at them, and remembers those that are full."""
        windows = [ask(conn, limit.name, now, WINDOW_SECONDS) for limit in these]
        if len(self._full) >= MAX_REMEMBERED:
            self._full = {}
        full = [(limit, window) for limit, window in zip(these, windows, strict=True) if window.hits >= limit.most]
        self._full |= {limit.name: window.until for limit, window in full}
        return windows
