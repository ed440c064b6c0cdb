"""When nothing is sent, and for how long."""

from __future__ import annotations

import structlog
from structlog.testing import capture_logs

from gateway.sender.outcome import (
    MAX_ERRORS_IN_A_ROW,
    MAX_PAUSE_SECONDS,
    MAX_REQUESTED_PAUSE_SECONDS,
    CarrierXBreaker,
    SubmitFault,
)

REFUSED = SubmitFault("connection refused")


def new_breaker() -> CarrierXBreaker:
    return CarrierXBreaker(structlog.get_logger())


def test_each_is_longer() -> None:
    breaker, monotonic, waits = new_breaker(), 0.0, []
    for _ in range(9):
        breaker.record_fault(REFUSED, monotonic)
        waits.append(breaker.seconds_left(monotonic))
        monotonic += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, MAX_PAUSE_SECONDS, MAX_PAUSE_SECONDS, MAX_PAUSE_SECONDS]
    assert breaker.is_probing


def test_those_that_left_before_count_once() -> None:
    breaker = new_breaker()
    for at in range(8):
        breaker.record_fault(REFUSED, at / 100)
    assert breaker.seconds_left(0.0) < 1.1


def test_an_answer_ends_it() -> None:
    breaker = new_breaker()
    breaker.record_fault(REFUSED, 0.0)
    breaker.record_fault(REFUSED, 1.0)
    breaker.record_answer()
    assert breaker.seconds_left(1.0) == 0.0
    assert not breaker.is_probing
    breaker.record_fault(REFUSED, 2.0)
    assert breaker.seconds_left(2.0) == 1.0


def test_as_long_as_it_is_asked_for() -> None:
    breaker = new_breaker()
    breaker.record_fault(SubmitFault("429", "throttled", 20.0), 0.0)
    assert breaker.seconds_left(0.0) == 20.0
    breaker.record_fault(SubmitFault("429", "throttled", 100_000.0), 0.0)
    assert breaker.seconds_left(0.0) == MAX_REQUESTED_PAUSE_SECONDS


def test_not_said_for_how_long() -> None:
    breaker = new_breaker()
    breaker.record_fault(SubmitFault("429", "throttled", None), 0.0)
    assert breaker.seconds_left(0.0) == 1.0


def test_errors_may_be_about_one_message() -> None:
    breaker = new_breaker()
    for _ in range(MAX_ERRORS_IN_A_ROW - 1):
        breaker.record_fault(SubmitFault("500", "failing"), 0.0)
    assert not breaker.seconds_left(0.0)
    breaker.record_fault(SubmitFault("500", "failing"), 0.0)
    assert breaker.seconds_left(0.0) == 1.0


def test_other_answers_between_them() -> None:
    breaker = new_breaker()
    for _ in range(2 * MAX_ERRORS_IN_A_ROW):
        breaker.record_fault(SubmitFault("500", "failing"), 0.0)
        breaker.record_answer()
    assert not breaker.seconds_left(0.0)


def test_each_change_is_said_once() -> None:
    with capture_logs() as logs:
        breaker = new_breaker()
        for reason in ("refused", "refused", "timed out"):
            breaker.record_fault(SubmitFault(reason), 0.0)
        breaker.record_answer()
        breaker.record_answer()
    said = [(line["event"], line.get("reason")) for line in logs]
    assert said == [("sending_paused", "refused"), ("sending_paused", "timed out"), ("sending_resumed", None)]
