"""Both directions through a running gateway, with real applications: what was said arrives, letter for letter."""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import parse_qsl

import pytest

from schemas.legacy import CALLBACK_FIELDS, STATUS_FIELDS
from tests.e2e.applications import posted
from tests.e2e.callbacks import (
    DATE,
    FORM,
    JSON,
    NEW,
    OLD,
    PHONE,
    TEXTS,
    text_of_carrierx,
    text_of_platform,
    update_of_carrierx,
    update_of_platform,
)
from tests.e2e.conftest import World
from tests.running import until

STATUSES = ("queued", "sent", "delivered")


def new_sid() -> str:
    return str(uuid.uuid4())


def arrived(world: World, page: str, sid: str, count: int = 1) -> list[dict[str, Any]]:
    """What the PHP page got of one message, by the header that names it."""

    def of_this() -> list[dict[str, Any]]:
        return [one for one in world.page.records(page) if one["headers"].get("x-message-sid") == sid]

    return until(lambda: found if len(found := of_this()) >= count else [], f"{count} posts of {sid}")


def consumed(world: World, page: str, key: str, value: object, count: int = 1) -> list[dict[str, Any]]:
    """What the Flask consumer got under a name of the legacy key."""

    def of_this() -> list[dict[str, Any]]:
        return [one for one in world.consumer.records(page) if one["data"]["legacy"].get(key) == value]

    return until(lambda: found if len(found := of_this()) >= count else [], f"{count} posts with {key} {value}")


@pytest.mark.parametrize("mms", [False, True], ids=["sms", "mms"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_text_of_carrierx_reaches_the_php_page(world: World, name: str, mms: bool) -> None:
    sid, text = new_sid(), TEXTS[name]
    answer = world.gateway.post("/carrierx/callback", text_of_carrierx(sid, text, mms), JSON)
    assert (answer.status, answer.body) == (200, b"{}")
    (record,) = arrived(world, "/callback.php", sid)
    assert record["fields"] == {
        "title": "Acme alerts & more",
        "code": OLD[1],
        "shortcode": OLD[1],
        "message": text,
        "phone": PHONE,
        "carrier": "T-Mobile US",
        "keyword": "JOIN",
        "group": "Friends + family",
        "custom_ticket": "",
        "default_keyword": "ACME1234",
        "user_name": "",
        "password": "",
        "api_key": "",
    }
    assert record["names"] == list(CALLBACK_FIELDS), "every documented name, once, in order"
    check_written(record)
    assert record["query"] == {"site": "1"}
    assert record["headers"]["x-message-date"] == DATE


def check_written(record: dict[str, Any]) -> None:
    """As old servers need it."""
    headers = record["headers"]
    assert record["protocol"] == "HTTP/1.1" and headers["content-type"] == f"{FORM}; charset=UTF-8"
    assert not {"expect", "transfer-encoding"} & set(headers)
    assert uuid.UUID(headers["x-delivery-id"]) and headers["x-delivery-attempt"] == "1"
    # No stray percent, no raw byte, no line end: another library reads what PHP read.
    assert posted(record) == {name: value for name, value in record["fields"].items() if name in record["names"]}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_of_the_platform_reaches_the_flask_consumer(world: World, name: str) -> None:
    text, ticket = TEXTS[name], f"order-{new_sid()}"
    body = text_of_platform(text, ticket)
    answer = world.gateway.post("/legacy/callback", body, FORM)
    assert (answer.status, answer.body) == (200, b"") and answer.headers["content-type"].startswith("text/plain")
    ten = dict(parse_qsl(body.decode(), keep_blank_values=True))
    for page, sender, receiver in (("/sms", "from_did", "to_did"), ("/mms", "from", "to")):
        (record,) = consumed(world, page, "custom_ticket", ticket)
        data = record["data"]
        assert data["legacy"] == ten
        assert (data["direction"], data["status"], data[sender], data[receiver]) == (
            "inbound",
            "received",
            PHONE,
            NEW[0],
        )
        assert data["message"] == text and uuid.UUID(data["message_sid"])
        assert page == "/sms" or data["user_data"] == ticket


def test_the_consumer_answers_through_the_core_api(world: World) -> None:
    """The whole of the guides' application: it finds all that it reads, and calls back."""
    phone = "15162065999"  # of no other test: their answers may still come

    def answers() -> list[dict[str, Any]]:
        return [each for each in world.core_api.sent if phone in (each.get("to"), each.get("to_did"))]

    assert world.gateway.post("/legacy/callback", text_of_platform("JOIN", "answered", phone), FORM).status == 200
    until(lambda: len(answers()) == 2, "two answers")
    said = {"path": "/core/v2/sms/messages", "authorization": "Bearer token-of-the-tests"}
    assert {**said, "from_did": NEW[0], "to_did": phone, "message": "The SMS status is: received"} in answers()
    assert {**said, "from": NEW[0], "to": phone, "message": "The MMS status is: received"} in answers()


def test_updates_of_carrierx_reach_the_php_page_in_order(world: World) -> None:
    sid = new_sid()
    for status in STATUSES:
        body = update_of_carrierx(sid, status, "order-7 & é")
        assert world.gateway.post("/carrierx/callback", body, JSON).status == 200
    records = arrived(world, "/status.php", sid, len(STATUSES))
    assert [one["fields"] for one in records] == [
        {"code": OLD[1], "sendTo": PHONE, "status": status, "ticket": sid, "custom_ticket": "order-7 & é"}
        for status in STATUSES
    ]
    for record in records:
        assert record["names"] == list(STATUS_FIELDS)
        check_written(record)


def test_updates_of_the_platform_reach_the_flask_consumer_in_order(world: World) -> None:
    ticket = f"t-{new_sid()}"
    words = ("QUEUED", "101", "Delivered")
    for word in words:
        assert world.gateway.post("/legacy/status", update_of_platform(ticket, word, "order-7"), FORM).status == 200
    for page, sender, receiver in (("/sms", "from_did", "to_did"), ("/mms", "from", "to")):
        records = consumed(world, page, "ticket", ticket, len(words))
        said = [one["data"] for one in records]
        assert [one["status"] for one in said] == list(STATUSES)
        assert [one["legacy"]["status"] for one in said] == list(words)
        assert len({one["message_sid"] for one in said}) == 1
        assert all((one[sender], one[receiver], one["direction"]) == (NEW[0], PHONE, "outbound") for one in said)


def test_a_group_gets_one_post_for_each_recipient(world: World) -> None:
    sid = new_sid()
    group = ["17575000929", "17208200012", PHONE]
    said = json.loads(update_of_carrierx(sid, "delivered")) | {"type": "mms", "group_recipients": group}
    assert world.gateway.post("/carrierx/callback", json.dumps(said).encode(), JSON).status == 200
    records = arrived(world, "/status.php", sid, len(group))
    assert sorted(one["fields"]["sendTo"] for one in records) == sorted(group)


def test_the_same_again_goes_out_once_and_nothing_goes_backwards(world: World) -> None:
    """200 to all of them: a platform that is told otherwise would only send it again."""
    sid, last = new_sid(), new_sid()
    for status in ("sent", "sent", "delivered", "sent", "queued", "delivered"):
        assert world.gateway.post("/carrierx/callback", update_of_carrierx(sid, status), JSON).status == 200
    for _ in range(2):
        assert world.gateway.post("/carrierx/callback", text_of_carrierx(sid + "-in", "JOIN"), JSON).status == 200
    assert world.gateway.post("/carrierx/callback", update_of_carrierx(last, "sent"), JSON).status == 200
    arrived(world, "/status.php", last)
    arrived(world, "/callback.php", sid + "-in")
    until(lambda: not world.gateway.rows("SELECT 1 FROM deliveries WHERE state = 'pending'"), "nothing owed")
    assert [one["fields"]["status"] for one in arrived(world, "/status.php", sid)] == ["sent", "delivered"]
    assert len(arrived(world, "/callback.php", sid + "-in")) == 1
