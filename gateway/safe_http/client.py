"""`HttpClient`, the one place that posts to endpoints: many requests at once on one thread, by libcurl.

On the wire, and nothing else: ``POST /path?query HTTP/1.1``, ``Host``, ``User-Agent``, ``Accept``, the request's
headers in their order and spelling, ``Content-Length``, the body as it is. Never chunked, never ``Expect``, and
HTTP/1.1 over TLS too.

Connections are kept and used again for the next request. Where a server closed one at the very moment of use and
nothing came back, libcurl sends the same bytes once more on a fresh connection, within the same attempt: such a server
may have seen the request twice, with the same `X-Delivery-Id`. Once a line of an answer came back, nothing is sent
again; and on a fresh connection nothing is ever sent again.
"""

from __future__ import annotations

import socket
import time
from typing import Any

import pycurl

from gateway.safe_http.dns import TTL_SECONDS, Lookup, ResolvedName, Resolver
from gateway.safe_http.errors import OUT_OF_RESOURCES, TIMEOUT_CODE
from gateway.safe_http.loop import SocketLoop
from gateway.safe_http.models import Failure, Request, Response, Timings
from gateway.safe_http.ssrf import AddressPolicy
from gateway.safe_http.transfer import PendingRequest, Profile, Transfer, target_of

MAX_IDLE_CONNECTIONS = 256
MAX_IDLE_HANDLES = 256
SLEPT_SECONDS = 5.0
"""A turn of `run` that is as late as this tells of a sleep: the process was stopped, or the machine."""
NO_LIMIT_SECONDS = 1_000_000.0
MAX_READS_AFTER_SLEEP = 16
"""Times that libcurl reads on after a sleep: an answer that is longer than we take is cut long before."""

Result = tuple[Any, Response]  # (the tag given to `start`, the response)


class HttpClient:
    """Many requests at once in one thread, which calls `run` over and over. Only `wake` may come from others.
    A fault of the other side, or a request that cannot be sent, is a `Response` with a `Failure`; nothing is raised."""

    def __init__(self, lookup: Lookup = socket.getaddrinfo, ttl: float = TTL_SECONDS) -> None:
        self._loop = SocketLoop()
        self.watch, self.unwatch = self._loop.watch, self._loop.unwatch
        """`watch(fileobj, callback)`: `run` calls back, and returns, whenever `fileobj` has something to read."""
        self.wake = self._loop.wake  # makes `run` return. From any thread, and from signal handlers
        self._resolver = Resolver(self.wake, lookup, ttl)
        self._waiting: dict[str, list[PendingRequest]] = {}  # requests by the name that they wait for
        self._policies: dict[str, AddressPolicy] = {}
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._loop.want)
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_NOTHING)
        self._multi.setopt(pycurl.M_MAXCONNECTS, MAX_IDLE_CONNECTIONS)
        self._transfers: dict[Any, Transfer] = {}
        self._handles = HandlePool()
        self._results: list[Result] = []
        self._expected_at = time.monotonic()
        """The monotonic time by which the next turn of `run` begins, if nothing keeps us from it."""
        self.woke_at = 0.0
        """The monotonic time at which the last sleep ended: what was under way may be late for that alone."""

    def __len__(self) -> int:
        """Requests that were started and not yet handed out by `run`."""
        return sum(map(len, self._waiting.values())) + len(self._transfers) + len(self._results)

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, request: Request, tag: object, started_at: float | None = None) -> None:
        """Begins a request. Its response comes out of a later `run`, together with the tag.
        `started_at`: the monotonic time from which its timeouts count; now, if it is not given."""
        target = target_of(request.url)
        pending = PendingRequest(request, tag, target, time.monotonic() if started_at is None else started_at)
        if target.fault:
            self._fail(pending, "url", target.fault)
        elif found := self._resolver.find(target.host):
            self._check(pending, found)
        else:
            self._waiting.setdefault(target.host, []).append(pending)

    def run(self, timeout: float) -> list[Result]:
        """The results since the last call. Waits for one, for a `wake`, or until `timeout` seconds are over."""
        until = time.monotonic() + timeout
        over = False
        while True:
            over = self._check_sleep() or over
            # libcurl's timers. It is asked when the next one is due: by itself (`M_TIMERFUNCTION`) it would tell us
            # twice for every request.
            if self._multi.timeout() == 0:
                self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._resume()
            self._collect()
            if self._results or over:
                results, self._results = self._results, []
                return results
            over = self._wait(until) or time.monotonic() >= until

    def close(self) -> None:
        """Cuts off what is under way, without responses, and closes every socket."""
        for transfer in list(self._transfers.values()):
            self._release(transfer)
        self._handles.close()
        self._multi.close()
        self._loop.close()

    def _check_sleep(self) -> bool:
        """Reads the answers that came while we slept, before libcurl looks at its timeouts; returns as `_wait` does.
        They lie in their sockets, and libcurl, which looks at its timeouts first, would not read them. So there are no
        timeouts for a moment, and what is late then is ended here."""
        now = time.monotonic()
        slept, self._expected_at = now - self._expected_at > SLEPT_SECONDS, now
        if not slept:
            return False
        self.woke_at = now
        for transfer in self._transfers.values():
            if transfer.connected:  # what was not sent by then shall not be sent now, only to be cut off
                transfer.limit(NO_LIMIT_SECONDS, NO_LIMIT_SECONDS)
        others = False
        for _ in range(MAX_READS_AFTER_SLEEP):
            ready, woken = self._loop.wait(0.0)
            others = others or woken
            for descriptor, mask in ready:
                self._multi.socket_action(descriptor, mask)
            if not ready:
                break
        self._collect()
        now = time.monotonic()
        for transfer in list(self._transfers.values()):
            transfer.limit(*transfer.limits)
            if transfer.is_late(now):  # libcurl's own timer has gone off, and will not do so again
                self._finish(transfer, TIMEOUT_CODE, "")
        return others

    def _wait(self, until: float) -> bool:
        """Waits for the next event; True if it was none of the transfers' own."""
        milliseconds = self._multi.timeout()
        deadlines = [pending.deadline for waiting in self._waiting.values() for pending in waiting]
        left = min([until, *deadlines]) - time.monotonic()
        if 0 <= milliseconds < left * 1000:
            left = milliseconds / 1000
        left = max(0.0, left)
        self._expected_at = time.monotonic() + left
        ready, others = self._loop.wait(left)
        for descriptor, mask in ready:
            self._multi.socket_action(descriptor, mask)
        return others

    def _collect(self) -> None:
        _, succeeded, failed = self._multi.info_read()
        for curl in succeeded:
            self._finish(self._transfers[curl], 0, "")
        for curl, code, text in failed:
            self._finish(self._transfers[curl], code, text)

    def _finish(self, transfer: Transfer, code: int, text: str) -> None:
        self._results.append((transfer.pending.tag, transfer.finish(code, text)))
        self._release(transfer)

    def _resume(self) -> None:
        """Goes on with the requests whose name came, and gives up those that waited too long for it."""
        for host, found in self._resolver.collect():
            for pending in self._waiting.pop(host, ()):
                pending.lookup_seconds = time.monotonic() - pending.started_at
                self._check(pending, found)
        now = time.monotonic()
        for host, waiting in list(self._waiting.items()):
            for pending in [pending for pending in waiting if pending.deadline <= now]:
                waiting.remove(pending)
                pending.lookup_seconds = seconds = now - pending.started_at
                self._fail(pending, "timeout", f"the name server gave no answer within {seconds:.1f} s")
            if not waiting:
                del self._waiting[host]

    def _check(self, pending: PendingRequest, found: ResolvedName) -> None:
        """Sends a request if all the addresses of its name may be called.
        Behind an egress proxy they are checked too, and then the proxy looks the name up again: its own rules have the
        last word."""
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
        else:
            # The socket goes to the proxy, which is the operator's own word, whatever is asked of it.
            self._send(pending, found, self._policy("proxy", request) if request.egress_proxy else policy)

    def _policy(self, name: str, request: Request) -> AddressPolicy:
        policy, networks, own = self._policies.get(name), request.allow_networks, request.own_addresses
        # By identity: the rules are the configuration's own objects, and new ones with every configuration.
        if policy is None or policy.allow_networks is not networks or policy.own is not own:
            policy = self._policies[name] = AddressPolicy(name == "free", networks, own)
        return policy

    def _fail(self, pending: PendingRequest, kind: str, sentence: str) -> None:
        total = time.monotonic() - pending.started_at
        times = Timings(name=round(pending.lookup_seconds * 1000, 3), total=round(total * 1000, 3))
        self._results.append((pending.tag, Response(failure=Failure(kind=kind, sentence=sentence), times=times)))

    def _send(self, pending: PendingRequest, found: ResolvedName, policy: AddressPolicy) -> None:
        request = pending.request
        if request.egress_proxy:
            # libcurl looks up the proxy's name itself, with sockets of its own.
            self._loop.keep_no_idle()
        try:
            profile = request.url, request.egress_proxy, request.capture, request.verify_tls, request.tls_min
            transfer = self._handles.take(profile) or Transfer(profile, self._loop.opened)
            transfer.load(pending, found, policy)
            self._multi.add_handle(transfer.curl)
        except (pycurl.error, ValueError, TypeError, KeyError) as error:
            self._fail(pending, "protocol", f"the request cannot be sent: {error}")
        else:
            self._transfers[transfer.curl] = transfer

    def _release(self, transfer: Transfer) -> None:
        del self._transfers[transfer.curl]
        self._multi.remove_handle(transfer.curl)
        self._handles.put(transfer)


class HandlePool:
    """Idle handles, kept for the next request of their profile: most options of a handle stay as they are.
    At most `MAX_IDLE_HANDLES`; beyond that the handles of the profile that was unused for longest are closed."""

    def __init__(self) -> None:
        self._idle: dict[Profile, list[Transfer]] = {}
        self.count = 0

    def take(self, profile: Profile) -> Transfer | None:
        idle = self._idle.pop(profile, None)
        if not idle:
            return None
        self.count -= 1
        transfer = idle.pop()
        if idle:
            self._idle[profile] = idle
        return transfer

    def put(self, transfer: Transfer) -> None:
        self._idle.setdefault(transfer.profile, []).append(transfer)
        self.count += 1
        if self.count > MAX_IDLE_HANDLES:
            self._close(next(iter(self._idle)))

    def _close(self, profile: Profile) -> None:
        for transfer in self._idle.pop(profile):
            self.count -= 1
            transfer.curl.close()

    def close(self) -> None:
        for profile in list(self._idle):
            self._close(profile)


def post(request: Request) -> Response:
    """Sends one request by the very code that deliveries use, and waits. Never raises for what the other side does."""
    with HttpClient() as client:
        client.start(request, None)
        while True:
            for _, response in client.run(60):
                return response
