"""Message → endpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.routing.route import Route, ordering_key, route, wire_format
from schemas import FORMATS, Message, ReceiveContext
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
