"""Message → endpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.routing.explain import explain
from gateway.routing.route import (
    HOPS,
    Route,
    build_deliveries,
    dump_message,
    load_message,
    ordering_key,
    route,
    wire_format,
)
from schemas import FORMATS, Body, CannotSay, FormatOptions, Message, NumberContext, ReceiveContext
from tests import acme


def read(body: bytes, source: str = "carrierx") -> Message:
    return FORMATS[source].load(body, None, ReceiveContext(now=acme.NOW, sid="0d9c1d3e-2b7f-4f6e-9d35-0f0e6a1b2c3d"))


def routed(tmp_path: Path, body: bytes, source: str = "carrierx") -> Route:
    return route(read(body, source), acme.config(tmp_path))


def names(found: Route) -> list[str]:
    return [endpoint.name for endpoint in found.endpoints]


def test_a_text_goes_where_its_keyword_says(tmp_path: Path) -> None:
    found = routed(tmp_path, acme.text(message="“Join” us"))
    assert names(found) == ["page", "app"] and found.keyword and found.keyword.word == "JOIN"


def test_an_alias_is_the_keyword(tmp_path: Path) -> None:
    config = acme.config(tmp_path)
    found = route(read(acme.text(message="signup")), config)
    facts = found.number_context(config, "ticket-1")
    assert (facts.keyword, facts.title, facts.group) == ("JOIN", "Summer sign-up", "Acme")
    assert (facts.number, facts.code, facts.default_keyword) == ("15162065919", "12345", "ACME1234")
    assert facts.custom_ticket == "ticket-1" and facts.partner_sid == "66352290-bd20-4ed0-a403-8c00792f15b8"


def test_a_text_without_keyword_goes_to_the_number(tmp_path: Path) -> None:
    config = acme.config(tmp_path)
    found = route(read(acme.text(message="hello")), config)
    assert (
        names(found) == ["app"]
        and found.number_context(config).title == "Acme alerts"
        and not found.number_context(config).keyword
    )


@pytest.mark.parametrize("body", [acme.text(message="hello"), acme.text(message="join"), acme.update()])
def test_an_endpoint_that_is_named_twice_is_called_once(tmp_path: Path, body: bytes) -> None:
    config = acme.config(tmp_path)
    twice = ("page", "app", "page")
    (keyword,) = config.numbers[0].keywords
    keyword = replace(keyword, callback=twice)
    number = replace(config.numbers[0], callback=twice, status=twice, keywords=(keyword,))
    assert names(route(read(body), replace(config, numbers=(number,)))) == ["page", "app"]


def test_what_the_platform_says_matched_goes_before_the_text(tmp_path: Path) -> None:
    assert names(routed(tmp_path, acme.keyword_callback(message="hello", keyword="join"), "legacy-callback")) == [
        "page",
        "app",
    ]


def test_a_keyword_that_is_not_configured_leaves_it_to_the_text(tmp_path: Path) -> None:
    found = routed(tmp_path, acme.keyword_callback(message="join", keyword="ACME1234"), "legacy-callback")
    assert found.keyword and found.keyword.word == "JOIN"


def test_updates_go_to_the_status_endpoints(tmp_path: Path) -> None:
    assert names(routed(tmp_path, acme.update())) == ["page", "app"]
    assert names(routed(tmp_path, acme.status_post(), "legacy-status")) == ["page", "app"]


@pytest.mark.parametrize("to", ["15550001111", "99999"])
def test_an_unknown_number_goes_nowhere(tmp_path: Path, to: str) -> None:
    config = acme.config(tmp_path)
    found = route(read(acme.text(to_did=to)), config)
    assert found.number is None and not found.endpoints and found.number_context(config).number == ""


def test_a_keyword_without_endpoints_goes_nowhere(tmp_path: Path) -> None:
    assert not routed(tmp_path, acme.text(to_did="15162065900", message="nowhere")).endpoints


def test_kinds_and_ordering_keys(tmp_path: Path) -> None:
    endpoints = acme.config(tmp_path).endpoints
    came, went = read(acme.text()), read(acme.update())
    assert [wire_format(endpoints[name], came) for name in ("page", "app")] == ["legacy-callback", "carrierx"]
    assert [wire_format(endpoints[name], went) for name in ("page", "app")] == ["legacy-status", "carrierx"]
    assert ordering_key(endpoints["page"], came) == ordering_key(
        endpoints["page"], read(acme.text(message_sid="another"))
    )
    assert ordering_key(endpoints["page"], came) != ordering_key(endpoints["app"], came)
    for another in (acme.text(from_did="15162065516"), acme.text(to_did="15162065900")):
        assert ordering_key(endpoints["page"], came) != ordering_key(endpoints["page"], read(another)), (
            "another conversation"
        )
    assert ordering_key(endpoints["page"], went) != ordering_key(
        endpoints["page"], read(acme.update(message_sid="another"))
    )


def test_every_route_says_why(tmp_path: Path) -> None:
    said = {
        "keyword": routed(tmp_path, acme.text(message="join")).why,
        "platform": routed(tmp_path, acme.keyword_callback(message="hello", keyword="join"), "legacy-callback").why,
        "number": routed(tmp_path, acme.text(message="hello")).why,
        "update": routed(tmp_path, acme.update()).why,
        "unknown": routed(tmp_path, acme.text(to_did="99999")).why,
    }
    assert said == {
        "keyword": 'the first word is "JOIN"',
        "platform": "The platform says that this keyword matched.",
        "number": "No keyword matches: it goes to the number's own callback endpoints.",
        "update": "Status updates go to the number's status endpoints.",
        "unknown": "No number or short code of the configuration is the one that was texted.",
    }


def test_a_picture_without_a_text_matches_no_keyword(tmp_path: Path) -> None:
    config = acme.config(tmp_path, more='[[number.keyword]]\nword = "X"\nmatch = "prefix"\ncallback = ["page"]\n')
    found = route(read(acme.text(to_did="15162065900", message=None)), config)
    assert found.number and found.keyword is None and names(found) == []


def test_what_the_configuration_adds(tmp_path: Path) -> None:
    config = acme.config(tmp_path)
    partner = "66352290-bd20-4ed0-a403-8c00792f15b8"
    unknown = route(read(acme.text(to_did="99999")), config)
    assert unknown.number_context(config) == NumberContext(partner_sid=partner)
    assert unknown.number_context(config, "order-7") == NumberContext(custom_ticket="order-7", partner_sid=partner)
    assert route(read(acme.update()), config).number_context(config) == NumberContext(
        number="15162065919",
        code="12345",
        default_keyword="ACME1234",
        group="Acme",
        title="Acme alerts",
        partner_sid=partner,
    )


def test_a_body_is_read_routed_and_completed(tmp_path: Path) -> None:
    config = acme.config(tmp_path)
    context = ReceiveContext(now=acme.NOW, sid="0d9c1d3e-2b7f-4f6e-9d35-0f0e6a1b2c3d")
    message, found = load_message(acme.text(message="join"), "application/json", "carrierx", context, config)
    assert names(found) == ["page", "app"]
    assert (message.title, message.code, message.carrier) == ("Summer sign-up", "12345", "T-Mobile US")
    form = "application/x-www-form-urlencoded; charset=koi8-r"
    body = acme.keyword_callback().replace(b"%C3%A9", b"%E9").replace(b"%F0%9F%8E%89", b"")
    message, _ = load_message(body, form, "legacy-callback", context, config)
    assert message.message == "join И  &=+%"
    assert message.message_sid == context.sid


GROUP = {"to": "15162065515", "group_recipients": ["15162065515", "15162065516"]}


def test_a_status_post_has_room_for_one_recipient() -> None:
    message = read(acme.update(**GROUP))
    options = FormatOptions()
    phones = [b"sendTo=15162065515&", b"sendTo=15162065516&"]
    bodies = dump_message(message, "legacy-status", options)
    assert len(bodies) == 2 and all(phone in body.data for phone, body in zip(phones, bodies, strict=True))
    (whole,) = dump_message(message, "carrierx", options)
    assert json.loads(whole.data)["group_recipients"] == GROUP["group_recipients"]
    (national,) = dump_message(read(acme.update()), "legacy-status", FormatOptions(phone="national"))
    assert b"sendTo=5162065515&" in national.data


def test_what_a_message_owes_each_endpoint(tmp_path: Path) -> None:
    config = acme.config(tmp_path)
    drafts = build_deliveries(read(acme.update(**GROUP)), route(read(acme.update()), config).endpoints, hops=2)
    assert [(draft.owed.endpoint, draft.owed.wire_format, draft.recipients) for draft in drafts] == [
        ("page", "legacy-status", ("15162065515",)),
        ("page", "legacy-status", ("15162065516",)),
        ("app", "carrierx", ("15162065515", "15162065516")),
    ]
    message = read(acme.update())
    for draft in drafts:
        body = draft.owed.body
        assert isinstance(body, Body) and (HOPS, "3") in body.headers
        assert draft.owed.ordering_key == ordering_key(config.endpoints[draft.owed.endpoint], message)
        assert body.content_type.startswith("application/json" if draft.owed.endpoint == "app" else "application/x-www")
        assert b"15162065515" in body.data or draft.recipients == ("15162065516",)


def test_the_header_of_hops_is_the_one_that_a_gateway_reads() -> None:
    assert HOPS == "X-Gateway-Hops"


def test_the_notes_of_a_body_are_kept(tmp_path: Path) -> None:
    config = acme.config(tmp_path)
    page = config.endpoints["page"]
    page = replace(page, format_options=replace(page.format_options, charset="iso-8859-1"))
    (draft,) = build_deliveries(read(acme.text(message="join 🎉")), [page], hops=0)
    body = draft.owed.body
    assert isinstance(body, Body) and body.notes


def test_a_body_that_cannot_be_written_says_why_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Body:
        raise CannotSay("There is no such thing.")

    config = acme.config(tmp_path)
    refusing = dict(FORMATS) | {"legacy-callback": replace(FORMATS["legacy-callback"], dump=refuse)}
    monkeypatch.setattr("gateway.routing.route.FORMATS", refusing)
    page, app = build_deliveries(read(acme.text()), [config.endpoints["page"], config.endpoints["app"]], hops=0)
    assert isinstance(page.owed.body, CannotSay) and str(page.owed.body) == "There is no such thing."
    assert page.recipients == ("15162065919",) and isinstance(app.owed.body, Body)


def test_a_route_is_explained(tmp_path: Path) -> None:
    config = acme.config(tmp_path, more='[[number.keyword]]\nword = "NO"\nmatch = "prefix"\ncallback = ["page"]\n')
    first, second = config.numbers
    found = explain("signup now", first, config)
    assert found.number is first and found.match and found.match.form == "SIGNUP"
    assert [endpoint.name for endpoint in found.endpoints] == ["page", "app"]
    assert found.losers == () and found.perhaps == ()
    found = explain("nowhere", second, config)
    assert found.match and found.match.keyword.word == "NOWHERE" and found.endpoints == ()
    assert [(match.keyword.word, why) for match, why in found.losers] == [
        ("NO", 'match = "word" is more exact than match = "prefix"')
    ]
    found = explain("jion", first, config)
    assert found.match is None and found.losers == () and found.perhaps == ('"jion" is much like "JOIN"',)
    assert [endpoint.name for endpoint in found.endpoints] == ["app"]
