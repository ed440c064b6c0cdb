"""One attempt as data: the request, and what became of it. Pure: to judge an attempt takes no libcurl."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

from gateway.safe_http.ssrf import NO_ADDRESSES, Network, OwnAddresses

KEPT_BODY_BYTES = 2048  # bytes of an answer's body that are kept; the checks of an endpoint see all that was read

Headers = tuple[tuple[str, str], ...]

_SECONDS = re.compile(r"[0-9]{1,9}")

# None of these is changed once it is made. They are not frozen: a frozen dataclass sets each field by
# `object.__setattr__`, which takes three times as long, and a request has four of them. For the same reason the
# busiest callers give the fields by position.


@dataclass(slots=True, unsafe_hash=True)
class Request:
    """One POST. Times are seconds."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Headers = field(default=(), repr=False)
    """In the order and spelling in which they go out. `transfer.header_lines` refuses some."""
    timeout: float = 15  # of the whole attempt, from the name lookup to the last byte of the answer
    connect_timeout: float = 5  # of name lookup, connection and TLS handshake together
    verify_tls: bool | str = True  # True: the machine's authorities; a path: that CA file; False: no check
    tls_min: str = "1.2"  # ``1.0``, ``1.1``, ``1.2`` or ``1.3``
    free_form: bool = False
    """True: the URL came with a request and may only go to the public internet and `allow_networks`.
    False: an endpoint of the configuration; private is allowed, link-local and metadata addresses never."""
    allow_networks: Collection[Network] = ()
    egress_proxy: str = field(default="", repr=False)
    own_addresses: OwnAddresses = NO_ADDRESSES
    """(address, port) pairs that the gateway listens on. A wildcard means every address of this machine."""
    capture: bool = False  # fill `Response.request_bytes`. Costs a few microseconds; for the test forms


@dataclass(slots=True, unsafe_hash=True)
class Failure:
    """The reason why there is no complete answer."""

    kind: str
    """``url``, ``name``, ``refused_address``, ``connect``, ``tls``, ``certificate``, ``timeout``, ``reset``,
    ``too_large``, ``protocol``, ``proxy``; ``resources``: this machine ran out of them, and nothing was sent."""
    sentence: str  # for the operator, in plain words


@dataclass(slots=True, unsafe_hash=True)
class Timings:
    """Milliseconds from the start of the attempt to the end of each step, as ``curl -w`` counts them.
    `name` is the name lookup, `connect` the TCP connection, `tls` the handshake, `first_byte` the answer's first byte,
    `total` the end. A step that was not taken is 0.0: a connection that was kept from an earlier attempt has no connect
    and no tls, http has no tls, and a failure has nothing behind it."""

    name: float = 0.0
    connect: float = 0.0
    tls: float = 0.0
    first_byte: float = 0.0
    total: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """For JSON: milliseconds by name, in the order of the steps."""
        return {name: getattr(self, name) for name in ("name", "connect", "tls", "first_byte", "total")}


@dataclass(slots=True, unsafe_hash=True)
class Response:
    """The answer to a request. A `failure` may come with a status: the answer had begun."""

    status: int | None = None
    headers: Headers = ()  # of the final answer, as they came, decoded as latin-1
    body: bytes = field(default=b"", repr=False)
    """As it came, never decompressed, at most 64 KB of it: reading ends there, and the status counts."""
    size: int = 0  # bytes of body that were read; more than `body` holds where it was cut
    request_bytes: bytes = field(default=b"", repr=False)
    """Head and body of the request exactly as they went out, if `Request.capture` asks for them. Holds credentials."""
    times: Timings = Timings()
    address: str = ""  # the IP address that was connected to
    failure: Failure | None = None

    @property
    def kept_body(self) -> bytes:
        """The first 2 KB of `body`, which are stored and shown."""
        return self.body[:KEPT_BODY_BYTES]

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case of letters."""
        lower = name.lower()
        return next((value for key, value in self.headers if key.lower() == lower), None)


def parse_retry_after(header: str | None, now: float) -> float | None:
    """`Retry-After` in seconds: a number or an HTTP date (RFC 9110, 10.2.3), else None. `now`: epoch seconds."""
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
