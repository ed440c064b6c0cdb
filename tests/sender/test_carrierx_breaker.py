"""When nothing is sent, and for how long."""

from __future__ import annotations

import structlog
from structlog.testing import capture_logs

from gateway.sender.outcome import SubmitFault
from gateway.sender.pausing import LONGEST, LONGEST_ASKED, PATIENCE, CarrierXBreaker

REFUSED = SubmitFault("connection refused")


def pausing() -> CarrierXBreaker:
    return CarrierXBreaker(structlog.get_logger())


def test_each_is_longer() -> None:
    one, steady, waits = pausing(), 0.0, []
    for _ in range(9):
        one.met(REFUSED, steady)
        waits.append(one.left(steady))
        steady += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, LONGEST, LONGEST, LONGEST]
    assert one.is_wary


def test_those_that_left_before_count_once() -> None:
    one = pausing()
    for at in range(8):
        one.met(REFUSED, at / 100)
    assert one.left(0.0) < 1.1


def test_an_answer_ends_it() -> None:
    one = pausing()
    one.met(REFUSED, 0.0)
    one.met(REFUSED, 1.0)
    one.answered()
    assert one.left(1.0) == 0.0
    assert not one.is_wary
    one.met(REFUSED, 2.0)
    assert one.left(2.0) == 1.0


def test_as_long_as_it_is_asked_for() -> None:
    one = pausing()
    one.met(SubmitFault("429", "throttled", 20.0), 0.0)
    assert one.left(0.0) == 20.0
    one.met(SubmitFault("429", "throttled", 100_000.0), 0.0)
    assert one.left(0.0) == LONGEST_ASKED


def test_not_said_for_how_long() -> None:
    one = pausing()
    one.met(SubmitFault("429", "throttled", None), 0.0)
    assert one.left(0.0) == 1.0


def test_errors_may_be_about_one_message() -> None:
    one = pausing()
    for _ in range(PATIENCE - 1):
        one.met(SubmitFault("500", "failing"), 0.0)
    assert not one.left(0.0)
    one.met(SubmitFault("500", "failing"), 0.0)
    assert one.left(0.0) == 1.0


def test_other_answers_between_them() -> None:
    one = pausing()
    for _ in range(2 * PATIENCE):
        one.met(SubmitFault("500", "failing"), 0.0)
        one.answered()
    assert not one.left(0.0)


def test_each_change_is_said_once() -> None:
    with capture_logs() as logs:
        one = pausing()
        for reason in ("refused", "refused", "timed out"):
            one.met(SubmitFault(reason), 0.0)
        one.answered()
        one.answered()
    said = [(line["event"], line.get("reason")) for line in logs]
    assert said == [("sending_paused", "refused"), ("sending_paused", "timed out"), ("sending_resumed", None)]
