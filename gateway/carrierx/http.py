"""One request to CarrierX and its answer: the one door to requests.

Safe to share between threads: each request borrows a session of its own and gives it back, so there are as many
connections as there were requests side by side. A session for each thread would keep one for every thread that ever
called, and `close` could not reach them; one for all is not promised to be safe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.cookiejar import DefaultCookiePolicy
from time import monotonic
from typing import Any

import requests
from requests.adapters import HTTPAdapter

# What urllib3 raises while an answer is read; requests says no other name for it.
from requests.exceptions import BaseHTTPError  # type: ignore[attr-defined]

from gateway.carrierx import failures
from gateway.carrierx.errors import CarrierXError, NotSent
from gateway.carrierx.responses import ApiResponse

Session = requests.Session
MayLeave = Callable[[], bool]
"""Asked last, right before the body leaves; False: nothing of it does, and that is `NotSent`."""

CONNECT = 5.0
"""Seconds until there must be a connection, where the whole timeout is not shorter."""
_PIECE = 65_536


def always() -> bool:
    return True


class _Body:
    """A request's body that knows whether any of it has left: without it CarrierX can do nothing.

    `requests` tells too little of that: a handshake that breaks off and an answer that does look the same. And it
    leaves in time or not at all: looking up a name, and trying one address after the other, may take any time, and
    who asks must know until when a message may still reach CarrierX.
    """

    def __init__(self, data: bytes, end: float, may_leave: MayLeave) -> None:
        self._data, self._end, self._may_leave, self.left = data, end, may_leave, False

    def __iter__(self) -> Iterator[bytes]:
        # Asked for when there is a connection and the headers have been written to it.
        if monotonic() > self._end or not self._may_leave():
            raise TimeoutError
        self.left = True
        yield self._data


class _Adapter(HTTPAdapter):
    def __init__(self) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def add_headers(self, request: requests.PreparedRequest, **kwargs: Any) -> None:
        """The last place before urllib3 takes over."""
        if isinstance(request.body, bytes):
            _, patience = kwargs["timeout"]
            may_leave = getattr(request, "may_leave", always)
            request.body = _Body(request.body, monotonic() + patience, may_leave)  # type: ignore[assignment]


class _Session(requests.Session):
    """Asks the environment for nothing, keeps no cookies, follows no redirects."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter())

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        # It would be read to its end, however long, only to know where it leads.
        return None


class ApiClient:
    """`timeout`: seconds for one request. `session`: used for all of them in place of our own, as it is."""

    def __init__(self, timeout: float, session: Session | None = None) -> None:
        self._timeout, self._session = timeout, session
        self._idle: deque[Session] = deque()

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        most: int,
        may_leave: MayLeave = always,
    ) -> ApiResponse:
        """The answer, whatever its status, of at most `most` bytes. Raises `NotSent` and `AnswerLost`."""
        try:
            request = requests.Request(method, url, headers=dict(headers), data=body).prepare()
        except requests.RequestException:
            raise NotSent("CarrierX was not reached: base_url cannot be used.") from None
        request.may_leave = may_leave  # type: ignore[attr-defined]
        with self._borrowed() as session:
            came = _came(session, request, self._timeout, most)
        # Raised here, where nothing of requests' own is the context of it: that holds the headers and the text.
        if isinstance(came, CarrierXError):
            raise came
        return came

    def close(self) -> None:
        """Closes the connections that nobody uses; a request after that opens another one."""
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _borrowed(self) -> Iterator[Session]:
        if self._session is not None:
            yield self._session
            return
        try:
            # The one that was used last: its connection is the one most likely to be still there.
            session = self._idle.pop()
        except IndexError:
            session = _Session()
        try:
            yield session
        finally:
            self._idle.append(session)


def _came(
    session: Session, request: requests.PreparedRequest, timeout: float, most: int
) -> ApiResponse | CarrierXError:
    end, patient = monotonic() + timeout, (min(CONNECT, timeout), timeout)
    try:
        # With proxies named, if only to say none, nobody asks the environment for them.
        response = session.send(
            request, stream=True, timeout=patient, allow_redirects=False, proxies=dict(session.proxies)
        )
    except (requests.RequestException, BaseHTTPError, OSError) as error:
        left = request.body.left if isinstance(request.body, _Body) else not failures.is_connecting(error)
        return failures.failure(error, left=left)
    with closing(response):
        body, fault = _read_body(response, most, end)
        return ApiResponse(response.status_code, body, fault, response.headers.get("Retry-After"))


def _read_body(response: requests.Response, most: int, end: float) -> tuple[bytes, str]:
    """What came within the limits, and why that is not all."""
    read = bytearray()
    try:
        # Whatever is there: to wait for a full piece would be to wait as long as somebody cares to drip.
        while piece := response.raw.read1(_PIECE, decode_content=True):
            read += piece
            if len(read) > most:
                return bytes(read[:most]), f"with more than {most} bytes"
            if monotonic() > end:
                return bytes(read), "too slowly"
    except (BaseHTTPError, OSError) as error:
        return bytes(read), f"not to the end: {failures.why(error)}"
    return bytes(read), ""
