"""`CoreAPI`'s lists: pages, and servers whose counts are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses

from gateway.carrierx import AnswerLost, CoreAPI, Page
from gateway.carrierx.responses import all_items

BASE = "https://api.carrierx.com/core/v2"
MESSAGES = f"{BASE}/sms/messages"


@pytest.fixture
def api() -> CoreAPI:
    return CoreAPI(token="token-of-tests", retries=0)


def item(number: int) -> dict[str, Any]:
    return {"message_sid": f"sid-{number}", "from_did": "1", "user_data": str(number)}


def serve(page: Callable[[int, int], Any], url: str = MESSAGES) -> None:
    """Answers with the envelope that `page` makes of limit and offset."""

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        query = parse_qs(urlsplit(str(request.url)).query)
        return 200, {}, json.dumps(page(int(query["limit"][0]), int(query["offset"][0])))

    responses.add_callback("GET", url, answer)


def listing(whole: int, *, most: int = 1000, **said: Any) -> Callable[[int, int], Any]:
    """A server with `whole` messages, no more than `most` on a page. `said` stands in place of what is true."""

    def page(limit: int, offset: int) -> Any:
        items = [item(number) for number in range(whole)][offset : offset + min(limit, most)]
        true = {"count": len(items), "total": whole, "has_more": offset + len(items) < whole}
        return {"items": items, "limit": limit, "offset": offset, "pagination": {}} | true | said

    return page


def every_message(api: CoreAPI, limit: int = 1000) -> Iterator[dict[str, Any]]:
    return all_items(partial(api.messages, limit), "message_sid")


def sids(api: CoreAPI, limit: int = 1000) -> list[str]:
    return [one["message_sid"] for one in every_message(api, limit)]


@responses.activate
def test_a_page(api: CoreAPI) -> None:
    serve(listing(25))
    page = api.messages(limit=10, offset=20)
    assert (len(page.items), page.count, page.total, page.has_more) == (5, 5, 25, False)
    assert page.items[0]["from"] == "1" and "sid-" not in repr(page)


@pytest.mark.parametrize(("limit", "offset"), [(0, 0), (1001, 0), (10, -1)])
def test_a_page_that_there_cannot_be(api: CoreAPI, limit: int, offset: int) -> None:
    with pytest.raises(ValueError):
        api.messages(limit, offset)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 25, 30])
@pytest.mark.parametrize(
    "said",
    [
        {},
        {"total": None},
        {"has_more": None},
        {"total": None, "has_more": None, "count": None},
        {"total": "odd", "has_more": "odd", "count": True},
    ],
)
@responses.activate
def test_every_one(api: CoreAPI, count: int, said: dict[str, Any]) -> None:
    serve(listing(count, **said))
    assert sids(api, limit=10) == [f"sid-{number}" for number in range(count)]


@responses.activate
def test_a_server_that_gives_less_than_was_asked_for(api: CoreAPI) -> None:
    serve(listing(25, most=7))
    assert len(sids(api)) == 25


@responses.activate
def test_more_is_asked_for_where_the_total_says_so(api: CoreAPI) -> None:
    serve(listing(25, has_more=False))
    assert len(sids(api, limit=10)) == 25


@responses.activate
def test_the_vendors_sample_has_more_of_one(api: CoreAPI) -> None:
    serve(listing(1, has_more=True))
    assert sids(api) == ["sid-0"]


@responses.activate
def test_what_moves_down_while_it_is_read_comes_once(api: CoreAPI) -> None:
    def page(limit: int, offset: int) -> Any:
        count = 10 + offset // 5  # one new message, at the top, with every page
        everything = [item(number) for number in reversed(range(count))]
        return {"items": everything[offset : offset + 5], "has_more": offset + 5 < count}

    serve(page)
    assert sorted(sids(api)) == sorted(f"sid-{number}" for number in range(10))


@pytest.mark.parametrize(
    "said", [{"has_more": True}, {"has_more": True, "total": None}, {"total": None, "has_more": None}]
)
@responses.activate
def test_a_server_that_repeats_a_page_does_not_keep_us(api: CoreAPI, said: dict[str, Any]) -> None:
    first = listing(5)(5, 0)
    serve(lambda limit, offset: first | {"total": 10**9} | said)
    found = every_message(api, 5)
    assert len([next(found) for _ in range(5)]) == 5
    with pytest.raises(AnswerLost, match="repeats itself"):
        next(found)
    assert len(responses.calls) < 10


@responses.activate
def test_more_that_never_comes(api: CoreAPI) -> None:
    serve(listing(5, has_more=True, total=None))
    with pytest.raises(AnswerLost, match="gives nothing from item 5 on"):
        sids(api)


@pytest.mark.parametrize("body", [{}, {"items": None}, {"items": {}}, {"items": [1]}, {"items": [None]}])
@responses.activate
def test_what_is_no_list(api: CoreAPI, body: Any) -> None:
    serve(lambda limit, offset: body)
    with pytest.raises(AnswerLost, match="no list of objects"):
        api.messages()


@responses.activate
def test_items_without_a_sid_are_told_apart_by_what_they_say(api: CoreAPI) -> None:
    serve(lambda limit, offset: {"items": [{"message": "a"}, {"message": "b"}, {"message": "a"}], "has_more": False})
    assert [one["message"] for one in every_message(api)] == ["a", "b"]


@responses.activate
def test_dids_and_groups(api: CoreAPI) -> None:
    for name, sid in (("dids", "did_sid"), ("did_groups", "did_group_sid")):
        items = [{sid: f"{name}-{number}"} for number in range(3)]
        page = {"items": items, "count": 3, "total": 3, "has_more": False}
        serve(lambda limit, offset, page=page: page, f"{BASE}/phonenumber/{name}")  # type: ignore[misc]
    assert [one["did_sid"] for one in api.every_did()] == ["dids-0", "dids-1", "dids-2"]
    assert [one["did_group_sid"] for one in api.every_did_group()] == ["did_groups-0", "did_groups-1", "did_groups-2"]
    assert isinstance(api.dids(2, 0), Page) and len(api.did_groups().items) == 3
