"""One transfer: the request in libcurl's terms, the handle that carries it, its callbacks, the answer as it comes."""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pycurl

from gateway.safe_http import errors
from gateway.safe_http.dns import ResolvedName
from gateway.safe_http.models import Failure, Headers, Request, Response, Timings
from gateway.safe_http.ssrf import AddressPolicy, check_url, host_and_port

USER_AGENT = "sms-gateway/1"
RESERVED_HEADERS = frozenset("host content-length transfer-encoding connection expect te upgrade".split())
"""Headers that only the client writes. `Content-Type` comes with the body."""
MAX_IDLE_SECONDS = 60
"""Time after which an unused connection is not used again: firewalls forget such a one without a word."""
MAX_CONNECTION_SECONDS = 300
"""Time for which a connection is used again at most, so that an endpoint that moved in the DNS is followed."""
PINNED_SECONDS = 3600
"""libcurl keeps pinned addresses for longer than our resolver does, so that it never looks up a name by itself."""

Profile = tuple[str, str, bool, bool | str, str]
"""URL, egress proxy, capture, verify_tls, tls_min: requests that share these share a handle's options."""

_VISIBLE = bytes(range(0x20, 0x7F))
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_TLS_VERSIONS = {f"1.{minor}": getattr(pycurl, f"SSLVERSION_TLSv1_{minor}") for minor in range(4)}
# pycurl has no names for these.
_SUPPRESS_CONNECT_HEADERS, _NATIVE_CA = 265, 16

MAX_BODY_BYTES = 64 * 1024
MAX_HEAD_BYTES = 16 * 1024
MAX_HEAD_LINES = 100
MAX_CACHED_HEAD_BYTES = 1024  # longer heads are not remembered once they were read

# CURL_WRITEFUNC_… ("taken: nothing" ends the transfer), CURL_SOCKET_BAD, CURL_PREREQFUNC_…, CURLINFO_…_OUT.
_STOP, _SOCKET_BAD, _GO_ON, _ABORT, _HEAD_OUT, _BODY_OUT = 0, -1, 0, 1, 2, 4
_END = re.compile(rb"\n\r?\n")
_NEXT_HEAD = re.compile(rb"\r?\n\r?\n(?=HTTP/)")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, checked and taken apart."""

    fault: str = ""  # the reason why the URL may not be called; then nothing else is set
    host: str = ""
    port: int = 0
    secure: bool = False
    path: str = ""  # path and query exactly as written: left alone, libcurl would send ``%2f`` as ``%2F``
    absolute: str = ""  # the URL without its fragment, as a proxy is asked for it


@lru_cache(1024)
def target_of(url: str) -> Target:
    """The target of any string; never raises."""
    fault = check_url(url)
    if fault:
        return Target(fault=fault)
    host, port = host_and_port(url)
    absolute = url.partition("#")[0]
    rest = absolute.partition("://")[2]
    path = rest[len(rest.partition("/")[0].partition("?")[0]) :]
    rooted = path if path.startswith("/") else f"/{path}"
    return Target("", host, port, absolute.lower().startswith("https:"), rooted, absolute)


def header_lines(headers: Headers) -> list[str]:
    """The lines of the head as libcurl takes them. ValueError, which quotes no value, for what may not be sent."""
    # No line break can begin a header of its own.
    values = "".join([value for _, value in headers])
    if not values.isascii() or values.encode().translate(None, _VISIBLE):
        raise ValueError("a header's value has characters that cannot be sent")
    own = _own_lines(tuple([name for name, _ in headers]))
    # `Name;` sends a header without a value, `Name:` would send none.
    return [*own, *[f"{name}: {value}" if value.strip() else f"{name};" for name, value in headers]]


@lru_cache(256)
def _own_lines(names: tuple[str, ...]) -> tuple[str, ...]:
    """The lines that keep libcurl from writing headers of its own; ValueError for a name that may not be sent."""
    for name in names:
        if not _TOKEN.fullmatch(name) or name.lower() in RESERVED_HEADERS:
            raise ValueError(f"{name!r} is no header that can be sent, or one that only the gateway writes")
    return ("Expect:",) if "content-type" in map(str.lower, names) else ("Expect:", "Content-Type:")


def handle_options(profile: Profile) -> dict[int, str | int]:
    """libcurl's options (``CURLOPT_…``) for all requests of one profile."""
    url, proxy, capture, verify, tls_min = profile
    target = target_of(url)
    chosen: dict[int, str | int] = {
        pycurl.URL: url,
        pycurl.REQUEST_TARGET: target.absolute if proxy and not target.secure else target.path,
        pycurl.POST: 1,
        pycurl.USERAGENT: USER_AGENT,
        pycurl.NOSIGNAL: 1,
        pycurl.FOLLOWLOCATION: 0,
        pycurl.NETRC: 0,
        # Set also where empty, else libcurl asks the environment.
        pycurl.PROXY: proxy,
        pycurl.NOPROXY: "" if proxy else "*",
        # A proxy's answer to CONNECT is no part of the endpoint's.
        _SUPPRESS_CONNECT_HEADERS: 1,
        pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
        pycurl.HTTP_CONTENT_DECODING: 0,
        pycurl.HTTP09_ALLOWED: 0,
        pycurl.MAXAGE_CONN: MAX_IDLE_SECONDS,
        pycurl.MAXLIFETIME_CONN: MAX_CONNECTION_SECONDS,
        pycurl.DNS_CACHE_TIMEOUT: PINNED_SECONDS,
        pycurl.VERBOSE: int(capture),
        pycurl.SSLVERSION: _TLS_VERSIONS[tls_min],
        pycurl.SSL_VERIFYPEER: int(bool(verify)),
        pycurl.SSL_VERIFYHOST: 2 if verify else 0,
        pycurl.CAINFO: verify if isinstance(verify, str) else ca_bundle(),
        pycurl.PROXY_CAINFO: ca_bundle(),
    }
    if tls_min in ("1.0", "1.1"):
        # OpenSSL 3 has these at its lowest level of security only; the operator who asks for them means it.
        chosen[pycurl.SSL_CIPHER_LIST] = "DEFAULT:@SECLEVEL=0"
    if os.name == "nt" and verify is True:
        chosen[pycurl.SSL_OPTIONS] = _NATIVE_CA  # Windows keeps its authorities in no file
    return chosen


@cache
def ca_bundle() -> str:
    """Path of a file of CA certificates: the system's, to which an operator adds a company's own; else certifi's.
    libcurl of pycurl's wheels looks where one family of Linux keeps it, and finds nothing on the others."""
    for path in (ssl.get_default_verify_paths().cafile, *_CA_BUNDLES):
        if path and Path(path).is_file():
            return path
    import certifi  # comes with requests; rarely needed, so rarely loaded

    return certifi.where()


@dataclass(slots=True, eq=False)
class PendingRequest:
    """A request from its start to its response."""

    request: Request
    tag: object
    target: Target
    started_at: float  # monotonic seconds
    lookup_seconds: float = 0.0

    @property
    def deadline(self) -> float:
        """The monotonic time by which a connection must stand."""
        return self.started_at + min(self.request.connect_timeout, self.request.timeout)


def _read_head(raw: bytes) -> tuple[Headers, bool, str]:
    """(name, value) of the final answer and its trailers, in order, as they came; True if the head, if there is one,
    came to its end; a sentence if it has too many bytes or lines."""
    large = len(raw) > MAX_HEAD_BYTES or raw.count(b"\n") > MAX_HEAD_LINES
    limits = f"{MAX_HEAD_BYTES // 1024} KB or {MAX_HEAD_LINES} lines"
    # The final answer's head: interim answers stand before it.
    last = _NEXT_HEAD.split(raw)[-1] if raw.find(b"HTTP/", 5) > 0 else raw
    fields = [line.partition(":") for line in last.decode("latin-1").split("\n")[1:]]
    headers = tuple([(name, value.strip()) for name, colon, value in fields if colon])
    is_whole = not last or last.endswith(b"\r\n\r\n") or _END.search(last) is not None
    return headers, is_whole, f"the answer's headers are longer than {limits}" if large else ""


# An endpoint's answers mostly begin with the same lines, but for the second in `Date`.
_cached_head = lru_cache(256)(_read_head)


class Transfer:
    """A libcurl handle, set up for one profile, which carries one request after the other."""

    def __init__(self, profile: Profile, opened: Callable[[int], None]) -> None:
        """`opened` is told the descriptor of every socket that is made."""
        self.curl = pycurl.Curl()
        self.profile, self._opened = profile, opened
        # Looked up once: on a handle of pycurl that costs as much as the call.
        self._set, self._get = self.curl.setopt, self.curl.getinfo
        self._pinned: ResolvedName | None = None
        self.limits = (0.0, 0.0)
        self._head_lines: list[bytes] = []
        self._pieces: list[bytes] = []
        self._sent: list[bytes] = []
        for option, value in handle_options(profile).items():
            self._set(option, value)
        # A list's own `append` is the callback for the head: libcurl calls it for every line, and a function of
        # ours in its place would cost as much as all the rest of the reading. libcurl itself ends a head, interim
        # answers and trailers with it, at 300 KB; what is more than we take is seen when the transfer is over.
        self._set(pycurl.HEADERFUNCTION, self._head_lines.append)
        self._set(pycurl.WRITEFUNCTION, self._write)
        self._set(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        self._set(pycurl.PREREQFUNCTION, self._before_request)
        self._set(pycurl.DEBUGFUNCTION, self._note_sent)

    def load(self, pending: PendingRequest, found: ResolvedName, policy: AddressPolicy) -> None:
        """Sets what differs from one request to the next."""
        self.pending, self._policy = pending, policy
        self.connected = self._dialled = self._broke_off = self._is_cut = self._expired = False
        self._refusal = self._shortage = ""
        self._size = 0
        self._head_lines.clear()
        self._pieces.clear()
        self._sent.clear()
        request, waited = pending.request, pending.lookup_seconds
        self._set(pycurl.HTTPHEADER, header_lines(request.headers))
        self._set(pycurl.POSTFIELDS, request.body)
        limits = request.timeout - waited, request.connect_timeout - waited
        if limits != self.limits:
            self.limits = limits
            self.limit(*limits)
        if not (found.literal or found is self._pinned or request.egress_proxy):
            # These addresses and no others: libcurl does not look the name up again.
            addresses = ",".join([f"[{address}]" if ":" in address else address for address in found.addresses])
            self._set(pycurl.RESOLVE, [f"+{pending.target.host}:{pending.target.port}:{addresses}"])
            self._pinned = found

    def limit(self, whole: float, connect: float) -> None:
        """Sets libcurl's timeouts, in seconds."""
        self._set(pycurl.TIMEOUT_MS, max(1, round(whole * 1000)))
        self._set(pycurl.CONNECTTIMEOUT_MS, max(1, round(connect * 1000)))

    def is_late(self, now: float) -> bool:
        """True if its time is over. `now`: monotonic seconds."""
        request, seconds = self.pending.request, now - self.pending.started_at
        return seconds >= request.timeout or (not self.connected and seconds >= request.connect_timeout)

    def _open_socket(self, _purpose: int, address: Any) -> int:
        """Dials, after the one check that all connections pass. After a refusal no other address is tried."""
        if not self._passes(address.addr[0], address.addr[1]):
            return _SOCKET_BAD
        try:
            opened = socket.socket(address.family, address.socktype, address.protocol)
        except OSError as error:
            self._shortage = errors.shortage_of(error)
            return _SOCKET_BAD
        self._shortage = errors.reserve_reached(opened.fileno())
        if self._shortage:
            opened.close()
            return _SOCKET_BAD
        self._opened(opened.fileno())
        self._dialled = True
        return opened.detach()

    def _before_request(self, address: str, _local: str, port: int, _local_port: int) -> int:
        """Checks the connection that the request is about to use: another one may have opened it, by other rules.
        Refuses a request whose time is over, too: libcurl counts from its first look at it. A process that was stopped
        before that would send it late, when another worker has sent it already."""
        self.connected, self._address = True, address
        self._expired = self.is_late(time.monotonic())
        if self._expired:
            return _ABORT
        # An answer had begun, and libcurl, which has not seen its end, would send the request once more.
        self._broke_off = bool(self._head_lines)
        if not (self._broke_off or self._refusal) and (address, port) in self._policy.passed:
            return _GO_ON
        return _GO_ON if self._passes(address, port) and not self._broke_off else _ABORT

    def _passes(self, address: str, port: int) -> bool:
        self._refusal = self._refusal or self._policy.check(address, port) or ""
        return not self._refusal

    def _note_sent(self, kind: int, piece: bytes) -> None:
        """Keeps what goes out. A request that begins anew, on another connection or behind a CONNECT, replaces it."""
        if kind == _HEAD_OUT and piece.startswith((b"POST ", b"CONNECT ")):
            self._sent.clear()
        if kind in (_HEAD_OUT, _BODY_OUT):
            self._sent.append(piece)

    def _write(self, piece: bytes) -> int | None:
        """Takes a piece of the body; None goes on. To be cut is no failure: the status was known by then."""
        self._size += len(piece)
        self._pieces.append(piece)
        if self._size <= MAX_BODY_BYTES:
            return None
        self._is_cut = True
        return _STOP

    def finish(self, code: int, text: str) -> Response:
        """The response to the request that is over, with libcurl's error code (0: none) and its words for it."""
        code = errors.TIMEOUT_CODE if self._expired else code
        # Each of libcurl's facts costs as much as a callback of ours; what a callback knows is not asked for.
        get, raw = self._get, b"".join(self._head_lines)
        headers, is_whole, too_large = (_cached_head if len(raw) <= MAX_CACHED_HEAD_BYTES else _read_head)(raw)
        times = self._times(self._dialled if not code else get(pycurl.NUM_CONNECTS))
        status = get(pycurl.RESPONSE_CODE) or None
        failure = self._own_failure(code, is_whole, too_large)
        if code and not failure and not self._is_cut:
            request = self.pending.request
            failure = errors.describe(
                errors.CurlError(
                    code=code,
                    text=text,
                    errno=get(pycurl.OS_ERRNO),
                    verified=get(pycurl.SSL_VERIFYRESULT),
                    secure=self.pending.target.secure,
                    status=status,
                    times=times,
                    connected=self.connected,
                    timeout=request.timeout,
                    connect_timeout=request.connect_timeout,
                )
            )
        body, sent = b"".join(self._pieces)[:MAX_BODY_BYTES], b"".join(self._sent)
        address = self._address if self.connected and not code else get(pycurl.PRIMARY_IP) or ""
        return Response(status, headers, body, self._size, sent, times, address, failure)

    def _own_failure(self, code: int, is_whole: bool, too_large: str) -> Failure | None:
        """The failure that the callbacks found, whatever libcurl says. A head that breaks off is an answer to it."""
        if self._refusal:
            return Failure(kind="refused_address", sentence=self._refusal)
        if too_large:
            return Failure(kind="too_large", sentence=too_large)
        if self._broke_off or not (code or is_whole):
            return Failure(kind="reset", sentence="the connection broke off in the middle of the answer")
        if self.connected or self._is_cut or code not in (*errors.NAME_CODES, errors.CONNECT_CODE):
            return None
        # A name is looked up by libcurl only for a proxy.
        short = self._shortage if code == errors.CONNECT_CODE else errors.current_shortage()
        return Failure(kind=errors.OUT_OF_RESOURCES, sentence=short) if short else None

    def _times(self, is_new: int) -> Timings:
        get = self._get
        # libcurl counts microseconds from when the name was known.
        before = round(waited * 1_000_000) if (waited := self.pending.lookup_seconds) else 0
        name = connect = tls = 0
        if is_new:  # on a connection that was kept, libcurl's times of the first steps are none of this attempt
            name, connect = get(pycurl.NAMELOOKUP_TIME_T), get(pycurl.CONNECT_TIME_T)
            tls = get(pycurl.APPCONNECT_TIME_T)
        first_byte = get(pycurl.STARTTRANSFER_TIME_T) if self._head_lines else 0
        steps = [(before + step) / 1000 if step else 0.0 for step in (connect, tls, first_byte)]
        total = (before + get(pycurl.TOTAL_TIME_T)) / 1000
        return Timings((before + name) / 1000, steps[0], steps[1], steps[2], total)
