"""The legacy calls as data: arguments → `SendCall` or `StatusQuery`, and plain form posts ⇄ arguments and answers.

The arguments of a call, whether it came by SOAP or as a form::

    [("auth", [("username", "acme"), …]), ("message", "Hello"), ("recipientList", [("recipients", [("sendTo", …)])]), …]
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Union
from urllib.parse import urlencode

from gateway.outbound.model import CallAnswer, CallCredentials, Recipient, SendCall, StatusQuery, StatusRow
from schemas import credentials, wire

Value = Union[str, "Pairs"]
Pairs = Sequence[tuple[str, Value]]
CallResult = CallAnswer | list[StatusRow]  # an answer, or the rows of a query that found some
Fields = dict[str, bool | int | str]

_COMMON = ("recipientList", "custom_ticket", "status_url")
OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "sendMessage": ("auth", "message", *_COMMON),
    "sendTemplateMessage": ("auth", "template", *_COMMON),
    "getTransactionStatus": ("auth", "transaction_ticket_id", "sentTo"),
    "getCustomTransactionStatus": ("auth", "custom_ticket", "sentTo"),
}
"""Every operation with its arguments, in their order. Names that the vendor does not document are our choice."""
QUERIES = frozenset(("getTransactionStatus", "getCustomTransactionStatus"))

_USER = ("username", "user_name")
SECRETS = frozenset((*_USER, "password", "api_key"))  # lower-case names of arguments whose values are not kept
_CODE = ("code", "shortcode")
_RESERVED = frozenset(
    (*SECRETS, *_CODE, "keyword", "auth", "message", "template", "custom_ticket", "status_url")
    + ("sentto", "sendto", "type")
)
_SENDER = frozenset((*SECRETS, *_CODE, "keyword", "custom_ticket"))
MAX_SENDER_BYTES = 16 * 1024
MAX_SENDER_NAME_BYTES = 256
_PHONE_NAMES = frozenset(("recipientlist", "recipients", "recipient", "item", "sendto", "string", ""))
"""Names under which a bare phone number may stand."""
_SEPARATORS = re.compile(r"[,;\r\n]+")

FORM = f"{wire.FORM}; charset=UTF-8"
JSON = "application/json"
# recipientList[recipients][0][sendTo], recipients[0][sendTo], recipientList[0][sendTo]
_RECIPIENT = re.compile(r"(?:recipientList|recipients)(?:\[recipients\])?\[([^\[\]]*)\]\[([^\[\]]+)\]", re.IGNORECASE)
# sendTo, sendTo[], sendTo[0]; recipients, recipients[0], recipientList[recipients][0]
_PHONE = re.compile(r"(?:sendTo|recipients|recipientList\[recipients\])(?:\[[0-9]*\])?", re.IGNORECASE)
_AUTH = re.compile(r"auth\[([^\[\]]+)\]", re.IGNORECASE)


def send_call(name: str, arguments: Pairs, body: bytes, content_type: str, remote: str, now: datetime) -> SendCall:
    """Reads the arguments of `sendMessage` or `sendTemplateMessage`. `body`: of the request, as it may be kept."""
    return SendCall(
        name=name,
        auth=call_credentials(arguments),
        text=_first(arguments, "template" if name == "sendTemplateMessage" else "message"),
        values=_template_values(arguments),
        recipients=tuple(
            recipient
            for outer, value in arguments
            if outer.lower() in ("recipientlist", "recipients", "sendto")
            for recipient in _recipients(outer, value)
        ),
        custom_ticket=_unwrapped(_first(arguments, "custom_ticket")),
        status_url=_first(arguments, "status_url").strip(),
        body=body,
        content_type=content_type,
        remote=remote,
        now=now,
    )


def status_query(name: str, arguments: Pairs) -> StatusQuery:
    """Reads the arguments of `getTransactionStatus` or, by the caller's own ticket, `getCustomTransactionStatus`."""
    is_custom = name == "getCustomTransactionStatus"
    return StatusQuery(
        auth=call_credentials(arguments),
        ticket="" if is_custom else _first(arguments, "transaction_ticket_id", "ticket").strip(),
        custom_ticket=_unwrapped(_first(arguments, "custom_ticket")) if is_custom else "",
        phone=_first(arguments, "sentTo", "sendTo").strip(),
    )


def call_credentials(arguments: Pairs) -> CallCredentials:
    """Reads the structure `auth`; without one, the arguments themselves."""
    structures = (value for name, value in arguments if name.lower() == "auth" and not isinstance(value, str))
    arguments = next(structures, arguments)
    return CallCredentials(
        username=_unwrapped(_first(arguments, *_USER)),
        password=_unwrapped(_first(arguments, "password")),
        api_key=_unwrapped(_first(arguments, "api_key")),
        code=_first(arguments, *_CODE).strip(),
        keyword=_first(arguments, "keyword").strip(),
    )


def _unwrapped(value: str) -> str:
    """Strips the line breaks of indented XML. Blanks alone may belong to the value."""
    return value.strip() if "\n" in value else value


def _first(arguments: Pairs, *names: str) -> str:
    """Returns the first value with any of these names, in upper or lower case; an earlier name takes precedence."""
    for wanted in names:
        for name, value in arguments:
            if name.lower() == wanted.lower() and isinstance(value, str):
                return value
    return ""


def _template_values(pairs: Pairs) -> dict[str, str]:
    """Returns what has no other meaning: values for a template's placeholders."""
    return {name: value for name, value in reversed(pairs) if isinstance(value, str) and name.lower() not in _RESERVED}


def _recipients(name: str, value: Value) -> Iterator[Recipient]:
    """Finds recipients at any depth, in any kind of array or in none."""
    if isinstance(value, str):
        if name.lower() in _PHONE_NAMES or name.isdigit():
            yield from (Recipient(phone=phone) for phone in _SEPARATORS.split(value) if phone.strip())
        return
    phone = _first(value, "sendTo")
    if phone:
        yield Recipient(phone=phone, values=_template_values(value))
        return
    for inner, below in value:
        yield from _recipients(inner, below)


def read_form(body: bytes, content_type: str | None) -> Pairs:
    """Reads a form post: the first value of each name, and all recipients. Raises `BadCallback`."""
    plain: dict[str, str] = {}
    phones: list[tuple[str, str]] = []
    groups: dict[str, dict[str, str]] = {}
    for name, value in wire.read_form(body, content_type).pairs:
        name = name.strip()
        if _PHONE.fullmatch(name):
            phones.append(("sendTo", value))
        elif found := _RECIPIENT.fullmatch(name):
            index, field = found[1], found[2]
            if index:
                group = groups.setdefault(f"[{index}]", {})
            else:  # with ``[]`` for an index, each name that comes again begins another recipient
                last = groups.get(str(len(groups)))
                group = last if last is not None and field not in last else groups.setdefault(str(len(groups) + 1), {})
            group.setdefault(field, value)
        else:
            inner = _AUTH.fullmatch(name)
            plain.setdefault(inner[1] if inner else name, value)
    return [*plain.items(), *phones, *(("recipients", list(group.items())) for group in groups.values())]


def read_sender(body: bytes, content_type: str | None) -> Pairs | None:
    """Reads what a form post says of its sender, and the caller's own ticket: no other value is decoded, and no name
    longer than `MAX_SENDER_NAME_BYTES`. Empty where that is too much; None where it takes reading the whole form."""
    if wire.is_multipart(content_type) or body.count(b"&") >= wire.MAX_PAIRS:
        return None
    found = []
    for pair in body.split(b"&"):
        name = pair[: MAX_SENDER_NAME_BYTES + 1].partition(b"=")[0]
        is_short = len(name) <= MAX_SENDER_NAME_BYTES
        if is_short and credentials.inner_name(credentials.decode_name(name)).lower() in _SENDER:
            found.append(pair)
    few = b"&".join(found)
    return read_form(few, content_type) if len(few) <= MAX_SENDER_BYTES else []


def write_answer(name: str, result: CallResult, as_json: bool) -> bytes:
    """Writes an answer as JSON or as a form.
    Rows are a list in JSON; in a form their names are such that PHP reads a list (``recipients[0][sendTo]``)."""
    fields: dict[str, object] = {**answer_fields(name, result)}
    rows = [row_fields(row) for row in result] if isinstance(result, list) else []
    if as_json:
        if name in QUERIES:
            fields["recipients"] = rows
        return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")
    for at, row in enumerate(rows):
        fields |= {f"recipients[{at}][{field}]": value for field, value in row.items()}
    # Booleans are 1 and 0, which both PHP and ASP read as such.
    pairs = [(field, int(value) if isinstance(value, bool) else value) for field, value in fields.items()]
    return urlencode(pairs, encoding="utf-8", errors="replace").encode()


def answer_fields(name: str, result: CallResult) -> Fields:
    """The fields of an answer, in their order. Only calls that send have tickets in it."""
    answer = CallAnswer(result=True) if isinstance(result, list) else result
    fields: Fields = {"result": answer.result, "error_code": answer.error_code, "message": answer.message}
    return fields if name in QUERIES else fields | {"custom_ticket": answer.custom_ticket, "ticket": answer.ticket}


def row_fields(row: StatusRow) -> Fields:
    return {
        "sendTo": row.phone,
        "status_code": row.status_code,
        "status_message": row.status_message,
        "result": row.result,
    }
