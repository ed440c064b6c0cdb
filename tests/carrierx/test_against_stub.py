"""`CoreAPI` and `gateway point` against the stand-in for CarrierX, which misbehaves on demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.__main__ import main
from gateway.carrierx import (
    AnswerLost,
    CarrierXError,
    Conflict,
    CoreAPI,
    NotAuthorized,
    NotFound,
    ServerError,
    TooMany,
)
from gateway.carrierx.api import build_send_request
from gateway.sandbox.carrierx import PARTNER, CarrierXStub, Misbehaviour, Setup
from tests.carrierx.test_responses import every_message

FROM, TO = "15162065919", "15162065574"
URL = "https://sms.example.com/carrierx/callback/key-of-the-tests"
MISBEHAVING = Misbehaviour(
    conflict=0.1, too_many=0.1, error_before=0.1, lost_before=0.1, error_after=0.1, lost_after=0.1, broken_json=0.1
)


@pytest.fixture
def carrierx() -> Iterator[CarrierXStub]:
    with CarrierXStub(Setup(numbers=[FROM], login="me", password="secret")) as running:
        yield running


def api_of(carrierx: CarrierXStub, retries: int = 0, token: str = "sandbox") -> CoreAPI:
    return CoreAPI(carrierx.url, token=token, retries=retries, sleep=lambda seconds: None)


def test_messages_go_out_and_are_read(carrierx: CarrierXStub) -> None:
    with api_of(carrierx) as api:
        text = api.send(FROM, TO, "héllo 🎉", user_data="ours")
        media = api.send(FROM, TO, None, media_urls=["https://x.example/1.png"])
        group = api.send(FROM, None, "all", group_recipients=[TO, "15162065575"])
        assert api.read(text["message_sid"])["message"] == "héllo 🎉" and text["user_data"] == "ours"
        assert (media["type"], group["type"]) == ("mms", "mms") and text["status"] == "queued"
        assert group["group_recipients"] == [TO, "15162065575"]
        listed = {one["message_sid"] for one in every_message(api, 2)}
        assert listed == {one["message_sid"] for one in (text, media, group)}
        with pytest.raises(NotFound):
            api.read("nothing-such")
    with CoreAPI(carrierx.url, login="me", password="secret") as api:
        assert api.read(text["message_sid"])["from"] == FROM
    with api_of(carrierx, token="wrong") as api, pytest.raises(NotAuthorized):
        api.messages()


def test_callbacks_are_set_at_all_three(carrierx: CarrierXStub) -> None:
    with api_of(carrierx) as api:
        (did,) = api.every_did()
        assert did["phonenumber"] == FROM
        assert api.set_callback(URL, did=did["did_sid"])["callback_url"] == URL
        assert api.set_callback(URL, did_group=did["did_group_sid"])["callback_url"] == URL
        assert api.set_callback(URL, partner=PARTNER)["callbacks"] == {"sms": URL}
        assert [group["callback_url"] for group in api.every_did_group()] == [URL]
        api.set_callback(None, did=did["did_sid"])
        assert api.did(did["did_sid"])["callback_url"] is None


@pytest.fixture
def misbehaving() -> Iterator[CarrierXStub]:
    with CarrierXStub(Setup(numbers=[FROM], misbehaviour=MISBEHAVING)) as running:
        yield running


def test_what_an_error_says_of_a_message_is_true(misbehaving: CarrierXStub) -> None:
    """A text that was sent is there once, one that was refused is not; after all other errors nobody knows."""

    def send(turn: int) -> str:
        try:
            api.send_raw(build_send_request(FROM, TO, f"text {turn}", user_data=str(turn)))
        except CarrierXError as error:
            return type(error).__name__
        return "sent"

    with api_of(misbehaving) as api, ThreadPoolExecutor(4) as threads:
        came = list(threads.map(send, range(300)))
        there = Counter(one["user_data"] for one in every_message(api, 50))
    kinds = {kind.__name__ for kind in (Conflict, TooMany, ServerError, AnswerLost)}
    assert set(came) == {"sent", *kinds}
    for turn, kind in enumerate(came):
        if kind == "sent":
            assert there[str(turn)] == 1
        elif kind in ("Conflict", "TooMany"):
            assert there[str(turn)] == 0
    assert set(there.values()) == {1}


def test_a_send_never_doubles_though_it_is_made_again(misbehaving: CarrierXStub) -> None:
    with api_of(misbehaving, retries=3) as api:
        for turn in range(100):
            try:
                api.send(FROM, TO, f"text {turn}", user_data=str(turn))
            except (AnswerLost, ServerError):
                continue
        there = Counter(one["user_data"] for one in every_message(api))
    assert set(there.values()) == {1}


def test_lists_are_read_through_all_that_goes_wrong() -> None:
    with CarrierXStub(Setup(numbers=[FROM], misbehaviour=Misbehaviour(reads=0.4))) as carrierx:
        with api_of(carrierx, retries=20) as api:
            for turn in range(50):
                api.send(FROM, TO, "text", user_data=str(turn))
            assert {one["user_data"] for one in every_message(api, 5)} == set(map(str, range(50)))
            assert api.set_callback(URL, partner=PARTNER)["callbacks"] == {"sms": URL}


def test_point(carrierx: CarrierXStub, tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        f"""
[gateway]
public_url = "https://sms.example.com"
keys = ["key-of-the-tests"]
password = "password-of-the-tests"
[carrierx]
base_url = "{carrierx.url}"
token = "sandbox"
partner_sid = "{PARTNER}"
[[number]]
number = "{FROM}"
"""
    )
    with api_of(carrierx) as api:
        (did,) = api.every_did()
    for level in (("--partner",), ("--group", did["did_group_sid"]), ("--did", did["did_sid"])):
        result = CliRunner().invoke(main, ["point", *level, "--config", str(path)])
        assert result.exit_code == 0 and "  is    https://sms.example.com/carrierx/callback/[key 1]" in result.output
        assert carrierx.engine.account.callback_for(FROM) == URL
    result = CliRunner().invoke(main, ["point", "--partner", "--show", "--config", str(path)])
    assert f"DID        {FROM} ({did['did_sid']})" in result.output and "DID group  Sandbox" in result.output
