"""The stand-in over HTTP: its callbacks through every flow, to whom they go, and when nobody takes them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import requests

from gateway.sandbox.carrierx import Misbehaviour
from gateway.sandbox.carrierx.faults import SCENARIOS
from gateway.web.context import utc_now
from schemas import FORMATS, ReceiveContext
from schemas.carrierx import MMS_SHAPE, SMS_SHAPE
from tests.servers import Caller, Script, answer, ok, replying
from tests.standins import HANDSET, NUMBER, Standing

HEARD = [
    one
    for one in SCENARIOS
    if one.answer not in ("refused", "slow") and not (one.silent or one.update_fault or one.reply)
]


@pytest.mark.parametrize("number", HEARD, ids=lambda one: one.ending)
def test_every_flow(number: Any) -> None:
    with Standing(misbehaviour=Misbehaviour(retry_after=0)) as at:
        for _ in range(number.times + 1 if number.times < 10 else 1):
            try:
                at.send(f"1516555{number.ending}")
            except requests.ConnectionError:
                assert number.answer in ("lost_before", "lost_after")
        assert at.told() == list(number.flow)
        (message,) = at.accepted()
        assert message["statuses"] == message["acknowledged"] == list(number.flow)


def test_each_status_is_a_message_object() -> None:
    with Standing() as at:
        sid = at.send(user_data="mine").json()["message_sid"]
        at.post({"from_did": NUMBER, "to_did": HANDSET, "message": "older"})
        at.settle()
        newer = [one for one in at.callbacks() if one["message_sid"] == sid]
        older = [one for one in at.callbacks() if one["message_sid"] != sid]
        assert [tuple(one) for one in newer] == [MMS_SHAPE] * 3 and [tuple(one) for one in older] == [SMS_SHAPE] * 3
        assert [one["user_data"] for one in newer] == ["mine"] * 3
        assert at.get(f"/sms/messages/{sid}").json() == newer[-1]
        read = [FORMATS["carrierx"].load(_body(raw), "application/json", RECEIPT) for raw in at.taker.requests]
        assert Counter(one.status for one in read) == {"queued": 2, "sent": 2, "delivered": 2}
        assert all(one.date_status_changed is not None for one in read)


RECEIPT = ReceiveContext(now=utc_now(), sid="unused")


def _body(raw: bytes) -> bytes:
    return raw.partition(b"\r\n\r\n")[2]


def test_a_group_gets_one_object_for_each_status() -> None:
    group = ["17575000928", "17208200011", "14386009161"]
    with Standing() as at:
        at.post({"from": NUMBER, "message": "All of you", "group_recipients": group})
        assert at.told() == ["queued", "sent", "delivered"]
        assert [one["to"] for one in at.callbacks()] == group
        assert all(one["group_recipients"] == group and one["user_data"] == "null" for one in at.callbacks())


def test_an_mms_over_the_limits_fails() -> None:
    with Standing() as at:
        assert at.send(message="x" * 1601, media_urls=["https://x/y"]).json()["status"] == "queued"
        assert at.told() == ["queued", "failed"]


@pytest.mark.parametrize(
    ("set_at", "gets"),
    [((), None), (("partner",), "partner"), (("partner", "group"), "group"), (("partner", "group", "did"), "did")],
)
def test_the_first_that_is_set_gets_the_callbacks(set_at: tuple[str, ...], gets: str | None) -> None:
    with Standing(callback="", numbers=[NUMBER]) as at:
        did = at.get("/phonenumber/dids").json()["items"][0]
        paths = {
            "did": f"phonenumber/dids/{did['did_sid']}",
            "group": f"phonenumber/did_groups/{did['did_group_sid']}",
            "partner": f"partners/{did['partner_sid']}",
        }
        for place in set_at:
            url = at.taker.url(f"/{place}")
            body = {"callbacks": {"sms": url}} if place == "partner" else {"callback_url": url}
            at.session.patch(f"{at.standin.url}/{paths[place]}", json=body, timeout=30).raise_for_status()
        at.send()
        at.settle()
        assert {raw.split(b" ")[1].decode() for raw in at.taker.requests} == ({f"/{gets}"} if gets else set())
        assert at.accepted()[0]["status"] == "delivered"


def test_a_text_comes_in() -> None:
    with Standing() as at:
        said = at.control("inbound", {"from_did": HANDSET, "to_did": NUMBER, "message": "JOIN é 😀"}).json()
        assert at.told() == ["received"]
        (got,) = at.callbacks()
        assert tuple(got) == SMS_SHAPE and got["message_sid"] == said["message_sid"]
        assert (got["direction"], got["from_did"], got["to_did"]) == ("inbound", HANDSET, NUMBER)
        assert got["message"] == "JOIN é 😀" and (got["mcc"], got["mnc"]) == (310, 260)


def test_an_mms_comes_in_to_a_group() -> None:
    with Standing() as at:
        group = [NUMBER, "15165550101"]
        at.control("inbound", {"from": HANDSET, "group_recipients": group, "media_urls": ["https://x/y"]})
        at.settle()
        (got,) = at.callbacks()
        assert (got["type"], got["to"], got["group_recipients"]) == ("mms", NUMBER, group)


def test_a_text_to_nobody() -> None:
    with Standing(numbers=[NUMBER]) as at:
        refused = at.control("inbound", {"from": HANDSET, "to": "15165550101", "message": "JOIN"})
        assert refused.status_code == 400 and refused.json()["errors"][0]["field"] == "to"


@pytest.mark.parametrize("number", [one for one in SCENARIOS if one.reply], ids=lambda one: one.reply)
def test_a_handset_replies(number: Any) -> None:
    with Standing() as at:
        at.send(f"1516555{number.ending}")
        assert sorted(at.told()) == ["delivered", "queued", "received", "sent"]
        (reply,) = [one for one in at.callbacks() if one["direction"] == "inbound"]
        assert (reply["message"], reply["from"], reply["to"]) == (number.reply, f"1516555{number.ending}", NUMBER)


def test_updates_that_never_come() -> None:
    with Standing() as at:
        sid = at.send("15165550014").json()["message_sid"]
        assert at.told() == []
        assert at.get(f"/sms/messages/{sid}").json()["status"] == "delivered"


def taking(*answers: bytes) -> Script:
    """The first callbacks get these, on whichever connection; all others 200. Empty: the connection breaks."""
    left = list(answers)

    def script(caller: Caller) -> None:
        while caller.read_request() is not None:
            reply = left.pop(0) if left else ok()
            if not reply:
                caller.reset()
                return
            caller.send(reply)

    return script


@pytest.mark.parametrize("first", [(answer(503), answer(429)), (b"", answer(500))])
def test_callbacks_are_posted_again(first: tuple[bytes, ...]) -> None:
    with Standing(taking(*first)) as at:
        at.send()
        assert at.told() == ["queued", "queued", "queued", "sent", "delivered"]
        assert at.accepted()[0]["acknowledged"] == ["queued", "sent", "delivered"]


def test_callbacks_are_given_up() -> None:
    with Standing(replying(answer(503)), attempts=2) as at:
        at.send()
        assert at.told() == ["queued", "queued", "sent", "sent", "delivered", "delivered"]
        assert at.settle()["given_up"] == 3 and at.accepted()[0]["given_up"] == 3


def test_callbacks_that_are_refused() -> None:
    with Standing(replying(answer(403))) as at:
        at.send()
        assert at.told() == ["queued", "sent", "delivered"]
        assert at.settle()["given_up"] == 3


def test_nobody_there() -> None:
    with Standing(callback="http://127.0.0.1:9/", attempts=2) as at:
        at.send()
        assert at.settle() == {"idle": True, "outstanding": 0, "attempted": 6, "acknowledged": 0, "given_up": 3}


def test_all_is_forgotten() -> None:
    with Standing() as at:
        at.send()
        at.settle()
        assert at.control("forget", {}).json() == {}
        assert at.accepted() == [] and at.get("/sms/messages").json()["total"] == 0


def test_a_body_without_length() -> None:
    with Standing() as at:
        pieces = iter([b"{}"])
        assert at.session.post(f"{at.standin.url}/sms/messages", data=pieces, timeout=30).status_code == 411
