"""Fields that are called one by one give the values and faults that marshmallow's own `load` gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import fields as attributes
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing, validate

from schemas import Message, carrierx, legacy
from schemas.fields import Fieldwise, PhoneNumber, Price, Text, Timestamp, Whole, number, timestamp
from schemas.message import replace as message_replace
from tests import drawn


class Order(Schema):
    """One field of each kind."""

    class Meta:
        unknown = EXCLUDE

    sender = PhoneNumber(required=True, data_key="from")
    kind = Text(required=True, validate=validate.OneOf(("inbound", "outbound")))
    name = Text(load_default="", validate=validate.Length(1, 3))
    count = Whole(allow_none=True)
    price = Price(allow_none=True)
    created = Timestamp(allow_none=True, load_default=None)


SPELLED = ("from", "kind", "name", "count", "price", "created", "more")
values = (
    drawn.json_values
    | st.sampled_from(("inbound", "15162065515", "2026-03-01T12:00:00Z", 5, -5, "7", True, Decimal("0.10"), 10**12))
    | st.text(max_size=5)
)
bodies = st.dictionaries(st.sampled_from(SPELLED), values) | st.fixed_dictionaries(
    {"from": drawn.handsets, "kind": st.sampled_from(("inbound", "outbound"))},
    optional=dict.fromkeys(SPELLED[2:], values),
)


def outcome(load: Callable[..., object], *given: object) -> object:
    try:
        return load(*given)
    except ValidationError as error:
        return error.messages


@given(bodies)
def test_field_by_field_is_what_the_schema_says(body: Mapping[str, Any]) -> None:
    assert outcome(Fieldwise(Order()).load, body) == outcome(Order().load, body)


@given(st.sampled_from(tuple(Order().fields.values())), values | st.just(missing))
def test_a_field_is_what_marshmallow_makes_of_it(field: fields.Field[Any], value: object) -> None:
    def usual(given: object) -> object:
        return fields.Field.deserialize(field, given, "name", {})

    assert outcome(field.deserialize, value, "name", {}) == outcome(usual, value)


@pytest.mark.parametrize("schema", [Order, legacy.CALLBACK.schema, legacy.STATUS.schema, carrierx.Attributes])
def test_no_field_has_what_is_not_asked_for(schema: type[Schema]) -> None:
    for field in schema().fields.values():
        assert len(field.validators) <= 1 and not field.pre_load and not field.post_load
        assert not callable(field.load_default)


@given(drawn.inbound | drawn.outbound, st.text(max_size=5), drawn.numbers)
def test_a_message_with_other_values(message: Message, text: str, number: str) -> None:
    before = {one.name: getattr(message, one.name) for one in attributes(message)}
    assert message_replace(message, message=text, to=number) == replace(message, message=text, to=number)
    assert {one.name: getattr(message, one.name) for one in attributes(message)} == before


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2026-03-01T12:00:00", "2026-03-01T12:00:00.000Z"),
        ("2026-03-01 12:00:00,25", "2026-03-01T12:00:00.250Z"),
        ("2026-03-01t12:00:00.5z", "2026-03-01T12:00:00.500Z"),
        ("2026-03-01T12:00:00+02:00", "2026-03-01T10:00:00.000Z"),
    ],
)
def test_the_time_zone_of_the_machine_does_not_count(text: str, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        moment = Timestamp().deserialize(text)
        assert moment.tzinfo is UTC and timestamp(moment) == written
        assert timestamp(moment.astimezone(timezone(timedelta(hours=-3)))) == written
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_plus_says_that_the_country_code_is_there() -> None:
    assert number("+516-206-5919", "1") == "5162065919" and number("516-206-5919", "1") == "15162065919"
    assert PhoneNumber().deserialize(0) == "0"
