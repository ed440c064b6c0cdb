"""The pure core: bytes ⇄ `Message`. No web, no database, no network, no clock, no log, no environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from schemas import carrierx, credentials, legacy
from schemas.crossing import Facts, complete, for_recipient
from schemas.message import BadCallback, Body, CannotSay, Manners, Message, Receipt


@dataclass(frozen=True, slots=True)
class WireFormat:
    """One format as it goes over the wire. `load` raises `BadCallback`, `dump` raises `CannotSay`."""

    name: str
    load: Callable[[bytes, str | None, Receipt], Message]
    dump: Callable[[Message, Manners], Body]


FORMATS: Mapping[str, WireFormat] = MappingProxyType(
    {
        "legacy-callback": WireFormat("legacy-callback", legacy.load_callback, legacy.dump_callback),
        "legacy-status": WireFormat("legacy-status", legacy.load_status, legacy.dump_status),
        "carrierx": WireFormat("carrierx", carrierx.load, carrierx.dump),
    }
)

__all__ = [
    "FORMATS",
    "BadCallback",
    "Body",
    "CannotSay",
    "Facts",
    "Manners",
    "Message",
    "Receipt",
    "WireFormat",
    "complete",
    "credentials",
    "for_recipient",
]
