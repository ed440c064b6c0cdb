"""Everything that can go wrong with the stand-in over HTTP, on demand: answers, updates, and all of it at once."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import requests

from gateway.sandbox.carrierx import Misbehaviour
from gateway.sandbox.carrierx.faults import scenario_for
from tests.standins import BEARER, NUMBER, Standing


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"duplicate": 1}, ["queued", "queued", "sent", "sent", "delivered", "delivered"]),
        ({"out_of_order": 1}, ["sent", "queued", "delivered"]),
        ({"late": 1, "late_by": 0.01}, ["queued", "sent", "delivered"]),
    ],
)
def test_how_updates_come(settings: dict[str, float], told: list[str]) -> None:
    with Standing(misbehaviour=Misbehaviour(**settings)) as at:  # type: ignore[arg-type]
        at.send()
        assert at.told() == told


def test_updates_come_before_the_answer() -> None:
    with Standing() as at:
        at.send("15165550019")
        assert [one["status"] for one in at.callbacks()] == ["queued", "sent", "delivered"]


def test_updates_begin_when_the_answer_is_there() -> None:
    """Unless it is to be otherwise: whoever reads the answer is not overtaken by more than the way back takes."""
    with Standing(misbehaviour=Misbehaviour(slow=1.0, slow_for=0.2)) as at:
        at.send()
        assert at.told() == ["queued", "sent", "delivered"]


@pytest.mark.parametrize(
    ("name", "status", "accepted"),
    [
        ("conflict", 409, 0),
        ("too_many", 429, 0),
        ("error_before", 500, 0),
        ("lost_before", None, 0),
        ("refused", 400, 0),
        ("error_after", 500, 1),
        ("lost_after", None, 1),
        ("broken_json", 200, 1),
        ("", 200, 1),
    ],
)
def test_what_the_next_request_gets(name: str, status: int | None, accepted: int) -> None:
    with Standing() as at:
        at.control("misbehave", {"next": [name], "retry_after": 7})
        try:
            reply = at.send()
            assert reply.status_code == status and reply.headers.get("Retry-After") == ("7" if status == 429 else None)
            assert name != "broken_json" or not is_json(reply)
        except requests.ConnectionError:
            assert status is None
        assert len(at.accepted()) == accepted
        assert at.send().status_code == 200


def is_json(reply: requests.Response) -> bool:
    try:
        reply.json()
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", ["conflict", "too_many", "error_before", "lost_before", "broken_json", "lost_after"])
def test_reading_goes_wrong_as_well(name: str) -> None:
    with Standing() as at:
        sid = at.send().json()["message_sid"]
        at.control("misbehave", {"next": [name]})
        try:
            reply = at.get(f"/sms/messages/{sid}")
            assert reply.status_code >= 400 or not is_json(reply)
        except requests.ConnectionError:
            assert name.startswith("lost")
        assert at.get(f"/sms/messages/{sid}").json()["message_sid"] == sid


@pytest.mark.parametrize("cut", ["close", "reset", "half"])
def test_ways_to_lose_an_answer(cut: str) -> None:
    with Standing(misbehaviour=Misbehaviour(lost_after=1.0)) as at:
        ways = set()
        for number in range(40):
            try:
                at.send(message=f"{number}")
            except requests.exceptions.ChunkedEncodingError:
                ways.add("half")
            except requests.ConnectionError as error:
                ways.add("reset" if "ConnectionReset" in repr(error) else "close")
            if cut in ways:
                break
        assert cut in ways


def test_misbehaviour_is_shown_and_ended() -> None:
    with Standing() as at:
        assert at.control("misbehave", {"late": 0.5, "next": ["conflict"]}).json()["late"] == 0.5
        assert at.control("misbehave", {"calm": True, "early": 0.1}).json()["late"] == 0
        assert at.control("misbehave").json()["early"] == 0.1
        assert at.send().status_code == 200
        for wrong in ({"lost": 1}, {"next": "conflict"}, {"next": ["boom"]}, {"late": 7}):
            assert at.control("misbehave", wrong).status_code == 400


def test_many_at_once_with_everything_wrong() -> None:
    """Every status of each accepted message is told, at least once, and the books agree with what came."""
    settings = Misbehaviour(
        conflict=0.05,
        too_many=0.05,
        error_before=0.05,
        lost_before=0.05,
        error_after=0.05,
        lost_after=0.05,
        broken_json=0.05,
        duplicate=0.2,
        out_of_order=0.2,
        early=0.1,
        late=0.05,
        late_by=0.02,
    )
    with Standing(misbehaviour=settings, pace=0.001) as at, requests.Session() as session:
        session.headers.update(BEARER)

        def send(number: int) -> int:
            body = {"from": NUMBER, "to": f"1516{number:07}", "message": "x", "user_data": str(number)}
            try:
                return session.post(f"{at.standin.url}/sms/messages", json=body, timeout=30).status_code
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                return 0

        with ThreadPoolExecutor(4) as pool:
            answers = Counter(pool.map(send, range(30, 430)))
        assert set(answers) == {0, 200, 409, 429, 500}
        at.settle()
        accepted = {one["message_sid"]: one for one in at.accepted()}
        told: dict[str, list[str]] = {sid: [] for sid in accepted}
        for one in at.callbacks():
            told[one["message_sid"]].append(one["status"])
        for sid, statuses in told.items():
            flow = scenario_for(accepted[sid]["to"]).flow
            assert set(statuses) == set(flow) and sorted(accepted[sid]["acknowledged"]) == sorted(statuses)
        assert any(old == new for statuses in told.values() for old, new in pairwise(statuses))
