"""A request to send, read as the vendor documents it: what is wanted, or every fault in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

LONGEST_MMS, MOST_MEDIA, MOST_GROUP = 1600, 10, 10


class Senders(Protocol):
    """Who may be the sender. See `account.Account`."""

    def only_number(self) -> str | None: ...

    def did_of(self, number: str) -> object | None: ...


class Refused(Exception):
    """Answered with this HTTP status and the vendor's error object."""

    def __init__(self, status: int, message: str, *errors: tuple[str, str], headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = {
            "message": message,
            "errors": [{"field": name, "message": text, "reference_sid": None} for name, text in errors],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A message that somebody wants to send."""

    sender: str
    to: str
    message: str | None
    media_urls: tuple[str, ...]
    group: tuple[str, ...]
    user_data: str | None
    older: bool
    """Asked for by the older names, `from_did` and `to_did`."""

    @property
    def is_too_much(self) -> bool:
        """For an MMS: it is accepted, and fails."""
        mms = bool(self.media_urls or self.group)
        return mms and (len(self.message or "") > LONGEST_MMS or len(self.media_urls) > MOST_MEDIA)


def json_object(body: bytes) -> dict[str, Any]:
    """Raises `Refused`."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "The request body is no JSON.") from None
    if not isinstance(value, dict):
        raise Refused(400, "The request body must be a JSON object.")
    return value


def read(body: bytes, account: Senders) -> Wanted:
    """Raises `Refused` with all faults."""
    value, faults = json_object(body), list[tuple[str, str]]()
    older = "from_did" in value or "to_did" in value
    names = ("from_did", "to_did") if older else ("from", "to")
    wanted = Wanted(
        sender=_number(value.get(names[0], account.only_number()), names[0], faults),
        to="",
        message=_text(value, "message", faults),
        media_urls=_texts(value, "media_urls", faults),
        group=_group(value, faults),
        user_data=_text(value, "user_data", faults),
        older=older,
    )
    to = wanted.group[0] if wanted.group else _number(value.get(names[1]), names[1], faults)
    if not wanted.message and not wanted.media_urls:
        faults.append(("message", "Missing data for required field."))
    if wanted.sender and account.did_of(wanted.sender) is None:
        faults.append((names[0], "Is no phone number of this account."))
    if faults:
        raise Refused(400, "Invalid request.", *faults)
    return Wanted(**{name: getattr(wanted, name) for name in Wanted.__slots__} | {"to": to})


def _number(value: object, name: str, faults: list[tuple[str, str]]) -> str:
    if value is None or value == "":
        faults.append((name, "Missing data for required field."))
        return ""
    digits = str(value).strip().removeprefix("+")
    if isinstance(value, bool) or not isinstance(value, str | int) or not _is_number(digits):
        faults.append((name, "Not a valid phone number."))
    return digits


def _is_number(digits: str) -> bool:
    return digits.isascii() and digits.isdigit() and 3 <= len(digits) <= 15


def _text(value: dict[str, Any], name: str, faults: list[tuple[str, str]]) -> str | None:
    text = value.get(name)
    if text is None or isinstance(text, str):
        return text
    faults.append((name, "Not a valid string."))
    return None


def _texts(value: dict[str, Any], name: str, faults: list[tuple[str, str]]) -> tuple[str, ...]:
    texts = value.get(name) or []
    if isinstance(texts, list) and all(isinstance(one, str) for one in texts):
        return tuple(texts)
    faults.append((name, "Not a valid list."))
    return ()


def _group(value: dict[str, Any], faults: list[tuple[str, str]]) -> tuple[str, ...]:
    asked = value.get("group_recipients") or []
    if not isinstance(asked, list) or len(asked) > MOST_GROUP:
        faults.append(("group_recipients", f"Not a list of at most {MOST_GROUP} phone numbers."))
        return ()
    return tuple(_number(one, "group_recipients", faults) for one in asked)
