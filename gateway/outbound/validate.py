"""Checks of a legacy call, before anything of it is accepted. Nothing here reads the store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.config import Config, Number
from gateway.matching import templates
from gateway.outbound.model import CallAnswer, CallCredentials, ErrorCode, Recipient, SendCall
from gateway.safe_http.ssrf import check_address, check_url, host_and_port
from schemas.fields import number as normalised

MAX_TEXT_CHARACTERS = 1600  # no phone gets a longer text whole
MAX_RECIPIENTS = 1000
MAX_CUSTOM_TICKET_BYTES = 200  # status queries search by it
_PHONE = re.compile(r"[0-9]{7,15}")
_IPV4 = re.compile(r"[0-9]+(\.[0-9]+){3}")


class CallRefused(Exception):
    """The caller must act. `detail` is for the operator, and holds neither text nor secret."""

    def __init__(self, code: ErrorCode, detail: str = "") -> None:
        self.code, self.detail = code, detail or code.sentence
        super().__init__(self.detail)

    def answer(self, custom_ticket: str = "", ticket: str = "") -> CallAnswer:
        # The event has the reason; of these two the caller is told one general sentence.
        is_general = self.code in (ErrorCode.CREDENTIALS, ErrorCode.STATUS_URL)
        return CallAnswer(
            result=False,
            error_code=self.code.value,
            message=self.code.sentence if is_general else self.detail,
            custom_ticket=custom_ticket,
            ticket=ticket,
        )


@dataclass(frozen=True, slots=True)
class CheckedCall:
    """A call that may be accepted."""

    number: Number
    texts: Mapping[str, str]  # phone → its text, in the order given
    bad: tuple[str, ...]  # recipients that are no phone numbers, as they were given; there are others that are


def is_authentic(auth: CallCredentials, config: Config) -> bool:
    """Says whether `authenticate` lets this caller in."""
    try:
        authenticate(auth, config)
    except CallRefused:
        return False
    return True


def authenticate(auth: CallCredentials, config: Config) -> None:
    """Raises `CallRefused`."""
    expected = config.legacy
    if expected is None or not (expected.password or expected.api_key):
        raise CallRefused(ErrorCode.CREDENTIALS, "[legacy] has neither password nor api_key, so nobody may send by it.")
    if not expected.match(auth.username, auth.password, auth.api_key):
        raise CallRefused(ErrorCode.CREDENTIALS)


def check(call: SendCall, config: Config) -> CheckedCall:
    """Raises `CallRefused` with the first fault."""
    number = config.number_for(call.auth.code)
    if number is None:
        raise CallRefused(ErrorCode.CODE)
    if len(call.custom_ticket.encode("utf-8", "replace")) > MAX_CUSTOM_TICKET_BYTES:
        raise CallRefused(ErrorCode.CUSTOM_TICKET)
    if call.status_url:
        _check_status_url(call.status_url, config)
    good, bad = _phones(call, config)
    texts = {phone: _text(call, recipient, phone, number, config) for phone, recipient in good.items()}
    return CheckedCall(number, texts, bad)


def _check_status_url(url: str, config: Config) -> None:
    fault = check_url(url)
    if fault is None:
        host, port = host_and_port(url)
        # Only plain addresses: the address behind a name, or behind another spelling, is judged at the connection.
        if ":" in host or _IPV4.fullmatch(host):
            fault = check_address(host, port, free_form=True, allow_networks=config.allow_networks)
    if fault:
        raise CallRefused(ErrorCode.STATUS_URL, f"status_url: {fault}.")


def _phones(call: SendCall, config: Config) -> tuple[dict[str, Recipient], tuple[str, ...]]:
    """Each phone once, in the order given: a ticket and a phone identify one message. And those that are none."""
    if len(call.recipients) > MAX_RECIPIENTS:
        raise CallRefused(ErrorCode.RECIPIENTS, f"There are more than {MAX_RECIPIENTS} recipients in one call.")
    good: dict[str, Recipient] = {}
    bad: dict[str, None] = {}
    for recipient in call.recipients:
        phone = normalised(recipient.phone, config.prefix)
        if _PHONE.fullmatch(phone):
            good.setdefault(phone, recipient)
        elif recipient.phone.strip():
            bad.setdefault(recipient.phone.strip()[:50])
    if not good:
        raise CallRefused(ErrorCode.RECIPIENTS)
    return good, tuple(bad)


def _text(call: SendCall, recipient: Recipient, phone: str, number: Number, config: Config) -> str:
    text = call.text
    if call.name == "sendTemplateMessage":
        template = config.templates.get(call.text.strip())
        if template is None:
            raise CallRefused(ErrorCode.TEMPLATE, "There is no template of this ID.")
        values = {
            "title": number.title,
            "group": number.group,
            "code": number.shortcode,
            "phone": phone,
            "keyword": call.auth.keyword,
            "custom_ticket": call.custom_ticket,
        }
        try:
            text = templates.fill(template, {**values, **call.values, **recipient.values})
        except templates.MissingPlaceholder as error:
            detail = f"Placeholders without a value: {', '.join(error.names)}."
            raise CallRefused(ErrorCode.TEMPLATE, detail) from None
    text = text.replace("\0", "")
    if not (text.strip() or call.media_urls) or len(text) > MAX_TEXT_CHARACTERS:
        raise CallRefused(ErrorCode.MESSAGE)
    return text
