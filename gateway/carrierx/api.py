"""CarrierX's Core API. Usable by itself; docs/core-api.md says how, and what is repeated after which failure.

Source: the vendor's guides "Send and Receive SMS", "Send and Receive MMS", and the Core API Reference.
"""

from __future__ import annotations

import random
import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from gateway.carrierx import responses
from gateway.carrierx.errors import CarrierXError
from gateway.carrierx.http import ApiClient, MayLeave, Session
from gateway.carrierx.redaction import Redactor
from gateway.carrierx.responses import ApiResponse, JsonObject, Page
from schemas.wire import write_object

T = TypeVar("T")

BASE_URL = "https://api.carrierx.com/core/v2"
MAX_RESPONSE_BYTES = 1024 * 1024
MAX_LIST_BYTES = 16 * MAX_RESPONSE_BYTES
MAX_PAGE_ITEMS = 1000
MAX_MEDIA = 10
MAX_MMS_CHARACTERS = 1600  # a text message is cut into segments instead, and has no documented limit
MAX_GROUP_NUMBERS = 10  # the sender's number is among them

_TOKEN = re.compile(r"[\x21-\x7e]+")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


class CoreAPI:
    """The client. It takes `token`, or `login` and `password`; ValueError for anything else, and for a bad URL.

    `timeout`: seconds for one request. `retries`: how often one is made again where that is safe. `session`: used for
    every request in place of our own, as it is; whether it may be shared between threads is then the caller's matter.
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
        random: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base = checked_base_url(base_url)
        self._authorization = authorization_header(token, login, password)
        self._secrets = (token, password, self._authorization.partition(" ")[2])
        self._client, self._retries = ApiClient(timeout, session), retries
        self._sleep, self._random, self._clock = sleep, random, clock

    def __repr__(self) -> str:
        return f"<CoreAPI {self._base}>"

    def __enter__(self) -> CoreAPI:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the idle connections; a request after that opens another one."""
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
    ) -> JsonObject:
        """Sends a text or MMS to one number, or an MMS to a group. Returns CarrierX's Message object, ``queued``.
        ValueError for what the vendor does not take. Made again only where nothing was sent for sure."""
        body = build_send_request(from_, to, message, media_urls, group_recipients, user_data)
        return self._with_retries(
            lambda: responses.parse_message(self._request("POST", "/sms/messages", body)), is_idempotent=False
        )

    def send_raw(self, body: bytes, may_leave: MayLeave = lambda: True) -> bytes:
        """Makes one ``POST /sms/messages`` of these bytes, never again. Returns its answer, with a `message_sid`.
        `may_leave` is called once more when there is a connection, right before the bytes leave; False: `NotSent`."""
        response = self._request("POST", "/sms/messages", body, may_leave=may_leave)
        responses.parse_message(response)
        return response.body

    def read(self, message_sid: str) -> JsonObject:
        """The Message object as it is now, by the newer names: ``from``, ``to``."""
        return responses.parse_message(self._read(message_sid))

    def read_raw(self, message_sid: str) -> bytes:
        """The Message object as the bytes that CarrierX answered."""
        return self._read(message_sid).body

    def messages(self, limit: int = MAX_PAGE_ITEMS, offset: int = 0) -> Page:
        """A page of all messages, in whatever order CarrierX has them. `limit`: 1 to 1000."""
        return self._page("/sms/messages", limit, offset)

    def partner(self, sid: str) -> JsonObject:
        """The Partner object; ``callbacks.sms`` is where its messages are reported to."""
        return self._object("GET", f"/partners/{_path_segment(sid)}")

    def did(self, sid: str) -> JsonObject:
        """The DID object, a rented number: ``phonenumber``, ``callback_url``, ``did_group_sid`` and more."""
        return self._object("GET", f"/phonenumber/dids/{_path_segment(sid)}")

    def did_group(self, sid: str) -> JsonObject:
        """The DID group object: ``name``, ``callback_url`` and more."""
        return self._object("GET", f"/phonenumber/did_groups/{_path_segment(sid)}")

    def dids(self, limit: int = MAX_PAGE_ITEMS, offset: int = 0) -> Page:
        """A page of the rented numbers."""
        return self._page("/phonenumber/dids", limit, offset)

    def every_did(self, limit: int = MAX_PAGE_ITEMS) -> Iterator[JsonObject]:
        return responses.all_items(partial(self.dids, limit), "did_sid")

    def did_groups(self, limit: int = MAX_PAGE_ITEMS, offset: int = 0) -> Page:
        """A page of the groups of rented numbers."""
        return self._page("/phonenumber/did_groups", limit, offset)

    def every_did_group(self, limit: int = MAX_PAGE_ITEMS) -> Iterator[JsonObject]:
        return responses.all_items(partial(self.did_groups, limit), "did_group_sid")

    def set_callback(
        self, url: str | None, *, partner: str | None = None, did: str | None = None, did_group: str | None = None
    ) -> JsonObject:
        """Sets where CarrierX reports messages to, for one of the three; None: nowhere. Returns the changed object.
        Of the three that are set for a message CarrierX takes the DID's, else the DID group's, else the partner's."""
        if sum(sid is not None for sid in (partner, did, did_group)) != 1:
            raise ValueError("A callback is set for one of partner, did and did_group.")
        if partner is not None:
            return self._object("PATCH", f"/partners/{_path_segment(partner)}", {"callbacks": {"sms": url}})
        collection, sid = ("dids", did) if did is not None else ("did_groups", did_group)
        return self._object("PATCH", f"/phonenumber/{collection}/{_path_segment(sid or '')}", {"callback_url": url})

    def _read(self, message_sid: str) -> ApiResponse:
        def read() -> ApiResponse:
            response = self._request("GET", path)
            responses.parse_message(response)
            return response

        path = f"/sms/messages/{_path_segment(message_sid)}"
        return self._with_retries(read, is_idempotent=True)

    def _object(self, method: str, path: str, values: JsonObject | None = None) -> JsonObject:
        body = write_object(values) if values is not None else None
        return self._with_retries(lambda: responses.parse_object(self._request(method, path, body)), is_idempotent=True)

    def _page(self, path: str, limit: int, offset: int) -> Page:
        if not 1 <= limit <= MAX_PAGE_ITEMS or offset < 0:
            raise ValueError(f"A page has 1 to {MAX_PAGE_ITEMS} items, and begins at 0 or later.")
        path = f"{path}?limit={limit}&offset={offset}"
        return self._with_retries(
            lambda: responses.parse_page(self._request("GET", path, max_bytes=MAX_LIST_BYTES)), is_idempotent=True
        )

    def _with_retries(self, request: Callable[[], T], *, is_idempotent: bool) -> T:
        for repetitions in range(self._retries):
            try:
                return request()
            except CarrierXError as error:
                delay = responses.retry_delay(repetitions, error, is_idempotent=is_idempotent, random=self._random())
                if delay is None:
                    raise
            self._sleep(delay)
        return request()

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        max_bytes: int = MAX_RESPONSE_BYTES,
        may_leave: MayLeave = lambda: True,
    ) -> ApiResponse:
        """One request, and its response if that is a success. Raises every `CarrierXError`."""
        headers = {
            "Authorization": self._authorization,
            "Accept": "application/json",
            # A response that is not compressed cannot be a bomb.
            "Accept-Encoding": "identity",
            "User-Agent": _user_agent(),
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        response = self._client.request(method, self._base + path, headers, body, max_bytes, may_leave)
        if not 200 <= response.status <= 299:
            raise responses.parse_error(response, Redactor(self._secrets, body), self._clock())
        return response


def build_send_request(
    from_: str,
    to: str | None,
    text: str | None,
    media_urls: Sequence[str] = (),
    group_recipients: Sequence[str] = (),
    user_data: str | None = None,
) -> bytes:
    """The body of ``POST /sms/messages``, checked against the vendor's documentation before anything goes out::

        {"from": "15162065575", "to": "15162065574", "message": "This is a test message", "user_data": "…"}

    ValueError says what is wrong, without the number or text that is.
    """
    _check_numbers(from_, to, group_recipients)
    _check_content(text, media_urls, is_mms=bool(media_urls or group_recipients))
    request: dict[str, Any] = {"from": from_}
    request |= {"to": to} if to is not None else {"group_recipients": list(group_recipients)}
    optional = {"message": text or None, "user_data": user_data, "media_urls": list(media_urls) or None}
    request |= {name: value for name, value in optional.items() if value is not None}
    try:
        return write_object(request)
    except UnicodeEncodeError:
        pass  # raised below without this context: it holds the text
    raise ValueError("There is half a surrogate pair in it, which is no text.")


def _check_numbers(from_: str, to: str | None, group: Sequence[str]) -> None:
    if isinstance(group, str):
        raise ValueError("group_recipients is a list of numbers, not one text.")
    if not from_ or not from_.strip():
        raise ValueError("A message is sent from a number: from_ is empty.")
    if (to is None) == (not group):
        raise ValueError("A message goes to a number or to a group: give one of to and group_recipients.")
    if not all(isinstance(recipient, str) and recipient.strip() for recipient in (group if to is None else (to,))):
        raise ValueError("A recipient is empty.")
    if len({from_, *group}) > MAX_GROUP_NUMBERS:
        raise ValueError(f"A group has at most {MAX_GROUP_NUMBERS} numbers, the sender's among them.")


def _check_content(text: str | None, media_urls: Sequence[str], *, is_mms: bool) -> None:
    if isinstance(media_urls, str):
        raise ValueError("media_urls is a list of URLs, not one text.")
    if not text and not media_urls:
        raise ValueError("A message has a text or media: both are empty.")
    if is_mms and len(text or "") > MAX_MMS_CHARACTERS:
        raise ValueError(f"The text of an MMS has at most {MAX_MMS_CHARACTERS} characters, not {len(text or '')}.")
    if len(media_urls) > MAX_MEDIA:
        raise ValueError(f"An MMS has at most {MAX_MEDIA} media, not {len(media_urls)}.")
    if not all(_is_http_url(url) for url in media_urls):
        raise ValueError("Media are given by http or https URLs.")


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def checked_base_url(url: str) -> str:
    """`url` without a slash at its end. ValueError for a URL that no request can be made to."""
    try:
        parts = urlsplit(url)
        is_valid = _is_http_url(url) and (parts.port or 1) > 0
    except ValueError:
        is_valid = False
    if not is_valid or parts.query or parts.fragment or parts.username is not None or _CONTROL.search(url):
        raise ValueError("base_url is no http or https URL, or has a user, a query or a fragment.")
    return url.rstrip("/")


def authorization_header(token: str, login: str, password: str) -> str:
    """The value of the header. ValueError where both or neither of token and login are given, or one cannot be sent."""
    if bool(token) == bool(login or password):
        raise ValueError("Give a token, or login and password: exactly one of the two.")
    if token:
        if not _TOKEN.fullmatch(token):
            raise ValueError("The token has characters that no header can hold.")
        return f"Bearer {token}"
    if not login or ":" in login or not password:
        raise ValueError("login and password belong together, and there is no colon in a login.")
    return f"Basic {b64encode(f'{login}:{password}'.encode()).decode()}"


def _path_segment(sid: str) -> str:
    """One segment of a path, whatever the sid is."""
    if not sid.strip(" ./"):
        raise ValueError("A sid is empty.")
    return quote(sid, safe="")


@cache
def _user_agent() -> str:
    try:
        return f"sms-gateway/{version('sms-gateway')}"
    except PackageNotFoundError:
        return "sms-gateway"
