"""Laws that hold for every text: a message that crosses to the other format and back is the same."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

from hypothesis import assume, given
from hypothesis import strategies as st

from schemas import FORMATS, FormatOptions, Message, NumberContext, ReceiveContext, carriers, enrich, segments
from tests import drawn
from tests.drawn import FORM

CALLBACK, STATUS, CARRIERX = (FORMATS[name] for name in ("legacy-callback", "legacy-status", "carrierx"))
NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
RECEIPT = ReceiveContext(now=NOW, sid="5f1c0f3e-8f3a-4b52-9d0e-3a1f5b7c9d11")
BOTH_SAY = ("direction", "from_", "to", "status", "user_data")
"""Beside these: the text of an inbound message, and the id of an outbound one where it is a UUID."""


def form(pairs: Mapping[str, str]) -> bytes:
    """The form as another library writes it."""
    return urlencode(pairs).encode()


def read(body: bytes) -> dict[str, str]:
    """The form as another library reads it."""
    return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True))


def without_nul(pairs: Mapping[str, str]) -> dict[str, str]:
    """NUL is dropped, as the format says."""
    return {name: value.replace("\0", "") for name, value in pairs.items()}


def said(message: Message, *names: str) -> dict[str, object]:
    return {name: getattr(message, name) for name in (*BOTH_SAY, *names)}


@given(drawn.callbacks, drawn.facts, drawn.shapes)
def test_callback_through_carrierx_is_the_same_ten_fields(
    ten: dict[str, str], known: NumberContext, shape: str
) -> None:
    message = enrich(CALLBACK.load(form(ten), FORM, RECEIPT), known)
    there = CARRIERX.dump(message, FormatOptions(shape=shape))
    back = enrich(CARRIERX.load(there.data, there.content_type, RECEIPT), known)
    assert read(CALLBACK.dump(back, FormatOptions()).data) == without_nul(ten)


@given(drawn.statuses, drawn.facts, drawn.shapes)
def test_status_through_carrierx_is_the_same_five_fields(
    five: dict[str, str], known: NumberContext, shape: str
) -> None:
    message = enrich(STATUS.load(form(five), FORM, RECEIPT), known)
    there = CARRIERX.dump(message, FormatOptions(shape=shape))
    back = enrich(CARRIERX.load(there.data, there.content_type, RECEIPT), known)
    assert read(STATUS.dump(back, FormatOptions()).data) == without_nul(five)
    assert back.message_sid == message.message_sid


@given(drawn.inbound, drawn.operators, st.just("") | drawn.numbers)
def test_text_through_the_form_is_the_same_message(
    text: Message, operator: tuple[int | None, int | None], code: str
) -> None:
    known = NumberContext(number=text.number, code=code)
    first = CARRIERX.dump(replace(text, mcc=operator[0], mnc=operator[1]), FormatOptions(shape="mms"))
    message = enrich(CARRIERX.load(first.data, first.content_type, RECEIPT), known)
    there = CALLBACK.dump(message, FormatOptions())
    back = enrich(CALLBACK.load(there.data, there.content_type, RECEIPT), known)
    assert said(back, "message", "phone", "number") == said(text, "message", "phone", "number")
    assert back.message_segments == segments.count(text.message or "")
    # A form has a name for an operator, and only who has exactly one code has the same code again.
    assert (back.mcc, back.mnc) == (operator if carriers.codes(carriers.name(*operator)) else (None, None))


@given(drawn.outbound, st.just("") | drawn.numbers)
def test_update_through_the_form_is_the_same_update(text: Message, code: str) -> None:
    known = NumberContext(number=text.number, code=code)
    first = CARRIERX.dump(text, FormatOptions(shape="mms"))
    message = enrich(CARRIERX.load(first.data, first.content_type, RECEIPT), known)
    there = STATUS.dump(message, FormatOptions())
    back = enrich(STATUS.load(there.data, there.content_type, RECEIPT), known)
    assert said(back, "message_sid", "phone", "number") == said(text, "message_sid", "phone", "number")


def sid(**five: str) -> str:
    """The `message_sid` of a status post; it depends on nothing but the post."""
    body = form({"sendTo": "15162065515", "status": "sent", **five})
    one, other = (STATUS.load(body, FORM, replace(RECEIPT, sid=str(uuid.uuid4()))).message_sid for _ in range(2))
    assert one == other
    return one


@given(drawn.words, drawn.numbers, drawn.numbers, drawn.words)
def test_message_sid_belongs_to_ticket_and_recipient(ticket: str, one: str, other: str, later: str) -> None:
    mine = sid(ticket=ticket, sendTo=one)
    assert uuid.UUID(mine).version == 5
    assert mine == sid(ticket=ticket, sendTo="+" + one, status=later, custom_ticket=later)
    assert (mine == sid(ticket=ticket, sendTo=other)) == (one == other)
    assert mine != sid(ticket=ticket + "x", sendTo=one)


@given(drawn.uuids, drawn.words, drawn.words)
def test_message_sid_is_the_ticket_or_stands_for_it(ticket: str, one: str, other: str) -> None:
    assert sid(ticket=ticket) == ticket
    assume(one.replace("\0", "") != other.replace("\0", ""))
    assert sid(custom_ticket=one) != sid(custom_ticket=other), "without a ticket the customer's own tells them apart"
