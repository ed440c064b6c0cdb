"""The stand-in's Core API: what a caller of CarrierX sees, by the vendor's documents."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from gateway.sandbox.carrierx import PARTNER, Setup, make_carrierx
from gateway.sandbox.carrierx.model import GROUP
from schemas.carrierx import MMS_SHAPE, SMS_SHAPE

MESSAGES = "/core/v2/sms/messages"
OLD = {"from_did": "15162065575", "to_did": "15162065574", "message": "This is a test message"}
NEW = {"from": "15162065575", "to": "15162065574", "message": "This is a test message"}


@pytest.fixture
def core() -> FlaskClient:
    return client()


def client(**setup: Any) -> FlaskClient:
    made = make_carrierx(Setup(**setup)).test_client()
    made.environ_base["HTTP_AUTHORIZATION"] = "Bearer sandbox"
    return made


def faults(answer: TestResponse) -> dict[str, str]:
    """The vendor's list of errors: field → message."""
    body = answer.json
    assert body and set(body) == {"message", "errors"} and body["message"]
    assert all(set(one) == {"field", "message", "reference_sid"} for one in body["errors"])
    return {one["field"]: one["message"] for one in body["errors"]}


def test_older_names_get_the_older_shape(core: FlaskClient) -> None:
    said = core.post(MESSAGES, json=OLD).json
    assert tuple(said) == SMS_SHAPE
    assert (said["status"], said["direction"], said["date_status_changed"]) == ("queued", "outbound", None)
    assert (said["from_did"], said["to_did"], said["mcc"], said["price"]) == ("15162065575", "15162065574", None, None)


def test_newer_names_get_the_newer_shape(core: FlaskClient) -> None:
    said = core.post(MESSAGES, json={**NEW, "user_data": "mine"}).json
    assert tuple(said) == MMS_SHAPE
    assert (said["type"], said["user_data"], said["media_urls"], said["group_recipients"]) == ("sms", "mine", [], [])


@pytest.mark.parametrize(("shape", "attributes"), [("older", SMS_SHAPE), ("newer", MMS_SHAPE)])
def test_one_shape_for_all(shape: str, attributes: tuple[str, ...]) -> None:
    core = client(shape=shape)
    assert [tuple(core.post(MESSAGES, json=body).json) for body in (OLD, NEW)] == [attributes] * 2


def test_an_mms(core: FlaskClient) -> None:
    said = core.post(MESSAGES, json={"from": "15162065575", "to": "15162065574", "media_urls": ["https://x/y"]}).json
    assert (said["type"], said["message"], said["message_segments"]) == ("mms", None, 1)
    assert said["media_urls"] == ["https://x/y"]


def test_a_group_is_one_message(core: FlaskClient) -> None:
    group = ["17575000928", "14386009161", "17208200011"]
    said = core.post(MESSAGES, json={"from": "15162065575", "message": "x", "group_recipients": group}).json
    assert (said["type"], said["group_recipients"]) == ("mms", group) and said["to"] in group


def test_the_only_number_need_not_be_said() -> None:
    assert client(numbers=["15208210009"]).post(MESSAGES, json={"to": "1", "message": "x"}).status_code == 400
    said = client(numbers=["15208210009"]).post(MESSAGES, json={"to": "15162065574", "message": "x"}).json
    assert said["from"] == "15208210009"


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, {"from", "to", "message"}),
        ({"from_did": ""}, {"from_did", "to_did", "message"}),
        ({**NEW, "to": "12"}, {"to"}),
        ({**NEW, "to": "call me"}, {"to"}),
        ({**NEW, "to": True}, {"to"}),
        ({**NEW, "message": ""}, {"message"}),
        ({**NEW, "message": 5}, {"message"}),
        ({**NEW, "media_urls": "https://x/y"}, {"media_urls"}),
        ({**NEW, "user_data": {"id": 1}}, {"user_data"}),
        ({**NEW, "group_recipients": ["15162065574", "?"]}, {"group_recipients"}),
        ({**NEW, "group_recipients": ["15162065574"] * 11}, {"group_recipients"}),
        ({**NEW, "to": "15165550007"}, {"to"}),
    ],
)
def test_every_fault_is_named(core: FlaskClient, body: dict[str, Any], names: set[str]) -> None:
    answer = core.post(MESSAGES, json=body)
    assert answer.status_code == 400 and set(faults(answer)) >= names
    assert core.get(MESSAGES).json["total"] == 0


def test_a_number_of_somebody_else() -> None:
    answer = client(numbers=["15162065919"]).post(MESSAGES, json=NEW)
    assert answer.status_code == 400 and set(faults(answer)) == {"from"}


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_object(core: FlaskClient, body: bytes) -> None:
    answer = core.post(MESSAGES, data=body, content_type="application/json")
    assert answer.status_code == 400 and faults(answer) == {}


def test_other_content_types(core: FlaskClient) -> None:
    assert core.post(MESSAGES, data=json.dumps(NEW), content_type="application/json; charset=utf-8").status_code == 200
    for content_type in ("text/plain", "application/x-www-form-urlencoded", None):
        answer = core.post(MESSAGES, data=json.dumps(NEW), content_type=content_type)
        assert answer.status_code == 415 and faults(answer) == {}


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer t\u00f6ken", 200),
        ("bearer t\u00f6ken", 200),
        ("Bearer token", 401),
        (basic("me:secret"), 200),
        (basic("me:wrong"), 401),
        ("Basic ?", 401),
        ("", 401),
    ],
)
def test_who_may(header: str, status: int) -> None:
    core = make_carrierx(Setup(token="t\u00f6ken", login="me", password="secret")).test_client()
    answer = core.get(MESSAGES, headers={"Authorization": header})
    assert answer.status_code == status
    if status == 401:
        assert faults(answer) == {}


def test_without_credentials_anybody_may() -> None:
    assert make_carrierx(Setup(token="")).test_client().get(MESSAGES).status_code == 200


def test_lists(core: FlaskClient) -> None:
    for number in range(25):
        core.post(MESSAGES, json={**NEW, "message": str(number)})
    first, last = core.get(MESSAGES).json, core.get(f"{MESSAGES}?limit=1000&offset=20").json
    assert [one["message"] for one in first["items"]] == [str(number) for number in range(24, 14, -1)]
    assert (first["count"], first["total"], first["has_more"], first["limit"], first["offset"]) == (10, 25, True, 10, 0)
    assert [one["message"] for one in last["items"]] == ["4", "3", "2", "1", "0"] and last["has_more"] is False
    assert core.get(f"{MESSAGES}?offset=25").json["items"] == []


def test_lists_oldest_first() -> None:
    core = client(newest_first=False)
    for number in range(3):
        core.post(MESSAGES, json={**NEW, "message": str(number)})
    assert [one["message"] for one in core.get(f"{MESSAGES}?limit=2&offset=1").json["items"]] == ["1", "2"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=", "offset=-1", "offset=9999999999999"])
def test_lists_within_bounds(core: FlaskClient, query: str) -> None:
    answer = core.get(f"{MESSAGES}?{query}")
    assert answer.status_code == 400 and set(faults(answer)) == {query.partition("=")[0]}


def test_only_so_many_are_kept() -> None:
    core = client(kept=10)
    sids = [core.post(MESSAGES, json=NEW).json["message_sid"] for _ in range(30)]
    assert 10 <= core.get(MESSAGES).json["total"] <= 11
    assert core.get(f"{MESSAGES}/{sids[0]}").status_code == 404
    assert core.get(f"{MESSAGES}/{sids[-1]}").json["message_sid"] == sids[-1]


def test_what_there_is_not(core: FlaskClient) -> None:
    for path in ("sms/messages/x", "partners/x", "phonenumber/dids/x", "phonenumber/did_groups/x"):
        answer = core.get(f"/core/v2/{path}")
        assert answer.status_code == 404 and len(faults(answer)) == 1
    assert core.get("/core/v2/endpoints").status_code == 404
    assert core.delete(MESSAGES).status_code == 405 and faults(core.delete(MESSAGES)) == {}


def places(core: FlaskClient) -> dict[str, str]:
    did = core.get("/core/v2/phonenumber/dids").json["items"][0]
    return {
        "did": f"/core/v2/phonenumber/dids/{did['did_sid']}",
        "group": f"/core/v2/phonenumber/did_groups/{did['did_group_sid']}",
        "partner": f"/core/v2/partners/{did['partner_sid']}",
    }


def test_callbacks_are_set(core: FlaskClient) -> None:
    core = client(numbers=["15162065919"])
    at, url = places(core), "https://d528c056e44d.ngrok.io"
    assert core.patch(at["partner"], json={"callbacks": {"sms": url}}).json["callbacks"] == {"sms": url}
    assert core.patch(at["partner"], json={"name": "other"}).json["callbacks"] == {"sms": url}
    for place in ("did", "group"):
        assert core.patch(at[place], json={"callback_url": url}).json["callback_url"] == url
        assert core.get(at[place]).json["callback_url"] == url
        assert core.patch(at[place], json={"callback_url": None}).json["callback_url"] is None
    assert core.get("/core/v2/phonenumber/did_groups").json["items"][0]["did_group_sid"] == GROUP
    assert core.get("/core/v2/phonenumber/dids?phonenumber=1").json["items"] == []
    assert at["partner"].endswith(PARTNER)


@pytest.mark.parametrize(
    ("values", "status"),
    [({"sms": "no URL"}, 422), ({"sms": "ftp://x/"}, 422), ({"sms": "http://[/"}, 422), ({"sms": 5}, 400)],
)
def test_callbacks_that_cannot_be(core: FlaskClient, values: dict[str, Any], status: int) -> None:
    answer = core.patch(f"/core/v2/partners/{PARTNER}", json={"callbacks": values})
    assert answer.status_code == status and set(faults(answer)) == {"callbacks.sms"}


def test_callbacks_that_are_no_object(core: FlaskClient) -> None:
    answer = core.patch(f"/core/v2/partners/{PARTNER}", json={"callbacks": "http://x/"})
    assert answer.status_code == 400 and set(faults(answer)) == {"callbacks"}


def test_a_page_for_people(core: FlaskClient) -> None:
    assert "…0002  queued, sent, undelivered" in core.get("/").text


def test_no_browsers_form_controls_it(core: FlaskClient) -> None:
    for path in ("inbound", "misbehave", "forget"):
        assert core.post(f"/sandbox/{path}", data={"late": "1"}).status_code == 415
