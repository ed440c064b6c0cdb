"""Looks up names beside the loop, so that no transfer waits for another one's name server.

libcurl's own resolver will not do: its socket hook shows one address at a time, as they are tried, and a name that
answers with a public and a private address would be called at the public one. Here all answers are seen before
anything is dialled; every one is checked and then pinned (`CURLOPT_RESOLVE`), so that what was checked is what is
dialled, and a name that changes its answer in between (DNS rebinding) gains nothing.

Behind an egress proxy that is done too, and then the proxy looks the name up again: its own rules have the last word.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Thread
from typing import Any

from gateway.safe_http.errors import OUT_OF_RESOURCES, current_shortage, shortage_of
from gateway.safe_http.models import Request
from gateway.safe_http.options import Target, target_of
from gateway.safe_http.ssrf import AddressPolicy

TTL_SECONDS = 60.0
"""Time for which answers are good. The system's resolver tells no time to live; libcurl takes a minute too."""
ERROR_TTL_SECONDS = 1.0
MAX_KNOWN_NAMES = 1024

Lookup = Callable[..., Iterable[tuple[Any, ...]]]
"""`socket.getaddrinfo`, or what takes its place."""


@dataclass(frozen=True, slots=True)
class ResolvedName:
    """All addresses of a name, in the resolver's order, or why there are none."""

    addresses: tuple[str, ...] = ()
    error: str = ""
    literal: bool = False
    """The host was an address already, in whatever spelling."""
    short: bool = False
    """No name server was asked: this machine ran out of something."""


class Resolver:
    """Looks up names in threads, one for each name under way: a hanging name server holds up its own names only.

    Answers are kept for a minute, so threads are rare; one name is never looked up twice at once. For one thread
    alone; `wake` is called from others when an answer came, to be fetched by `collect`.
    """

    def __init__(self, wake: Callable[[], None], lookup: Lookup = socket.getaddrinfo, ttl: float = TTL_SECONDS) -> None:
        self._wake, self._lookup, self._ttl = wake, lookup, ttl
        self._known: dict[str, tuple[float, ResolvedName]] = {}
        self._under_way: set[str] = set()
        self._answers: deque[tuple[str, ResolvedName]] = deque()

    def __len__(self) -> int:
        """Names whose answers are kept."""
        return len(self._known)

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


@dataclass(slots=True)
class PendingRequest:
    """A request whose name is looked up."""

    request: Request
    tag: object
    target: Target
    started_at: float
    """Monotonic seconds."""
    lookup_seconds: float = 0.0

    @property
    def deadline(self) -> float:
        return self.started_at + min(self.request.connect_timeout, self.request.timeout)


class PendingRequests:
    """Requests between `HttpClient.start` and the wire: each waits for its name, whose addresses are all checked.

    Calls `send` with a request that may leave, its addresses, and the policy that its connection must pass too; and
    `fail` with a request that may not, a kind and a sentence.
    """

    def __init__(
        self,
        resolver: Resolver,
        send: Callable[[PendingRequest, ResolvedName, AddressPolicy], None],
        fail: Callable[[PendingRequest, str, str], None],
    ) -> None:
        self._resolver, self._send, self._fail = resolver, send, fail
        self._waiting: dict[str, list[PendingRequest]] = {}
        self._policies: dict[str, AddressPolicy] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, request: Request, tag: object) -> None:
        target = target_of(request.url)
        pending = PendingRequest(request, tag, target, time.monotonic())
        if target.fault:
            self._fail(pending, "url", target.fault)
        elif found := self._resolver.find(target.host):
            self._check(pending, found)
        else:
            self._waiting.setdefault(target.host, []).append(pending)

    def resume(self) -> None:
        """Sends the requests whose name came, and fails those that waited too long."""
        for host, found in self._resolver.collect():
            for pending in self._waiting.pop(host, ()):
                pending.lookup_seconds = time.monotonic() - pending.started_at
                self._check(pending, found)
        if self._waiting:
            self._fail_late(time.monotonic())

    def next_deadline(self) -> float | None:
        """The monotonic time at which `resume` is needed though no name came."""
        return min((pending.deadline for waiting in self._waiting.values() for pending in waiting), default=None)

    def _check(self, pending: PendingRequest, found: ResolvedName) -> None:
        request = pending.request
        policy = self._policy("free" if request.free_form else "own", request)
        # Behind a proxy names may be known to the proxy alone. The operator's own go on unchecked then, to be
        # checked by the operator's own proxy; those that came with a request do not.
        if found.short:
            self._fail(pending, OUT_OF_RESOURCES, found.error)
        elif found.error and (request.free_form or not request.egress_proxy):
            self._fail(pending, "name", f"the name of the host was not found: {found.error}")
        elif refusal := policy.check_all(found.addresses, pending.target.port):
            self._fail(pending, "refused_address", refusal)
        elif request.egress_proxy:
            # The socket goes to the proxy, which is the operator's own word, whatever is asked of it.
            self._send(pending, found, self._policy("proxy", request))
        else:
            self._send(pending, found, policy)

    def _policy(self, name: str, request: Request) -> AddressPolicy:
        policy, networks, own = self._policies.get(name), request.allow_networks, request.own_addresses
        # By identity: the rules are the configuration's own objects, and new ones with every configuration.
        if policy is None or policy.allow_networks is not networks or policy.own is not own:
            policy = self._policies[name] = AddressPolicy(name == "free", networks, own)
        return policy

    def _fail_late(self, now: float) -> None:
        for host, waiting in list(self._waiting.items()):
            late = [pending for pending in waiting if pending.deadline <= now]
            self._waiting[host] = [pending for pending in waiting if pending.deadline > now]
            if not self._waiting[host]:
                del self._waiting[host]
            for pending in late:
                pending.lookup_seconds = seconds = now - pending.started_at
                self._fail(pending, "timeout", f"the name server gave no answer within {seconds:.1f} s")
