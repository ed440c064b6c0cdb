"""The pure core: bytes ⇄ `Message`. No web, no database, no network, no clock, no log, no environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from schemas import carrierx, credentials, legacy
from schemas.crossing import NumberContext, enrich, for_recipient
from schemas.message import BadCallback, Body, CannotSay, FormatOptions, Message, ReceiveContext


@dataclass(frozen=True, slots=True)
class WireFormat:
    """One format as it goes over the wire. `load` raises `BadCallback`, `dump` raises `CannotSay`."""

    name: str
    load: Callable[[bytes, str | None, ReceiveContext], Message]
    dump: Callable[[Message, FormatOptions], Body]


FORMATS: Mapping[str, WireFormat] = MappingProxyType(
    {
        "legacy-callback": WireFormat("legacy-callback", legacy.load_callback, legacy.dump_callback),
        "legacy-status": WireFormat("legacy-status", legacy.load_status, legacy.dump_status),
        "carrierx": WireFormat("carrierx", carrierx.load, carrierx.dump),
    }
)

__all__ = [
    "FORMATS", "BadCallback", "Body", "CannotSay", "FormatOptions", "Message", "NumberContext", "ReceiveContext",
    "WireFormat", "credentials", "enrich", "for_recipient",
]  # fmt: skip
