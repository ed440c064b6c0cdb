"""CarrierX: its Core API, and the ledger of what was sent through it.

    from gateway.carrierx import CoreAPI

    with CoreAPI(token="…") as api:
        api.send("15162065575", "15162065574", "This is a test message")["message_sid"]

Whoever needs the ledger alone does not load the client: names are looked up when they are asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.carrierx.api import CoreAPI
    from gateway.carrierx.errors import (
        AnswerLost,
        BadRequest,
        CarrierXError,
        Conflict,
        CoreError,
        Detail,
        Forbidden,
        NotAuthorized,
        NotFound,
        NotSent,
        ServerError,
        TooMany,
    )
    from gateway.carrierx.responses import Page

__all__ = [
    "AnswerLost",
    "BadRequest",
    "CarrierXError",
    "Conflict",
    "CoreAPI",
    "CoreError",
    "Detail",
    "Forbidden",
    "NotAuthorized",
    "NotFound",
    "NotSent",
    "Page",
    "ServerError",
    "TooMany",
]

_HOMES = {"CoreAPI": "api", "Page": "responses"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
