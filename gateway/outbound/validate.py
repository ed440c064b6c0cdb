"""What a legacy call must be, before anything is kept as accepted. Nothing here asks the store."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.config import Config, Number
from gateway.matching import templates
from gateway.outbound import codes
from gateway.outbound.model import CallCredentials, Recipient, SendCall
from gateway.safe_http.ssrf import check_address, check_url, host_and_port
from schemas.fields import number as normalised

LONGEST = 1600
"""Characters of a text. What is longer, no phone gets whole."""
MOST_RECIPIENTS = 1000
LONGEST_CUSTOM_TICKET = 200
"""Bytes: it is searched for."""
_PHONE = re.compile(r"[0-9]{7,15}")


class CallRefused(Exception):
    """The caller must act; `detail` is for the operator, and holds neither text nor secret."""

    def __init__(self, code: int, detail: str = "") -> None:
        self.code, self.detail = code, detail or codes.SENTENCES[code]
        super().__init__(self.detail)


@dataclass(frozen=True, slots=True)
class RecipientText:
    """What one phone is to get."""

    phone: str
    text: str


@dataclass(frozen=True, slots=True)
class CheckedCall:
    """A call that may be kept."""

    number: Number
    texts: tuple[RecipientText, ...]
    bad: tuple[str, ...]
    """Recipients that are no phone numbers, as they were given; there are others that are."""


def authenticate(auth: CallCredentials, config: Config) -> None:
    """Raises `CallRefused`. All three are compared, so that the time does not tell which one is wrong."""
    expected = config.legacy
    if expected is None or not (expected.password or expected.api_key):
        raise CallRefused(codes.CREDENTIALS, "[legacy] has neither password nor api_key, so nobody may send by it.")
    wanted = (expected.user_name, auth.username), (expected.password, auth.password), (expected.api_key, auth.api_key)
    same = [hmac.compare_digest(want.encode(), got.encode("utf-8", "replace")) for want, got in wanted if want]
    if not all(same):
        raise CallRefused(codes.CREDENTIALS)


def check(call: SendCall, config: Config) -> CheckedCall:
    """Raises `CallRefused`, with the first thing that is wrong."""
    number = config.number_for(call.auth.code) if call.auth.code.strip() else None
    if number is None:
        raise CallRefused(codes.CODE)
    if len(call.custom_ticket.encode("utf-8", "replace")) > LONGEST_CUSTOM_TICKET:
        raise CallRefused(codes.CUSTOM_TICKET)
    if call.status_url:
        _check_status_url(call.status_url, config)
    good, bad = _phones(call, config)
    texts = tuple(RecipientText(phone, _text(call, one, phone, number, config)) for phone, one in good.items())
    return CheckedCall(number, texts, bad)


def _check_status_url(url: str, config: Config) -> None:
    """What can never be called. What a name stands for is judged at the connection."""
    fault = check_url(url)
    if fault is None:
        host, port = host_and_port(url)
        fault = (
            check_address(host, port, free_form=True, allow_networks=config.allow_networks)
            if _is_address(host)
            else None
        )
    if fault:
        raise CallRefused(codes.STATUS_URL, f"status_url: {fault}.")


def _is_address(host: str) -> bool:
    """Not all that a resolver would take for one: that is its matter."""
    return ":" in host or re.fullmatch(r"[0-9]+(\.[0-9]+){3}", host) is not None


def _phones(call: SendCall, config: Config) -> tuple[dict[str, Recipient], tuple[str, ...]]:
    """Each phone once, in the order given: a ticket and a phone name one message."""
    if len(call.recipients) > MOST_RECIPIENTS:
        raise CallRefused(codes.RECIPIENTS, f"There are more than {MOST_RECIPIENTS} recipients in one call.")
    good: dict[str, Recipient] = {}
    bad: dict[str, None] = {}
    for one in call.recipients:
        phone = normalised(one.phone, config.prefix)
        if _PHONE.fullmatch(phone):
            good.setdefault(phone, one)
        elif one.phone.strip():
            bad.setdefault(one.phone.strip()[:50])
    if not good:
        raise CallRefused(codes.RECIPIENTS)
    return good, tuple(bad)


def _text(call: SendCall, one: Recipient, phone: str, number: Number, config: Config) -> str:
    text = call.text if call.name != "sendTemplateMessage" else _filled(call, one, phone, number, config)
    text = text.replace("\0", "")
    if not (text.strip() or call.media_urls) or len(text) > LONGEST:
        raise CallRefused(codes.MESSAGE)
    return text


def _filled(call: SendCall, one: Recipient, phone: str, number: Number, config: Config) -> str:
    template = config.templates.get(call.text.strip())
    if template is None:
        raise CallRefused(codes.TEMPLATE, "There is no template of this ID.")
    try:
        return templates.fill(template, {**dict(_known(call, phone, number)), **call.values, **one.values})
    except templates.MissingPlaceholder as error:
        raise CallRefused(codes.TEMPLATE, f"Placeholders without a value: {', '.join(error.names)}.") from None


def _known(call: SendCall, phone: str, number: Number) -> Iterator[tuple[str, str]]:
    """What every template can say."""
    said: Mapping[str, str] = {"title": number.title, "group": number.group, "code": number.shortcode}
    yield from said.items()
    yield "phone", phone
    yield "keyword", call.auth.keyword
    yield "custom_ticket", call.custom_ticket
