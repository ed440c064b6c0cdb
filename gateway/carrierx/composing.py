"""The request for a message, checked against what the vendor documents before anything goes out. Pure.

    {"from": "15162065575", "to": "15162065574", "message": "This is a test message", "user_data": "…"}

Source: the vendor's guides "Send and Receive SMS" and "Send and Receive MMS".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from schemas.wire import write_object

MOST_MEDIA = 10
MOST_TEXT = 1600
"""Characters of an MMS; a text message is cut into segments, and has no documented end."""
MOST_GROUP = 10
"""Numbers of a group, the sender's among them."""


def build_send_request(
    from_: str,
    to: str | None,
    text: str | None,
    media_urls: Sequence[str] = (),
    group_recipients: Sequence[str] = (),
    user_data: str | None = None,
) -> bytes:
    """The body of ``POST /sms/messages``. ValueError says what is wrong, without the number or text that is."""
    _check_numbers(from_, to, group_recipients)
    _check_content(text, media_urls, is_mms=bool(media_urls or group_recipients))
    request: dict[str, Any] = {"from": from_}
    request |= {"to": to} if to is not None else {"group_recipients": list(group_recipients)}
    given = {"message": text or None, "user_data": user_data, "media_urls": list(media_urls) or None}
    request |= {name: value for name, value in given.items() if value is not None}
    try:
        return write_object(request)
    except UnicodeEncodeError:
        pass
    raise ValueError("There is half a surrogate pair in it, which is no text.")


def _check_numbers(from_: str, to: str | None, group: Sequence[str]) -> None:
    if isinstance(group, str):
        raise ValueError("group_recipients is a list of numbers, not one text.")
    if not from_ or not from_.strip():
        raise ValueError("A message is sent from a number: from_ is empty.")
    if (to is None) == (not group):
        raise ValueError("A message goes to a number or to a group: give one of to and group_recipients.")
    if not all(isinstance(one, str) and one.strip() for one in (group if to is None else (to,))):
        raise ValueError("A recipient is empty.")
    if len({from_, *group}) > MOST_GROUP:
        raise ValueError(f"A group has at most {MOST_GROUP} numbers, the sender's among them.")


def _check_content(text: str | None, media_urls: Sequence[str], *, is_mms: bool) -> None:
    if isinstance(media_urls, str):
        raise ValueError("media_urls is a list of URLs, not one text.")
    if not text and not media_urls:
        raise ValueError("A message has a text or media: both are empty.")
    if is_mms and len(text or "") > MOST_TEXT:
        raise ValueError(f"The text of an MMS has at most {MOST_TEXT} characters, not {len(text or '')}.")
    if len(media_urls) > MOST_MEDIA:
        raise ValueError(f"An MMS has at most {MOST_MEDIA} media, not {len(media_urls)}.")
    if not all(_is_url(url) for url in media_urls):
        raise ValueError("Media are given by http or https URLs.")


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
