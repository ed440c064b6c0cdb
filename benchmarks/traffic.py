"""The callbacks that are posted: CarrierX JSON, inbound, each with a `message_sid` of its own.

The sid is a UUID by shape, and says three things to whoever sees it again at the other end::

    000012ab-cdef-0123-0007-00000000002a
    `------ ns ------' conn `-- seq ---'

`ns` is CLOCK_MONOTONIC (one clock for all processes of a machine) when the callback was due to be posted, `conn` the
connection of the load generator that posted it, and `seq` counts that connection's callbacks from 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

NUMBER = "15162065919"
SHORTCODE = "12345"
KEYWORD = "JOIN"
PHONES = 2000

TEXTS = (
    "JOIN",
    "JOIN please, and tell me when the next one is",
    "join José & Zoë from São Paulo",
    "JOIN 🎉🎉 see you there",
    "Hello, is this still the number for appointments?",
    "Yes",
    "JOIN 100% + more; a=b&c=d",
    "Can you call me back after five? I'm at the café until then and my phone is nearly empty, so a text is fine too.",
)
"""Three of eight are not plain ASCII; half of them match the keyword, or begin with it in another case."""

_PLACE = "@sid@"
_FROM = "@from@"


class Sid(NamedTuple):
    """What a `message_sid` says: nanoseconds of CLOCK_MONOTONIC, connection, number of the callback."""

    ns: int
    connection: int
    sequence: int


def phones(connection: int, connections: int) -> tuple[str, ...]:
    """The handsets whose texts come by this connection: so that one handset's texts have a known order."""
    return tuple(f"1917555{one:04d}" for one in range(connection % PHONES, PHONES, connections))


def write_sid(ns: int, connection: int, sequence: int) -> str:
    """Thirty-six characters, as a UUID is written."""
    digits = f"{ns:016x}{connection:04x}{sequence:012x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def read_sid(text: bytes | str) -> Sid:
    """The other way. ValueError for what `write_sid` never wrote."""
    if len(text) != 36:
        raise ValueError("not a message_sid of this benchmark")
    return Sid(
        int(text[0:8], 16) << 32 | int(text[9:13], 16) << 16 | int(text[14:18], 16),
        int(text[19:23], 16),
        int(text[24:36], 16),
    )


def message(text: str, sid: str, phone: str) -> dict[str, object]:
    """The 13 attributes of an inbound SMS, as CarrierX documents them."""
    return {
        "date_created": "2026-11-01T08:01:14.517Z",
        "date_status_changed": "2026-11-01T08:01:14.517Z",
        "direction": "inbound",
        "from_did": phone,
        "mcc": 310,
        "message": text,
        "message_segments": 1,
        "message_sid": sid,
        "mnc": 260,
        "partner_sid": "cee93bf3-5746-43fe-a1a2-822c05fef687",
        "price": 0,
        "status": "received",
        "to_did": NUMBER,
    }


class Mould(NamedTuple):
    """One whole request with two gaps, so that posting it costs the load generator two joins."""

    before_phone: bytes
    before_sid: bytes
    after_sid: bytes

    def filled(self, phone: bytes, sid: bytes) -> bytes:
        return b"".join((self.before_phone, phone, self.before_sid, sid, self.after_sid))


def moulds(host: str, port: int, path: str) -> tuple[Mould, ...]:
    """A request for each of `TEXTS`."""
    return tuple(_mould(body, host, port, path) for body in _bodies())


def _bodies() -> Iterator[bytes]:
    for at, text in enumerate(TEXTS):
        # Both ways of writing JSON are met: with \u escapes, and in UTF-8.
        yield json.dumps(message(text, _PLACE, _FROM), ensure_ascii=at % 2 == 0).encode()


def _mould(body: bytes, host: str, port: int, path: str) -> Mould:
    length = len(body) - len(_PLACE) + 36 - len(_FROM) + 11
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: carrierx\r\nAccept: */*\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    before, rest = (head.encode() + body).split(_FROM.encode())
    between, after = rest.split(_PLACE.encode())
    return Mould(before, between, after)
