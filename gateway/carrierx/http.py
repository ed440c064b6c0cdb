"""One request to CarrierX and its response: the only module that knows `requests`.

Safe to share between threads: each request borrows a session of its own and gives it back, so there are as many
connections as there were requests side by side. A session for each thread would keep one for every thread that ever
called, and `close` could not reach them; one for all is not promised to be safe.
"""

from __future__ import annotations

import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.cookiejar import DefaultCookiePolicy
from time import monotonic
from typing import Any

import requests
from requests.adapters import HTTPAdapter

# Raised by urllib3 while a response is read; requests has no other name for it.
from requests.exceptions import BaseHTTPError  # type: ignore[attr-defined]

from gateway.carrierx.errors import AnswerLost, CarrierXError, NotSent
from gateway.carrierx.responses import ApiResponse

Session = requests.Session
MayLeave = Callable[[], bool]
"""Called last, right before the body leaves; False: nothing of it does, and that is `NotSent`."""

CONNECT_TIMEOUT_SECONDS = 5.0
"""Until there must be a connection, where the timeout of the whole request is not shorter."""
MAX_EXCEPTIONS = 20  # exceptions of a chain that are searched for the one that says what happened
_PIECE_BYTES = 65_536
_WHILE_CONNECTING = frozenset(("ConnectTimeout", "ConnectTimeoutError", "NewConnectionError", "NameResolutionError"))


class _Body:
    """A request's body that knows whether any of it has left: without it CarrierX can do nothing.
    `requests` does not say: a handshake that breaks off and a response that does look the same. And the body leaves
    within the timeout or not at all: looking up a name, and trying one address after the other, may take any time, and
    the caller must know until when a message may still reach CarrierX."""

    def __init__(self, data: bytes, deadline: float, may_leave: MayLeave) -> None:
        self._data, self._deadline, self._may_leave, self.has_left = data, deadline, may_leave, False

    def __iter__(self) -> Iterator[bytes]:
        # Iterated when there is a connection and the headers have been written to it.
        if monotonic() > self._deadline or not self._may_leave():
            raise TimeoutError
        self.has_left = True
        yield self._data


class _Adapter(HTTPAdapter):
    def add_headers(self, request: requests.PreparedRequest, **kwargs: Any) -> None:
        """Puts the body in a `_Body`: this hook is the last before urllib3 takes over."""
        if isinstance(request.body, bytes):
            _, timeout = kwargs["timeout"]
            body = _Body(request.body, monotonic() + timeout, request.may_leave)  # type: ignore[attr-defined]
            request.body = body  # type: ignore[assignment]


class _Session(requests.Session):
    """Takes nothing from the environment, keeps no cookies, follows no redirects."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter(pool_connections=1, pool_maxsize=1, max_retries=0))

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        # With a target the body would be read to its end, however long, though nobody follows.
        return None


class ApiClient:
    """`timeout`: seconds for one request. `session`: used for all of them in place of our own, as it is."""

    def __init__(self, timeout: float, session: Session | None = None) -> None:
        self._timeout, self._session = timeout, session
        self._idle: deque[Session] = deque()

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, max_bytes: int, may_leave: MayLeave
    ) -> ApiResponse:
        """The response, whatever its status, of at most `max_bytes`. Raises `NotSent` and `AnswerLost`."""
        try:
            request = requests.Request(method, url, headers=dict(headers), data=body).prepare()
        except requests.RequestException:
            raise NotSent("CarrierX was not reached: base_url cannot be used.") from None
        request.may_leave = may_leave  # type: ignore[attr-defined]
        deadline, timeouts = monotonic() + self._timeout, (min(CONNECT_TIMEOUT_SECONDS, self._timeout), self._timeout)
        with self._borrowed() as session:
            try:
                # Proxies are passed even where there are none, or `requests` would look for them in the environment.
                response = session.send(
                    request, stream=True, timeout=timeouts, allow_redirects=False, proxies=dict(session.proxies)
                )
            except (requests.RequestException, BaseHTTPError, OSError) as error:
                failure = _failure(error, request)
            else:
                with closing(response):
                    data, fault = _read_body(response, max_bytes, deadline)
                    return ApiResponse(response.status_code, data, fault, response.headers.get("Retry-After"))
        # Raised here, where no exception of requests is its context: that one holds the headers and the text.
        raise failure

    def close(self) -> None:
        """Closes the idle connections; a request after that opens another one."""
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _borrowed(self) -> Iterator[Session]:
        if self._session is not None:
            yield self._session
            return
        try:
            # The last one used: its connection is the most likely to be open still.
            session = self._idle.pop()
        except IndexError:
            session = _Session()
        try:
            yield session
        finally:
            self._idle.append(session)


def _read_body(response: requests.Response, max_bytes: int, deadline: float) -> tuple[bytes, str]:
    """The bytes that came within the limits, and the reason why they are not all."""
    data = bytearray()
    try:
        # As much as is there: to wait for a full piece would be to wait as long as the sender cares to drip.
        while piece := response.raw.read1(_PIECE_BYTES, decode_content=True):
            data += piece
            if len(data) > max_bytes:
                return bytes(data[:max_bytes]), f"with more than {max_bytes} bytes"
            if monotonic() > deadline:
                return bytes(data), "too slowly"
    except (BaseHTTPError, OSError) as error:
        return bytes(data), f"not to the end: {_reason(_chain(error))}"
    return bytes(data), ""


def _failure(error: BaseException, request: requests.PreparedRequest) -> CarrierXError:
    """A failed request in words that hold nothing of it: neither its address, nor headers, nor body."""
    chain = _chain(error)
    if isinstance(request.body, _Body):
        has_left = request.body.has_left
    else:
        # A request without a body, or in a session of the caller's: it did not leave if there was no connection.
        has_left = not any(type(each).__name__ in _WHILE_CONNECTING or isinstance(each, ssl.SSLError) for each in chain)
    if has_left:
        return AnswerLost(f"The request went out, and no answer came: {_reason(chain)}.")
    return NotSent(f"CarrierX was not reached: {_reason(chain)}.")


def _reason(chain: list[BaseException]) -> str:
    """A few words, without a stop at their end."""
    for error in chain:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not good: {error.verify_message}"
    for error in chain:
        name = type(error).__name__
        if isinstance(error, socket.gaierror):
            return "its name is not found"
        if isinstance(error, ssl.SSLError):
            return f"TLS failed: {error.reason or 'it broke off'}"
        if isinstance(error, TimeoutError) or "Timeout" in name:
            return "it took too long"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror[:1].lower() + error.strerror[1:]
        if name in ("RemoteDisconnected", "IncompleteRead"):
            return "the connection was closed"
        if name in ("BadStatusLine", "LineTooLong", "UnknownProtocol", "HTTPException"):
            return "the response is no HTTP"
    return type(chain[-1]).__name__


def _chain(error: BaseException) -> list[BaseException]:
    """The error and all that it was made of: requests and urllib3 keep each other's errors in various places."""
    chain = [error]
    # The list grows while it is gone through.
    for known in chain:
        for inner in (*known.args, getattr(known, "reason", None), known.__cause__, known.__context__):
            if isinstance(inner, BaseException) and inner not in chain and len(chain) < MAX_EXCEPTIONS:
                chain.append(inner)
    return chain
