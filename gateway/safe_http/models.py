"""One attempt, as data: what to send, and what became of it. Pure, so that `retry` and `diagnosis` need no libcurl."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

from gateway.safe_http.ssrf import NOBODY, Network, Own

KEPT_BODY_BYTES = 2048
"""Bytes of an answer's body that are kept; the tests of the endpoint see all that was read."""

Headers = tuple[tuple[str, str], ...]

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def _record(cls: type[T]) -> type[T]:
    """A dataclass that is frozen to the type checker, and not at run time: a frozen one sets each field by
    `object.__setattr__`, which takes three times as long, and a request has four of them. For the same reason the
    busiest callers give the fields by position."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


@_record
class Request:
    """One POST, whole. Times are seconds."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Headers = field(default=(), repr=False)
    """In the order and spelling in which they go out. `outgoing.lines` says which may."""
    timeout: float = 15
    """Of the whole attempt, from looking up the name to the answer's last byte."""
    connect_timeout: float = 5
    """Of name, connection and TLS handshake together."""
    verify_tls: bool | str = True
    """True: the machine's authorities; a path: that CA file; False: anybody."""
    tls_min: str = "1.2"
    """``1.0``, ``1.1``, ``1.2`` or ``1.3``."""
    free_form: bool = False
    """True: the URL came with a request and may only go to the public internet and `allow_networks`.
    False: an endpoint of the configuration; private is allowed, link-local and metadata addresses never."""
    allow_networks: Collection[Network] = ()
    egress_proxy: str = field(default="", repr=False)
    own_addresses: Own = NOBODY
    """(address, port) pairs that the gateway listens on. A wildcard means every address of this machine."""
    capture: bool = False
    """Fill `Response.sent`. Costs a few microseconds; for the test forms."""


@_record
class Failure:
    """Why there is no whole answer."""

    kind: str
    """``url``, ``name``, ``refused_address``, ``connect``, ``tls``, ``certificate``, ``timeout``, ``reset``,
    ``too_large``, ``protocol``, ``proxy``; ``resources``: our own ran out, and nothing was sent."""
    sentence: str
    """For the operator, in plain words."""


@_record
class Timings:
    """Milliseconds from the start of the attempt to the end of each step, as ``curl -w`` counts them.

    `name` is the looking up, `connect` the TCP connection, `tls` the handshake, `first_byte` the answer's first byte,
    `total` the end. 0.0 for a step that was not taken: on a connection that was kept from an earlier attempt there is
    no connect and no tls; over http no tls; after a failure nothing behind it.
    """

    name: float = 0.0
    connect: float = 0.0
    tls: float = 0.0
    first_byte: float = 0.0
    total: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """For JSON: milliseconds by name, in the order of the steps."""
        return {
            "name": self.name,
            "connect": self.connect,
            "tls": self.tls,
            "first_byte": self.first_byte,
            "total": self.total,
        }


@_record
class Response:
    """What came back. A `failure` may come with a status: the answer had begun."""

    status: int | None = None
    headers: Headers = ()
    """Of the final answer, as they came, decoded as latin-1."""
    read: bytes = field(default=b"", repr=False)
    """The body as it came, never decompressed, at most 64 KB of it: reading ends there, the status counts."""
    size: int = 0
    """Bytes of body that were read; more than `read` holds where it was cut."""
    sent: bytes = field(default=b"", repr=False)
    """Head and body of the request exactly as they went out, where asked for. Holds credentials."""
    times: Timings = Timings()
    address: str = ""
    """The IP address that was talked to."""
    failure: Failure | None = None

    @property
    def body(self) -> bytes:
        """The first 2 KB of `read`: what is stored and shown."""
        return self.read[:KEPT_BODY_BYTES]

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case of letters."""
        lower = name.lower()
        return next((value for key, value in self.headers if key.lower() == lower), None)
