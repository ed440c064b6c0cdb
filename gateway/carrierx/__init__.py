"""A client for CarrierX's Core API. It can be used by itself::

    from gateway.carrierx import CoreAPI

    with CoreAPI(token="…") as api:
        api.send("15162065575", "15162065574", "This is a test message")["message_sid"]

docs/core-api.md describes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from gateway.carrierx.api import CoreAPI

__all__ = [
    "AnswerLost", "BadRequest", "CarrierXError", "Conflict", "CoreAPI", "CoreError", "Detail", "Forbidden",
    "NotAuthorized", "NotFound", "NotSent", "Page", "ServerError", "TooMany",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # The client loads `requests`. Most commands need the exceptions at most, and start sooner without it.
    if name != "CoreAPI":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gateway.carrierx.api import CoreAPI

    return CoreAPI
