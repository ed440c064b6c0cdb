"""The exceptions of requests to CarrierX, told apart by what the caller may do next.

    CarrierXError
     ├── NotSent          the request never reached CarrierX: to make it again is safe
     ├── AnswerLost       it went out, and nobody knows what became of it: look before you make it again
     └── CoreError        CarrierX answered, and not with what was asked for
          ├── BadRequest      400, 415, 422: the request is wrong, and will be wrong tomorrow
          ├── NotAuthorized   401: token, login or password
          ├── Forbidden       403
          ├── NotFound        404
          ├── Conflict        409: the request may be made again later
          ├── TooMany         429: after `retry_after`
          └── ServerError     500 to 599: nobody knows what became of it, as with AnswerLost

Any other status is a plain `CoreError`. `str()` of each is one line for a log: it has no token or password, no text of
a message, and only the last four digits of numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class Detail:
    """One of the vendor's `errors`; attributes that it does not have are empty."""

    field: str = ""
    message: str = ""
    reference_sid: str = ""

    def __str__(self) -> str:
        about = ": ".join(part for part in (self.field, self.message) if part)
        return f"{about} [{self.reference_sid}]" if self.reference_sid else about


class CarrierXError(Exception):
    """The base of all that `CoreAPI` raises, but for the ValueError of a request that cannot be right."""


class NotSent(CarrierXError):
    """Connection refused, no such name, no TLS with this server, no connection in time: nothing was requested."""


class AnswerLost(CarrierXError):
    """No answer in time, a connection that broke, or a success that cannot be read."""


class CoreError(CarrierXError):
    """A response with another status than 2xx."""

    def __init__(
        self, status: int, message: str = "", errors: Sequence[Detail] = (), retry_after: float | None = None
    ) -> None:
        # The base gets all arguments, so that a copy made by pickle is complete.
        super().__init__(status, message, tuple(errors), retry_after)
        self.status = status
        self.message = message
        """The vendor's message, or the beginning of another body, such as a proxy's; empty where there is none."""
        self.errors = tuple(errors)
        self.retry_after = retry_after  # seconds that CarrierX asks to wait; None where it does not ask

    def __str__(self) -> str:
        details = "; ".join(part.rstrip(".") for part in (self.message, *map(str, self.errors)) if part)
        try:
            title = f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            title = str(self.status)
        return f"CarrierX answered {title}: {details}" if details else f"CarrierX answered {title}."


class BadRequest(CoreError):
    """400, 415, 422."""


class NotAuthorized(CoreError):
    """401."""


class Forbidden(CoreError):
    """403."""


class NotFound(CoreError):
    """404."""


class Conflict(CoreError):
    """409."""


class TooMany(CoreError):
    """429."""


class ServerError(CoreError):
    """500 to 599."""


_BY_STATUS: dict[int, type[CoreError]] = {
    400: BadRequest,
    401: NotAuthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    415: BadRequest,
    422: BadRequest,
    429: TooMany,
}


def error_class(status: int) -> type[CoreError]:
    """The exception for an HTTP status that is no success."""
    return ServerError if 500 <= status <= 599 else _BY_STATUS.get(status, CoreError)
