"""What an attempt came to, and when there is another."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Endpoint
from gateway.delivery.diagnosis import FAILURE_BODY
from gateway.delivery.retry import LONGEST_ASKED, SPREAD, WAITS, dead, judge, wait
from gateway.safe_http.models import Failure, Response

NOW = 1_700_000_000.0
DICE = st.floats(0, 1, exclude_max=True)


@dataclass
class Expecting:
    """An endpoint's tests of success."""

    low: int = 200
    high: int = 299
    success_body: re.Pattern[str] | None = None
    failure_body: tuple[re.Pattern[str], ...] = field(default=FAILURE_BODY)

    def accepts(self, status: int) -> bool:
        return self.low <= status <= self.high


def outcome(answer: Response, expecting: Expecting | None = None) -> str:
    return judge(answer, expecting or Expecting(), NOW).outcome


@pytest.mark.parametrize("status", range(200, 300))
def test_2xx_is_success(status: int) -> None:
    verdict = judge(Response(status=status, body=b"ok"), Expecting(), NOW)
    assert (verdict.outcome, verdict.sentence, verdict.retry_after) == ("succeeded", "", None)


@pytest.mark.parametrize("status", [100, 101, *range(300, 410), *range(411, 600)])
def test_all_else_is_tried_again(status: int) -> None:
    verdict = judge(Response(status=status), Expecting(), NOW)
    assert verdict.outcome == "again" and str(status) in verdict.sentence


def test_gone_is_dead_at_once() -> None:
    assert judge(Response(status=410), Expecting(), NOW).outcome == "dead"
    assert outcome(Response(status=410), Expecting(low=410, high=410)) == "succeeded"
    assert outcome(Response(status=410, failure=Failure(kind="reset", sentence="broke off"))) == "again"


def test_what_cannot_be_sent_is_dead() -> None:
    assert outcome(Response(failure=Failure(kind="url", sentence="the URL has a space"))) == "dead"
    assert dead("this message has no form").outcome == "dead" and dead("x").sentence == "x"


@pytest.mark.parametrize(
    "kind", ["name", "refused_address", "connect", "tls", "certificate", "timeout", "reset", "too_large"]
)
def test_failures_are_tried_again(kind: str) -> None:
    verdict = judge(Response(status=200, failure=Failure(kind=kind, sentence="because")), Expecting(), NOW)
    assert (verdict.outcome, verdict.sentence) == ("again", "because")


def test_the_endpoint_says_what_success_is() -> None:
    only = Expecting(low=204, high=204)
    assert outcome(Response(status=204), only) == "succeeded"
    assert outcome(Response(status=200), only) == "again"
    assert outcome(Response(status=302), Expecting(low=302, high=302)) == "succeeded"


def test_it_is_an_endpoint_of_the_configuration() -> None:
    endpoint = Endpoint(name="a", url="http://page.test/", success="200,202-204", success_body=re.compile("^OK$"))
    assert judge(Response(status=203, body=b"OK"), endpoint, NOW).outcome == "succeeded"
    assert judge(Response(status=201, body=b"OK"), endpoint, NOW).outcome == "again"
    assert judge(Response(status=200, body=b"NO"), endpoint, NOW).outcome == "again"


def test_success_body() -> None:
    wanted = Expecting(success_body=re.compile("caf\xe9"))
    assert outcome(Response(status=200, body="un café".encode()), wanted) == "succeeded"
    assert outcome(Response(status=200, body="un café".encode("windows-1252")), wanted) == "succeeded"
    assert "empty" in judge(Response(status=200), wanted, NOW).sentence
    assert "success_body" in judge(Response(status=200, body=b"x"), wanted, NOW).sentence


def test_success_body_is_looked_for_in_all_that_was_read() -> None:
    wanted = Expecting(success_body=re.compile("done"))
    assert outcome(Response(status=200, body=b" " * 60_000 + b"done"), wanted) == "succeeded"


def test_failure_body() -> None:
    page = b"<b>Fatal error</b>:  Uncaught Error in <b>/x.php</b> on line <b>3</b>"
    assert judge(Response(status=200, body=page), Expecting(), NOW).sentence == "a PHP error page behind a 200"
    assert outcome(Response(status=200, body=page), Expecting(failure_body=())) == "succeeded"
    own = Expecting(failure_body=(re.compile("^ERR"),))
    assert "'^ERR'" in judge(Response(status=200, body=b"ERR 5"), own, NOW).sentence


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW + 90), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        ("Tuesday, 14-Nov-23 22:14:50 GMT", 90.0),
        ("Tue Nov 14 22:14:50 2023", 90.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("٣", None),
        ("9" * 400, None),
        ("Tue, 99 Foo 2023 99:99:99 GMT", None),
        ("Fri, 31 Dec 9999999 23:59:59 GMT", None),
    ],
)
def test_retry_after(header: str, expected: float | None) -> None:
    for status in (429, 503, 500, 302):
        verdict = judge(Response(status=status, headers=(("retry-AFTER", header),)), Expecting(), NOW)
        assert verdict.retry_after == expected


@given(st.text())
def test_any_retry_after_can_be_read(header: str) -> None:
    found = judge(Response(status=503, headers=(("Retry-After", header),)), Expecting(), NOW).retry_after
    assert found is None or found >= 0


def test_the_schedule() -> None:
    assert WAITS == (5, 30, 120, 600, 1800, 3600, 10800, 21600, 43200)
    assert [wait(attempt, 0.5) for attempt in range(1, 11)] == [*WAITS, None]


@given(st.integers(1, len(WAITS)), DICE)
def test_waits_are_spread_by_a_fifth(attempts: int, dice: float) -> None:
    seconds = wait(attempts, dice)
    assert seconds is not None and 0.8 * WAITS[attempts - 1] <= seconds <= 1.2 * WAITS[attempts - 1]


@given(st.integers(len(WAITS) + 1, 1000), DICE, st.none() | st.floats(0, 1e9))
def test_after_the_tenth_attempt_there_is_none(attempts: int, dice: float, asked: float | None) -> None:
    assert wait(attempts, dice, asked) is None


@given(st.integers(1, len(WAITS)), DICE, st.floats(0, 1e12))
def test_what_was_asked_is_obeyed_within_bounds(attempts: int, dice: float, asked: float) -> None:
    planned, seconds = WAITS[attempts - 1], wait(attempts, dice, asked)
    longest = max(LONGEST_ASKED, planned)
    assert seconds is not None
    assert 0.8 * planned <= seconds <= longest * (1 + SPREAD)
    if asked <= longest:
        assert seconds >= asked
    if 0.8 * planned <= asked <= longest:
        assert seconds <= asked * (1 + SPREAD)


@given(st.integers(1, len(WAITS)), st.tuples(DICE, DICE), st.none() | st.floats(0, 1e6))
def test_dice_only_move_it_on(attempts: int, dice: tuple[float, float], asked: float | None) -> None:
    low, high = sorted(dice)
    assert wait(attempts, low, asked) <= wait(attempts, high, asked)  # type: ignore[operator]


def test_no_attempts_yet() -> None:
    assert wait(0, 0.5) == wait(1, 0.5)
