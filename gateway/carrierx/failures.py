"""What a broken request comes to, in words that hold nothing of it: neither its address, nor headers, nor body."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from gateway.carrierx.errors import AnswerLost, CarrierXError, NotSent

DEEPEST = 20
"""Exceptions that are looked through for the one that says what happened."""
_CONNECTING = frozenset(("ConnectTimeout", "ConnectTimeoutError", "NewConnectionError", "NameResolutionError"))


def failure(error: BaseException, *, left: bool) -> CarrierXError:
    """`left`: whether any of the request may have reached CarrierX."""
    reason = why(error)
    if left:
        return AnswerLost(f"The request went out, and no answer came: {reason}.")
    return NotSent(f"CarrierX was not reached: {reason}.")


def is_connecting(error: BaseException) -> bool:
    """Whether it went wrong before there was a connection, for requests that have no body to tell."""
    return any(type(one).__name__ in _CONNECTING or isinstance(one, ssl.SSLError) for one in _chain(error))


def why(error: BaseException) -> str:
    """A few words, without a stop at their end."""
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not good: {one.verify_message}"
    for one in chain:
        if words := _words(one):
            return words
    return f"{type(chain[-1]).__name__}"


def _words(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not found"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'it broke off'}"
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "it took too long"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    if type(error).__name__ in ("RemoteDisconnected", "IncompleteRead"):
        return "the connection was closed"
    if type(error).__name__ in ("BadStatusLine", "LineTooLong", "UnknownProtocol", "HTTPException"):
        return "what came is no HTTP"
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """It and all that it was made of: requests and urllib3 wrap each other's, in whichever place was at hand."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < DEEPEST:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (*one.args, getattr(one, "reason", None), one.__cause__, one.__context__)
        waiting += [each for each in inner if isinstance(each, BaseException)]
