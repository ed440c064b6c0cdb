"""The legacy calls as plain form posts: fields → what was said, and answers as a form or as JSON."""

from __future__ import annotations

import json
import re
from urllib.parse import urlencode

from gateway.outbound.model import CallAnswer, StatusRow
from gateway.web.legacy_forms import Pairs
from schemas import wire

FORM = f"{wire.FORM}; charset=UTF-8"
JSON = "application/json"

# recipientList[recipients][0][sendTo], recipients[0][sendTo], recipientList[0][sendTo]
_RECIPIENT = re.compile(r"(?:recipientList|recipients)(?:\[recipients\])?\[([^\[\]]*)\]\[([^\[\]]+)\]", re.IGNORECASE)
# sendTo, sendTo[], sendTo[0]; recipients, recipients[0], recipientList[recipients][0]
_PHONE = re.compile(r"(?:sendTo|recipients|recipientList\[recipients\])(?:\[[0-9]*\])?", re.IGNORECASE)
_AUTH = re.compile(r"auth\[([^\[\]]+)\]", re.IGNORECASE)


def read(body: bytes, content_type: str | None) -> Pairs:
    """What a form says, the first value of each name but for recipients. Raises `BadCallback`."""
    plain: dict[str, str] = {}
    phones: list[tuple[str, str]] = []
    groups: dict[str, dict[str, str]] = {}
    for name, value in wire.read_form(body, content_type).pairs:
        name = name.strip()
        if _PHONE.fullmatch(name):
            phones.append(("sendTo", value))
        elif found := _RECIPIENT.fullmatch(name):
            _group(groups, found[1], found[2]).setdefault(found[2], value)
        else:
            inner = _AUTH.fullmatch(name)
            plain.setdefault(inner[1] if inner else name, value)
    return [*plain.items(), *phones, *(("recipients", list(one.items())) for one in groups.values())]


def _group(groups: dict[str, dict[str, str]], index: str, name: str) -> dict[str, str]:
    """The recipient of that index. Without one (``[]``), each name that comes again begins another recipient."""
    if index:
        return groups.setdefault(f"[{index}]", {})
    last = groups.get(str(len(groups)))
    return last if last is not None and name not in last else groups.setdefault(str(len(groups) + 1), {})


def sent(answer: CallAnswer, as_json: bool) -> bytes:
    """What `sendMessage` and `sendTemplateMessage` are answered."""
    said = {**_of(answer), "custom_ticket": answer.custom_ticket, "ticket": answer.ticket}
    return _json(said) if as_json else _form(said)


def known(rows: list[StatusRow], as_json: bool) -> bytes:
    """What a query is answered: JSON has a list, the form names that PHP reads as one (``recipients[0][sendTo]``)."""
    return _status(CallAnswer(result=True), rows, as_json)


def unknown(answer: CallAnswer, as_json: bool) -> bytes:
    """What a query is answered that has no rows."""
    return _status(answer, [], as_json)


def _status(answer: CallAnswer, rows: list[StatusRow], as_json: bool) -> bytes:
    listed = [_row(row) for row in rows]
    if as_json:
        return _json({**_of(answer), "recipients": listed})
    flat = {f"recipients[{at}][{name}]": value for at, row in enumerate(listed) for name, value in row.items()}
    return _form({**_of(answer), **flat})


def _of(answer: CallAnswer) -> dict[str, object]:
    return {"result": answer.result, "error_code": answer.error_code, "message": answer.message}


def _row(row: StatusRow) -> dict[str, object]:
    return {
        "sendTo": row.phone,
        "status_code": row.status_code,
        "status_message": row.status_message,
        "result": row.result,
    }


def _json(said: dict[str, object]) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode("utf-8", "replace")


def _form(said: dict[str, object]) -> bytes:
    """Truth values are 1 and 0: both PHP and ASP take these for what they are."""
    pairs = [(name, int(value) if isinstance(value, bool) else value) for name, value in said.items()]
    return urlencode(pairs, encoding="utf-8", errors="replace").encode()
