"""The account and the messages of the stand-in, in memory, with their JSON as CarrierX documents it."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.sandbox.carrierx.faults import PlannedFaults, Scenario
from schemas import segments
from schemas.carrierx import MMS_SHAPE, SMS_SHAPE
from schemas.fields import timestamp

PARTNER = "cee93bf3-5746-43fe-a1a2-822c05fef687"
_NAMESPACE = uuid.UUID(PARTNER)
GROUP = str(uuid.uuid5(_NAMESPACE, "group"))  # the DID group that all DIDs are in
OPERATOR = (310, 260)  # `mcc` and `mnc` of every handset
MAX_MMS_CHARACTERS, MAX_MEDIA, MAX_GROUP = 1600, 10, 10
MAX_MESSAGES = 100_000
JsonObject = dict[str, Any]


class ApiError(Exception):
    """Answered with this HTTP status and the vendor's error object."""

    def __init__(self, status: int, message: str, *errors: tuple[str, str], headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = {
            "message": message,
            "errors": [{"field": name, "message": text, "reference_sid": None} for name, text in errors],
        }


# The account


class Account:
    """A partner with one DID group and its DIDs, each an object as CarrierX shows it, which may have a callback URL.
    Without `numbers`, every number is a DID from its first use on."""

    def __init__(self, numbers: Iterable[str] = (), callback: str = "") -> None:
        owner = {"name": "Sandbox", "partner_sid": PARTNER}
        self.partner: JsonObject = {"callbacks": {"sms": callback or None}, **owner}
        self.group: JsonObject = {"callback_url": None, "did_group_sid": GROUP, **owner}
        self._lock = threading.Lock()
        self._dids: dict[str, JsonObject] = {}  # by number
        for number in numbers:
            self._add(number)
        self._has_every_number = not self._dids
        self.default_sender = next(iter(self._dids)) if len(self._dids) == 1 else None
        """The number that sends where a request names none: the account's only one."""

    def _add(self, number: str) -> JsonObject:
        self._dids[number] = did = {
            "callback_url": None,
            "country_code": "USA",
            "did_group_sid": GROUP,
            "did_sid": str(uuid.uuid5(_NAMESPACE, number)),
            "name": None,
            "partner_sid": PARTNER,
            "phonenumber": number,
        }
        return did

    def did_of(self, number: str) -> JsonObject | None:
        with self._lock:
            did = self._dids.get(number)
            return self._add(number) if did is None and self._has_every_number else did

    def dids(self) -> list[JsonObject]:
        with self._lock:
            return list(self._dids.values())

    def find(self, kind: str, sid: str) -> JsonObject | None:
        """`kind`: ``partner``, ``did_group`` or ``did``."""
        objects = {"partner": [self.partner], "did_group": [self.group], "did": self.dids()}[kind]
        return next((found for found in objects if found[f"{kind}_sid"] == sid), None)

    def callback_for(self, number: str) -> str | None:
        """The first that is set of the callbacks of DID, DID group and partner."""
        did = self.did_of(number)
        return did["callback_url"] or self.group["callback_url"] or self.partner["callbacks"]["sms"] if did else None


# Requests to send


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRequest:
    """A request to send a message."""

    sender: str
    to: str  # the recipient; the first one of a group
    message: str | None
    media_urls: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    user_data: str | None = None
    older: bool
    """Written with the older names, `from_did` and `to_did`: its message is shown with 13 attributes, else with 18."""

    @property
    def is_mms(self) -> bool:
        return bool(self.media_urls or self.group)

    @property
    def is_too_large(self) -> bool:
        """CarrierX accepts such an MMS; then it fails."""
        return self.is_mms and (len(self.message or "") > MAX_MMS_CHARACTERS or len(self.media_urls) > MAX_MEDIA)


def json_object(body: bytes) -> JsonObject:
    """The body of a request. Raises `ApiError` where it is no JSON object."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "The request body is no JSON.") from None
    if not isinstance(value, dict):
        raise ApiError(400, "The request body must be a JSON object.")
    return value


def read_send_request(body: bytes, account: Account | None) -> SendRequest:
    """Reads a request to send as the vendor documents it. Raises `ApiError` with every mistake in it.
    `account` has the numbers that may send; None where any number may, as with a text from a handset."""
    value, errors = json_object(body), list[tuple[str, str]]()
    older = "from_did" in value or "to_did" in value
    from_name, to_name = ("from_did", "to_did") if older else ("from", "to")
    default = account.default_sender if account is not None else None
    sender = _number(value.get(from_name, default), from_name, errors)
    message, user_data = value.get("message"), value.get("user_data")
    for name in ("message", "user_data"):
        if not isinstance(value.get(name), str | None):
            errors.append((name, "Not a valid string."))
    media_urls, group = value.get("media_urls") or [], value.get("group_recipients") or []
    if not isinstance(media_urls, list) or not all(isinstance(url, str) for url in media_urls):
        errors.append(("media_urls", "Not a valid list."))
    if not isinstance(group, list) or len(group) > MAX_GROUP:
        errors.append(("group_recipients", f"Not a list of at most {MAX_GROUP} phone numbers."))
        group = []
    recipients = tuple(_number(recipient, "group_recipients", errors) for recipient in group)
    to = recipients[0] if recipients else _number(value.get(to_name), to_name, errors)
    if not message and not media_urls:
        errors.append(("message", "Missing data for required field."))
    if sender and account is not None and account.did_of(sender) is None:
        errors.append((from_name, "Is no phone number of this account."))
    if errors:
        raise ApiError(400, "Invalid request.", *errors)
    return SendRequest(
        sender=sender,
        to=to,
        message=message,
        media_urls=tuple(media_urls),
        group=recipients,
        user_data=user_data,
        older=older,
    )


def _number(value: object, name: str, errors: list[tuple[str, str]]) -> str:
    if value is None or value == "":
        errors.append((name, "Missing data for required field."))
        return ""
    digits = str(value).strip().removeprefix("+")
    is_number = digits.isascii() and digits.isdigit() and 3 <= len(digits) <= 15
    if isinstance(value, bool) or not isinstance(value, str | int) or not is_number:
        errors.append((name, "Not a valid phone number."))
    return digits


# Messages


@dataclass(slots=True)
class PendingCallback:
    """A callback of a message that is still to be posted, with these bytes."""

    status: str
    body: bytes
    faults: frozenset[str]
    attempts: int = 0
    last: bool = False  # its message has no further status


@dataclass(slots=True, eq=False, kw_only=True)
class StubMessage:
    """One message, with the statuses that it has got and the callbacks about them. `lock` is held to change it."""

    request: SendRequest
    direction: str
    scenario: Scenario
    faults: PlannedFaults = PlannedFaults()
    sid: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: float = field(default_factory=time.time)
    statuses: list[tuple[str, float]] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    """The statuses of callbacks that were answered 2xx, one for each answer."""
    given_up: int = 0  # callbacks that were never answered 2xx
    finished: set[str] = field(default_factory=set)  # statuses whose callbacks were posted, or need not be
    pending: deque[PendingCallback] = field(default_factory=deque)
    held: list[PendingCallback] = field(default_factory=list)  # waits for the callback behind it to be posted first
    is_posting: bool = False  # one of its callbacks is being posted: the others wait
    early_posted: threading.Event = field(default_factory=threading.Event)
    """The callbacks that are to come before the answer were posted."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    _json: tuple[int, str] = (-1, "")  # the JSON that was shown last, and the number of statuses at that time

    @property
    def status(self) -> str:
        return self.statuses[-1][0] if self.statuses else self.scenario.flow[0]

    def advance(self, at: float) -> PendingCallback:
        """Gives the message the next status of its flow, and returns the callback about it."""
        step, flow = len(self.statuses), self.scenario.flow
        self.statuses.append((flow[step], at))
        body = self._shown(self.attributes(in_callback=True)).encode()
        faults = self.faults.updates[step] if step < len(self.faults.updates) else frozenset[str]()
        return PendingCallback(flow[step], body, faults, last=step + 1 == len(flow))

    def as_json(self) -> str:
        """The Message object as it is now."""
        count = len(self.statuses)
        if self._json[0] != count:
            self._json = count, self._shown(self.attributes())
        return self._json[1]

    def _shown(self, values: JsonObject) -> str:
        """The Message object with its attributes in the vendor's order."""
        shape = SMS_SHAPE if self.request.older else MMS_SHAPE
        return json.dumps({name: values[name] for name in shape}, ensure_ascii=False)

    def attributes(self, *, in_callback: bool = False) -> JsonObject:
        """The attributes of both shapes, as they are now."""
        request = self.request
        status, changed_at = self.statuses[-1] if self.statuses else (self.scenario.flow[0], None)
        moved = changed_at is not None and status != "queued"
        # In the vendor's samples a group's `to` is one of its recipients, and not always the same.
        step = len(self.statuses) - 1 if in_callback else 0
        to = request.group[step % len(request.group)] if request.group else request.to
        mcc, mnc = OPERATOR if self.direction == "inbound" else (0, 0) if moved else (None, None)
        created, changed = (at and timestamp(datetime.fromtimestamp(at, UTC)) for at in (self.created_at, changed_at))
        return {
            "date_changed": changed or created,
            "date_created": created,
            "date_status_changed": changed,
            "direction": self.direction,
            "from": request.sender,
            "from_did": request.sender,
            "group_recipients": request.group,
            "mcc": mcc,
            "media_urls": request.media_urls,
            "message": request.message,
            "message_segments": 1 if request.is_mms else segments.count(request.message or ""),
            "message_sid": self.sid,
            "mnc": mnc,
            "partner_sid": PARTNER,
            "price": "0.01" if moved else None,
            "status": status,
            "to": to,
            "to_did": to,
            "type": "mms" if request.is_mms else "sms",
            # The vendor's own sample of a callback has the text "null".
            "user_data": "null" if in_callback and request.user_data is None else request.user_data,
        }


class MessageList:
    """The last `limit` messages, in the order in which they came."""

    def __init__(self, limit: int = MAX_MESSAGES) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._by_sid: OrderedDict[str, StubMessage] = OrderedDict()

    def add(self, message: StubMessage) -> None:
        with self._lock:
            if len(self._by_sid) == self._limit:
                self._by_sid.popitem(last=False)
            self._by_sid[message.sid] = message

    def clear(self) -> None:
        with self._lock:
            self._by_sid.clear()

    def get(self, sid: str) -> StubMessage | None:
        return self._by_sid.get(sid)

    def all(self) -> list[StubMessage]:
        """The oldest first."""
        with self._lock:
            return list(self._by_sid.values())
