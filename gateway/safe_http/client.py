"""The one place that posts to endpoints, and the one place that knows libcurl.

On the wire, and nothing else: ``POST /path?query HTTP/1.1``, ``Host``, ``User-Agent``, ``Accept``, the request's
headers in their order and spelling, ``Content-Length``, the body as it is. Never chunked, never ``Expect``, and
HTTP/1.1 over TLS too.

Connections are kept and lent to the next request. Where a server closed one at the very moment of use and nothing
came back, libcurl sends the same bytes once more on a fresh connection, within the same attempt: such a server may
have seen the request twice, with the same `X-Delivery-Id`. Once a line of an answer came back, nothing is sent again;
and on a fresh connection nothing is ever sent again.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pycurl

from gateway.safe_http.departures import PendingRequest, PendingRequests
from gateway.safe_http.dns import TTL, Lookup, ResolvedName, Resolver
from gateway.safe_http.gate import AddressPolicy
from gateway.safe_http.loop import SocketLoop
from gateway.safe_http.models import Failure, Request, Response, Timings
from gateway.safe_http.options import lines, options, tls_options
from gateway.safe_http.spares import HandlePool
from gateway.safe_http.transfer import Transfer

__all__ = ["Response", "Failure", "Request", "Timings", "HttpClient", "post"]

CONNECTIONS = 256
"""Unused connections that are kept open."""
SPARE = 256
"""Idle handles that are kept."""
ASLEEP = 5.0
"""Seconds by which a turn must be late for us to have slept: the process was stopped, or the machine."""
LONG = 1_000_000.0
"""Seconds: no limit."""
TURNS = 16
"""Times that libcurl reads on after a sleep: an answer that is longer than we take is cut long before."""
TIMED_OUT = 28
"""CURLE_OPERATION_TIMEDOUT"""
_TLS = {
    "1.0": pycurl.SSLVERSION_TLSv1_0,
    "1.1": pycurl.SSLVERSION_TLSv1_1,
    "1.2": pycurl.SSLVERSION_TLSv1_2,
    "1.3": pycurl.SSLVERSION_TLSv1_3,
}

_SUPPRESS_CONNECT_HEADERS = 265
"""pycurl has no name for it. What a proxy says to CONNECT is no part of the answer."""

Result = tuple[Any, Response]
"""(the tag given to `start`, what came back)"""
Profile = tuple[str, str, bool, bool | str, str]
"""URL, egress proxy, capture, verify_tls, tls_min: requests that share these share a handle's options."""


class HttpClient:
    """Many requests at once in one thread, which calls `run` over and over. Only `wake` may come from others.

    What the other side does, or a request that cannot be sent, is an `Response` with a `Failure`, never an exception.
    """

    def __init__(self, lookup: Lookup = socket.getaddrinfo, ttl: float = TTL) -> None:
        self._loop = SocketLoop()
        self._departures = PendingRequests(Resolver(self._loop.wake, lookup, ttl), self._fly, self._fail)
        self._multi = _multi(self._loop)
        self._flying: dict[Any, _Handle] = {}
        self._spares: HandlePool[_Handle] = HandlePool(SPARE)
        self._results: list[Result] = []
        self._expected = time.monotonic()
        """When the next turn begins at the latest, if nothing keeps us from it."""
        self.woke = 0.0
        """When we slept last: seconds of the clock that nobody sets. What was under way may be late for that alone."""

    def __len__(self) -> int:
        """Requests that were started and not yet handed out by `run`."""
        return len(self._departures) + len(self._flying) + len(self._results)

    @property
    def spare(self) -> int:
        """Handles that are kept for later requests."""
        return self._spares.count

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, request: Request, tag: object) -> None:
        """Begin one. Its answer comes out of a later `run`, together with the tag."""
        self._departures.enter(request, tag)

    def run(self, timeout: float) -> list[Result]:
        """What has come to an end. Waits until something does, somebody wakes us, or `timeout` seconds are over."""
        until = time.monotonic() + timeout
        over = False
        while True:
            over = self._mind_sleep() or over
            self._tick()
            self._departures.go_on()
            self._collect()
            if self._results or over:
                results, self._results = self._results, []
                return results
            over = self._wait(until) or time.monotonic() >= until

    def watch(self, fileobj: Any, callback: Callable[[], object]) -> None:
        """Call `callback` from within `run`, which then returns, whenever `fileobj` has something to read."""
        self._loop.watch(fileobj, callback)

    def unwatch(self, fileobj: Any) -> None:
        self._loop.unwatch(fileobj)

    def wake(self) -> None:
        """Make `run` return. From any thread, and from signal handlers."""
        self._loop.wake()

    def close(self) -> None:
        """Cut off what is under way, without answers, and let go of every socket."""
        for slot in list(self._flying.values()):
            self._land(slot)
        self._spares.close()
        self._multi.close()
        self._loop.close()

    def _mind_sleep(self) -> bool:
        """Answers that came while we slept lie in their sockets. libcurl looks at its timeouts first, and would not
        read them: so there are none for a moment, and what is late then is ended here. Returns as `_wait` does."""
        now = time.monotonic()
        asleep, self._expected = now - self._expected > ASLEEP, now
        if not asleep:
            return False
        self.woke = now
        for slot in self._flying.values():
            if slot.connected:  # what was not sent by then shall not be sent now, only to be cut off
                slot.limit(LONG, LONG)
        others = self._take_in_all()
        self._collect()
        now = time.monotonic()
        for slot in list(self._flying.values()):
            slot.limit(*slot.limits)
            if slot.is_late(now):  # libcurl's own timer has gone off, and will not do so again
                self._done(slot, TIMED_OUT, "")
        return others

    def _take_in_all(self) -> bool:
        others = False
        for _ in range(TURNS):
            ready, woken = self._loop.wait(0.0)
            others = others or woken
            for descriptor, mask in ready:
                self._multi.socket_action(descriptor, mask)
            if not ready:
                break
        return others

    def _tick(self) -> None:
        """libcurl's timers. It is asked when the next one is due; were it to tell us (`M_TIMERFUNCTION`), it would
        do so twice for every request."""
        if self._multi.timeout() == 0:
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def _wait(self, until: float) -> bool:
        milliseconds, name = self._multi.timeout(), self._departures.next()
        left = (until if name is None else min(until, name)) - time.monotonic()
        if 0 <= milliseconds < left * 1000:
            left = milliseconds / 1000
        left = max(0.0, left)
        self._expected = time.monotonic() + left
        ready, others = self._loop.wait(left)
        for descriptor, mask in ready:
            self._multi.socket_action(descriptor, mask)
        return others

    def _collect(self) -> None:
        _, succeeded, failed = self._multi.info_read()
        for curl in succeeded:
            self._done(self._flying[curl], 0, "")
        for curl, code, text in failed:
            self._done(self._flying[curl], code, text)

    def _done(self, slot: _Handle, code: int, text: str) -> None:
        self._results.append((slot.tag, slot.finish(code, text)))
        self._land(slot)

    def _fail(self, start: PendingRequest, kind: str, sentence: str) -> None:
        times = Timings(name=_ms(start.waited), total=_ms(time.monotonic() - start.begun))
        self._results.append((start.tag, Response(failure=Failure(kind=kind, sentence=sentence), times=times)))

    def _fly(self, start: PendingRequest, found: ResolvedName, gate: AddressPolicy) -> None:
        request = start.request
        if request.egress_proxy:
            # libcurl looks up the proxy's name itself, with sockets of its own.
            self._loop.be_eager()
        try:
            profile = request.url, request.egress_proxy, request.capture, request.verify_tls, request.tls_min
            slot = self._spares.take(profile) or _Handle(profile, self._loop.opened)
            slot.load(start, found, gate)
            self._multi.add_handle(slot.curl)
        except (pycurl.error, ValueError, TypeError, KeyError) as error:
            self._fail(start, "protocol", f"the request cannot be sent: {error}")
        else:
            self._flying[slot.curl] = slot

    def _land(self, slot: _Handle) -> None:
        del self._flying[slot.curl]
        self._multi.remove_handle(slot.curl)
        slot.tag = None
        self._spares.put(slot)


class _Handle(Transfer):
    """A libcurl handle, set up for one profile, and the request that it carries."""

    __slots__ = ("curl", "profile", "_set", "_get", "_pinned", "limits")

    def __init__(self, profile: Profile, opened: Callable[[int], None]) -> None:
        super().__init__(opened)
        self.curl = pycurl.Curl()
        self.profile = profile
        # Looked up once: on a handle of pycurl that costs as much as the call.
        self._set, self._get = self.curl.setopt, self.curl.getinfo
        self._pinned: ResolvedName | None = None
        self.limits = (0.0, 0.0)
        _set_up(self.curl, profile)
        self.curl.setopt(pycurl.HEADERFUNCTION, self.lines.append)
        self.curl.setopt(pycurl.WRITEFUNCTION, self.write)
        self.curl.setopt(pycurl.OPENSOCKETFUNCTION, self.open)
        self.curl.setopt(pycurl.PREREQFUNCTION, self.before)
        self.curl.setopt(pycurl.DEBUGFUNCTION, self.note)

    def load(self, start: PendingRequest, found: ResolvedName, gate: AddressPolicy) -> None:
        """What differs from one request to the next."""
        self.begin(start, gate)
        request = start.request
        self._set(pycurl.HTTPHEADER, lines(request.headers))
        self._set(pycurl.POSTFIELDS, request.body)
        limits = request.timeout - start.waited, request.connect_timeout - start.waited
        if limits != self.limits:
            self.limits = limits
            self.limit(*limits)
        if not (found.literal or found is self._pinned or request.egress_proxy):
            self._pin(start, found)

    def limit(self, whole: float, connect: float) -> None:
        """Seconds."""
        self._set(pycurl.TIMEOUT_MS, max(1, round(whole * 1000)))
        self._set(pycurl.CONNECTTIMEOUT_MS, max(1, round(connect * 1000)))

    def _pin(self, start: PendingRequest, found: ResolvedName) -> None:
        """These addresses and no others: libcurl does not look the name up again."""
        addresses = ",".join([f"[{address}]" if ":" in address else address for address in found.addresses])
        self._set(pycurl.RESOLVE, [f"+{start.target.host}:{start.target.port}:{addresses}"])
        self._pinned = found

    def finish(self, code: int, text: str) -> Response:
        get, head = self._get, self.head()
        # Each of libcurl's facts costs as much as a callback of ours; what a callback knows is not asked for.
        times = self._times(self.dialled if not code else get(pycurl.NUM_CONNECTS))
        status = get(pycurl.RESPONSE_CODE) or None
        failure = self.fault(head, code)
        if code and not failure:
            errno, verified = get(pycurl.OS_ERRNO), get(pycurl.SSL_VERIFYRESULT)
            failure = self.failure(code, text, status=status, times=times, errno=errno, verified=verified)
        address = self.address if self.connected and not code else get(pycurl.PRIMARY_IP) or ""
        return self.answer(head, status, address, times, failure)

    def _times(self, fresh: int) -> Timings:
        get = self._get
        # libcurl counts microseconds from when the name was known.
        before = round(waited * 1_000_000) if (waited := self.start.waited) else 0
        # On a connection that was kept, what libcurl has for the first steps is no time of this attempt.
        name, connect, tls = self._connection() if fresh else (0, 0, 0)
        first_byte = get(pycurl.STARTTRANSFER_TIME_T) if self.lines else 0
        return Timings(
            (before + name) / 1000,
            (before + connect) / 1000 if connect else 0.0,
            (before + tls) / 1000 if tls else 0.0,
            (before + first_byte) / 1000 if first_byte else 0.0,
            (before + get(pycurl.TOTAL_TIME_T)) / 1000,
        )

    def _connection(self) -> tuple[int, int, int]:
        get = self._get
        return get(pycurl.NAMELOOKUP_TIME_T), get(pycurl.CONNECT_TIME_T), get(pycurl.APPCONNECT_TIME_T)


def post(request: Request) -> Response:
    """One request, waited for, by the very code that deliveries use. Never raises for what the other side does."""
    with HttpClient() as transport:
        transport.start(request, None)
        while True:
            for _, answer in transport.run(60):
                return answer


def _multi(loop: SocketLoop) -> Any:
    multi = pycurl.CurlMulti()
    # POLL_IN is 1, POLL_OUT 2, both 3, as in selectors; POLL_REMOVE is 4.
    multi.setopt(pycurl.M_SOCKETFUNCTION, loop.want)
    multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_NOTHING)
    multi.setopt(pycurl.M_MAXCONNECTS, CONNECTIONS)
    return multi


def _set_up(curl: Any, profile: Profile) -> None:
    url, proxy, capture, verify, tls_min = profile
    for name, value in (options(url, proxy, capture) | tls_options(verify, tls_min)).items():
        curl.setopt(getattr(pycurl, name), value)
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    curl.setopt(pycurl.SSLVERSION, _TLS[tls_min])
    curl.setopt(_SUPPRESS_CONNECT_HEADERS, 1)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
