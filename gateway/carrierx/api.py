"""CarrierX's Core API. Usable by itself; docs/core-api.md says how, and what is made again after which failure.

Source: the vendor's guides "Send and Receive SMS", "Send and Receive MMS", and the Core API Reference.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote

from gateway.carrierx import composing, patience, responses
from gateway.carrierx.errors import CarrierXError
from gateway.carrierx.http import ApiClient, Session, always
from gateway.carrierx.redaction import Redactor
from gateway.carrierx.responses import ApiResponse, Object, Page
from gateway.carrierx.spelling import authorization_header, checked_base
from schemas.wire import write_object

T = TypeVar("T")

BASE_URL = "https://api.carrierx.com/core/v2"
MOST = 1024 * 1024
MOST_OF_LIST = 16 * MOST
"""Bytes of an answer."""
LONGEST_LIST = 1000


class CoreAPI:
    """`token`, or `login` and `password`. Raises ValueError for anything else, and for a URL that is none.

    `timeout`: seconds for one request. `retries`: how often one is made again where that is safe. `session`: used for
    every request in place of our own, as it is; then whether it may be shared is up to whoever made it.
    """

    def __init__(
        self,
        base_url: str = BASE_URL,
        *,
        token: str = "",
        login: str = "",
        password: str = "",
        timeout: float = 15.0,
        retries: int = 3,
        session: Session | None = None,
        sleep: Callable[[float], object] = time.sleep,
        dice: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base = checked_base(base_url)
        self._authorization = authorization_header(token, login, password)
        self._secrets = (token, password, self._authorization.partition(" ")[2])
        self._client, self._retries = ApiClient(timeout, session), retries
        self._sleep, self._dice, self._clock = sleep, dice, clock

    def __repr__(self) -> str:
        return f"<CoreAPI {self._base}>"

    def __enter__(self) -> CoreAPI:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections that nobody uses; a request after that opens another one."""
        self._client.close()

    def send(
        self,
        from_: str,
        to: str | None,
        message: str | None,
        *,
        media_urls: Sequence[str] = (),
        group_recipients: Sequence[str] = (),
        user_data: str | None = None,
    ) -> Object:
        """Send a text or MMS to one number, or an MMS to a group; the Message object as CarrierX answered, ``queued``.

        ValueError for what the vendor does not take. Made again only where nothing was sent for sure.
        """
        body = composing.build_send_request(from_, to, message, media_urls, group_recipients, user_data)
        return self._persistently(lambda: responses.message_of(self._send(body)), repeatable=False)

    def send_raw(self, body: bytes, may_leave: Callable[[], bool] = always) -> bytes:
        """One ``POST /sms/messages`` of these very bytes, never made again. Its answer has a `message_sid`.

        `may_leave` is asked once more when there is a connection, right before they leave; False: `NotSent`.
        """
        answer = self._send(body, may_leave)
        responses.message_of(answer)
        return answer.body

    def read(self, message_sid: str) -> Object:
        """The Message object as it is now, by the newer names: ``from``, ``to``."""
        return responses.message_of(self._read(message_sid))

    def read_raw(self, message_sid: str) -> bytes:
        """The same as the bytes that CarrierX answered."""
        return self._read(message_sid).body

    def messages(self, limit: int = LONGEST_LIST, offset: int = 0) -> Page:
        """A page of all messages, in whatever order CarrierX has them. `limit`: 1 to 1000."""
        return self._page("/sms/messages", limit, offset)

    def every_message(self, limit: int = LONGEST_LIST) -> Iterator[Object]:
        """All of them, each once, `limit` with each request. `AnswerLost` where the list does not come to an end."""
        return responses.every(partial(self.messages, limit), "message_sid")

    def partner(self, sid: str) -> Object:
        """The Partner object; ``callbacks.sms`` is where its messages are reported to."""
        return self._object("GET", f"/partners/{_step(sid)}")

    def did(self, sid: str) -> Object:
        """The DID object, a rented number: ``phonenumber``, ``callback_url``, ``did_group_sid`` and more."""
        return self._object("GET", f"/phonenumber/dids/{_step(sid)}")

    def did_group(self, sid: str) -> Object:
        """The DID group object: ``name``, ``callback_url`` and more."""
        return self._object("GET", f"/phonenumber/did_groups/{_step(sid)}")

    def dids(self, limit: int = LONGEST_LIST, offset: int = 0) -> Page:
        """A page of the rented numbers."""
        return self._page("/phonenumber/dids", limit, offset)

    def every_did(self, limit: int = LONGEST_LIST) -> Iterator[Object]:
        return responses.every(partial(self.dids, limit), "did_sid")

    def did_groups(self, limit: int = LONGEST_LIST, offset: int = 0) -> Page:
        """A page of the groups of rented numbers."""
        return self._page("/phonenumber/did_groups", limit, offset)

    def every_did_group(self, limit: int = LONGEST_LIST) -> Iterator[Object]:
        return responses.every(partial(self.did_groups, limit), "did_group_sid")

    def set_callback(
        self, url: str | None, *, partner: str | None = None, did: str | None = None, did_group: str | None = None
    ) -> Object:
        """Where CarrierX reports messages to, for one of the three; None: nowhere. The object as it is then.

        Of the three that are set for a message CarrierX takes the DID's, else the DID group's, else the partner's.
        """
        if sum(sid is not None for sid in (partner, did, did_group)) != 1:
            raise ValueError("A callback is set for one of partner, did and did_group.")
        if partner is not None:
            return self._object("PATCH", f"/partners/{_step(partner)}", {"callbacks": {"sms": url}})
        kind, sid = ("dids", did) if did is not None else ("did_groups", did_group)
        return self._object("PATCH", f"/phonenumber/{kind}/{_step(sid or '')}", {"callback_url": url})

    def _send(self, body: bytes, may_leave: Callable[[], bool] = always) -> ApiResponse:
        return self._ask("POST", "/sms/messages", body, may_leave=may_leave)

    def _read(self, message_sid: str) -> ApiResponse:
        def ask() -> ApiResponse:
            answer = self._ask("GET", path)
            responses.message_of(answer)
            return answer

        path = f"/sms/messages/{_step(message_sid)}"
        return self._persistently(ask, repeatable=True)

    def _object(self, method: str, path: str, values: Object | None = None) -> Object:
        body = write_object(values) if values is not None else None
        return self._persistently(lambda: responses.object_of(self._ask(method, path, body)), repeatable=True)

    def _page(self, path: str, limit: int, offset: int) -> Page:
        if not 1 <= limit <= LONGEST_LIST or offset < 0:
            raise ValueError(f"A page has 1 to {LONGEST_LIST} items, and begins at 0 or later.")
        path = f"{path}?limit={limit}&offset={offset}"
        return self._persistently(lambda: responses.page_of(self._ask("GET", path, most=MOST_OF_LIST)), repeatable=True)

    def _persistently(self, ask: Callable[[], T], *, repeatable: bool) -> T:
        for turn in range(self._retries):
            try:
                return ask()
            except CarrierXError as error:
                pause = patience.wait(turn, error, repeatable=repeatable, dice=self._dice())
                if pause is None:
                    raise
            self._sleep(pause)
        return ask()

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        most: int = MOST,
        may_leave: Callable[[], bool] = always,
    ) -> ApiResponse:
        """One request, and its answer if that is a success. Raises every `CarrierXError`."""
        came = self._client.ask(method, self._base + path, self._headers(body), body, most, may_leave)
        if not came.is_success:
            raise responses.error_of(came, Redactor(self._secrets, body), self._clock())
        return came

    def _headers(self, body: bytes | None) -> dict[str, str]:
        usual = {
            "Authorization": self._authorization,
            "Accept": "application/json",
            # What is not compressed cannot be a bomb.
            "Accept-Encoding": "identity",
            "User-Agent": _user_agent(),
        }
        return usual if body is None else {**usual, "Content-Type": "application/json"}


def _step(sid: str) -> str:
    """A step of a path: whatever the sid is, it stays one."""
    if not sid.strip(" ./"):
        raise ValueError("A sid is empty.")
    return quote(sid, safe="")


@cache
def _user_agent() -> str:
    try:
        return f"sms-gateway/{version('sms-gateway')}"
    except PackageNotFoundError:
        return "sms-gateway"
