"""The result of an attempt: success or not, when the next one is due, and which answers are texted back."""

from __future__ import annotations

import time
from dataclasses import replace
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Endpoint
from gateway.delivery import result
from gateway.delivery.circuit_breaker import HEAVY
from gateway.delivery.redaction import EndpointRedaction
from gateway.delivery.result import (
    JITTER,
    MAX_REPLY_CHARACTERS,
    MAX_RETRY_AFTER_SECONDS,
    RETRY_SECONDS,
    AttemptInFlight,
    AttemptResult,
    classify,
    judge,
    reply_text,
    retry_delay,
)
from gateway.matching.patterns import LinearPattern
from gateway.safe_http.error_pages import FAILURE_BODY
from gateway.safe_http.models import Failure, Request, Response, Timings
from gateway.safe_http.ssrf import HIDDEN
from gateway.store.leases import ClaimedDelivery, SettledDelivery

NOW = 1_700_000_000.0
RANDOM = st.floats(0, 1, exclude_max=True)


PAGE = Endpoint(name="page", url="http://page.test/", failure_body=FAILURE_BODY)


def outcome(answer: Response, endpoint: Endpoint = PAGE) -> str:
    return judge(answer, endpoint, NOW).outcome


@pytest.mark.parametrize("status", range(200, 300))
def test_2xx_is_success(status: int) -> None:
    verdict = judge(Response(status=status, body=b"ok"), PAGE, NOW)
    assert (verdict.outcome, verdict.sentence, verdict.retry_after) == ("succeeded", "", None)


@pytest.mark.parametrize("status", [100, 101, *range(300, 410), *range(411, 600)])
def test_all_else_is_tried_again(status: int) -> None:
    verdict = judge(Response(status=status), PAGE, NOW)
    assert verdict.outcome == "again" and str(status) in verdict.sentence


def test_gone_is_dead_at_once() -> None:
    assert judge(Response(status=410), PAGE, NOW).outcome == "dead"
    assert outcome(Response(status=410), replace(PAGE, success="410")) == "succeeded"
    assert outcome(Response(status=410, failure=Failure(kind="reset", sentence="broke off"))) == "again"


def test_what_cannot_be_sent_is_dead() -> None:
    assert outcome(Response(failure=Failure(kind="url", sentence="the URL has a space"))) == "dead"
    assert judge(Response(failure=Failure(kind="url", sentence="x")), PAGE, NOW).sentence == "x"


@pytest.mark.parametrize(
    "kind", ["name", "refused_address", "connect", "tls", "certificate", "timeout", "reset", "too_large"]
)
def test_failures_are_tried_again(kind: str) -> None:
    verdict = judge(Response(status=200, failure=Failure(kind=kind, sentence="because")), PAGE, NOW)
    assert (verdict.outcome, verdict.sentence) == ("again", "because")


def test_the_endpoint_says_what_success_is() -> None:
    only = replace(PAGE, success="204")
    assert outcome(Response(status=204), only) == "succeeded"
    assert outcome(Response(status=200), only) == "again"
    assert outcome(Response(status=302), replace(PAGE, success="302")) == "succeeded"


def test_it_is_an_endpoint_of_the_configuration() -> None:
    endpoint = Endpoint(name="a", url="http://page.test/", success="200,202-204", success_body=LinearPattern("^OK$"))
    assert judge(Response(status=203, body=b"OK"), endpoint, NOW).outcome == "succeeded"
    assert judge(Response(status=201, body=b"OK"), endpoint, NOW).outcome == "again"
    assert judge(Response(status=200, body=b"NO"), endpoint, NOW).outcome == "again"


def test_success_body() -> None:
    wanted = replace(PAGE, success_body=LinearPattern("caf\xe9"))
    assert outcome(Response(status=200, body="un café".encode()), wanted) == "succeeded"
    assert outcome(Response(status=200, body="un café".encode("windows-1252")), wanted) == "succeeded"
    assert "empty" in judge(Response(status=200), wanted, NOW).sentence
    assert "success_body" in judge(Response(status=200, body=b"x"), wanted, NOW).sentence


def test_success_body_is_looked_for_in_all_that_was_read() -> None:
    wanted = replace(PAGE, success_body=LinearPattern("done"))
    assert outcome(Response(status=200, body=b" " * 60_000 + b"done"), wanted) == "succeeded"


def test_a_body_that_is_one_long_ambiguity_is_judged_at_once() -> None:
    """`re` needed 31 seconds for this text, with each of the two."""
    body, pattern = b"a" * 61 + b"!", LinearPattern("^(a|aa)+$")
    begun = time.perf_counter()
    assert outcome(Response(status=200, body=body), replace(PAGE, failure_body=(pattern,))) == "succeeded"
    assert outcome(Response(status=200, body=body), replace(PAGE, success_body=pattern)) == "again"
    assert time.perf_counter() - begun < 5


def test_failure_body() -> None:
    page = b"<b>Fatal error</b>:  Uncaught Error in <b>/x.php</b> on line <b>3</b>"
    assert judge(Response(status=200, body=page), PAGE, NOW).sentence == "a PHP error page behind a 200"
    assert outcome(Response(status=200, body=page), replace(PAGE, failure_body=())) == "succeeded"
    own = replace(PAGE, failure_body=(LinearPattern("^ERR"),))
    assert "'^ERR'" in judge(Response(status=200, body=b"ERR 5"), own, NOW).sentence


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW + 90), 90.0),
        ("Tue, 14 Nov 2023 23:14:50 +0100", 90.0),
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
        verdict = judge(Response(status=status, headers=(("retry-AFTER", header),)), PAGE, NOW)
        assert verdict.retry_after == expected


@given(st.text())
def test_any_retry_after_can_be_read(header: str) -> None:
    found = judge(Response(status=503, headers=(("Retry-After", header),)), PAGE, NOW).retry_after
    assert found is None or found >= 0


def test_the_schedule() -> None:
    assert RETRY_SECONDS == (5, 30, 120, 600, 1800, 3600, 10800, 21600, 43200)
    assert [retry_delay(attempt, 0.5) for attempt in range(1, 11)] == [*RETRY_SECONDS, None]


@given(st.integers(1, len(RETRY_SECONDS)), RANDOM)
def test_waits_are_spread_by_a_fifth(attempts: int, random: float) -> None:
    seconds = retry_delay(attempts, random)
    assert seconds is not None and 0.8 * RETRY_SECONDS[attempts - 1] <= seconds <= 1.2 * RETRY_SECONDS[attempts - 1]


@given(st.integers(len(RETRY_SECONDS) + 1, 1000), RANDOM, st.none() | st.floats(0, 1e9))
def test_after_the_tenth_attempt_there_is_none(attempts: int, random: float, asked: float | None) -> None:
    assert retry_delay(attempts, random, asked) is None


@given(st.integers(1, len(RETRY_SECONDS)), RANDOM, st.floats(0, 1e12))
def test_what_was_asked_is_obeyed_within_bounds(attempts: int, random: float, asked: float) -> None:
    planned, seconds = RETRY_SECONDS[attempts - 1], retry_delay(attempts, random, asked)
    longest = max(MAX_RETRY_AFTER_SECONDS, planned)
    assert seconds is not None
    assert 0.8 * planned <= seconds <= longest * (1 + JITTER)
    if asked <= longest:
        assert seconds >= asked
    if 0.8 * planned <= asked <= longest:
        assert seconds <= asked * (1 + JITTER)


@given(st.integers(1, len(RETRY_SECONDS)), st.tuples(RANDOM, RANDOM), st.none() | st.floats(0, 1e6))
def test_dice_only_move_it_on(attempts: int, random: tuple[float, float], asked: float | None) -> None:
    low, high = sorted(random)
    assert retry_delay(attempts, low, asked) <= retry_delay(attempts, high, asked)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("attempts", "random", "asked", "seconds"),
    [
        (2, 0.0, 1.0, 24.0),
        (2, 1.0, 1.0, 24.0 * 1.2),
        (1, 0.5, 60.0, 66.0),
        (1, 0.0, 1e6, MAX_RETRY_AFTER_SECONDS),
        (9, 0.0, 1e6, RETRY_SECONDS[8]),
    ],
)
def test_what_was_asked_is_between_the_schedules_earliest_moment_and_an_hour(
    attempts: int, random: float, asked: float, seconds: float
) -> None:
    assert retry_delay(attempts, random, asked) == pytest.approx(seconds)


def test_a_date_without_a_zone_is_not_of_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        verdict = judge(Response(status=503, headers=(("Retry-After", formatdate(NOW + 90)),)), PAGE, NOW)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert verdict.retry_after == 90.0


def test_no_attempts_yet() -> None:
    assert retry_delay(0, 0.5) == retry_delay(1, 0.5)


CLAIMED = ClaimedDelivery(
    id=1, delivery_id="1", event_id=1, endpoint=PAGE.name, wire_format="legacy", ordering_key="1", number=1,
    attempts_since_replay=1, content_type="text/plain", headers=(), body=b"", created_at=NOW,
)  # fmt: skip


def attempted(response: Response, endpoint: Endpoint = PAGE, *, replies: bool = False) -> AttemptResult:
    claimed = replace(CLAIMED, endpoint=endpoint.name, replies=replies)
    attempt = AttemptInFlight(claimed, endpoint, Request(url=endpoint.url, body=b""), 0.0, 0)
    return classify(attempt, response, NOW, 0.5)


def test_what_is_written_down_of_an_attempt() -> None:
    headers = (("Location", "https://page.test/"), ("X-Echo", "got the password s3cret"), ("Retry-After", "60"))
    times = Timings(total=12.5)
    answer = Response(status=302, headers=headers, body=b"moved, s3cret", times=times)
    assert attempted(answer, replace(PAGE, password="s3cret")).settled == SettledDelivery(
        claimed=CLAIMED,
        outcome="again",
        finished_at=NOW,
        due=NOW + 66,
        sentence="answered 302 to https://page.test/: redirects are not followed",
        status=302,
        answer_headers=[headers[0], ("X-Echo", f"got the password {HIDDEN}"), headers[2]],
        answer_body=f"moved, {HIDDEN}".encode(),
        times=times.as_dict(),
        diagnosis=[
            "answered 302 to https://page.test/: redirects are not followed",
            "the page wants https: write https:// in the URL",
        ],
    )
    assert attempted(Response(status=204, body=b"")).settled == SettledDelivery(
        claimed=CLAIMED,
        outcome="succeeded",
        finished_at=NOW,
        status=204,
        answer_headers=[],
        times=Timings().as_dict(),
    )
    date = Response(status=503, headers=(("Retry-After", formatdate(NOW + 60, usegmt=True)),))
    assert attempted(date).settled.due == NOW + 66


@pytest.mark.parametrize(
    ("body", "reply", "diagnosis"),
    [
        ("You are in", "You are in", ()),
        ("", "", ("no reply was sent: the answer is empty",)),
        ("Your key: s3cret-key", "", ("no reply was sent: the answer holds a secret of the endpoint",)),
    ],
)
def test_an_answer_that_is_texted_back(body: str, reply: str, diagnosis: tuple[str, ...]) -> None:
    endpoint = replace(PAGE, secret=("s3cret-key",))
    settled = attempted(answer(body), endpoint, replies=True).settled
    assert (settled.outcome, settled.reply, settled.diagnosis) == ("succeeded", reply, diagnosis)
    settled = attempted(answer(body), endpoint).settled
    assert (settled.outcome, settled.reply, settled.diagnosis) == ("succeeded", "", ())


def test_the_secrets_of_an_endpoint_are_those_of_its_configuration_now() -> None:
    for secret in ("first-secret", "second-secret", "first-secret"):
        endpoint = replace(PAGE, secret=(secret,))
        for _ in range(2):
            assert attempted(answer(f"got {secret}"), endpoint).settled.answer_body == f"got {HIDDEN}".encode()


def test_the_secrets_of_an_endpoint_are_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    worked_out: list[Endpoint] = []

    def of(endpoint: Endpoint) -> EndpointRedaction:
        worked_out.append(endpoint)
        return EndpointRedaction.none()

    monkeypatch.setattr(EndpointRedaction, "of", of)
    monkeypatch.setattr(result, "MAX_REDACTIONS", 2)
    endpoints = [replace(PAGE, name=name) for name in "abc"]
    for endpoint in endpoints:
        for _ in range(3):
            attempted(Response(status=200), endpoint)
        assert len(result._redactions) <= 2
    assert worked_out == endpoints


@pytest.mark.parametrize("status", [200, 410, 503])
def test_an_attempt_that_succeeded_speaks_for_its_endpoint(status: int) -> None:
    result = attempted(Response(status=status), replace(PAGE, success=str(status)))
    assert (result.settled.outcome, result.settled.due, result.weight, result.pause) == ("succeeded", None, 0, None)


def test_an_attempt_that_failed_speaks_against_its_endpoint() -> None:
    result = attempted(Response(status=503, headers=(("Retry-After", "60"),)))
    assert (result.settled.outcome, result.settled.due, result.weight, result.pause) == ("again", NOW + 66, HEAVY, 60)
    assert attempted(Response(status=410)).weight == 0 and attempted(Response(status=410)).settled.outcome == "dead"


@pytest.mark.parametrize("kind", ["refused_address", "url"])
def test_a_url_that_must_not_be_called_is_dead_and_nothing_against_its_origin(kind: str) -> None:
    refused = Response(failure=Failure(kind=kind, sentence="this address is not allowed"))
    result = attempted(refused, replace(PAGE, free_form=True))
    assert (result.settled.outcome, result.weight, result.pause) == ("dead", None, None)
    assert result.settled.sentence == "this address is not allowed"
    assert (attempted(refused).settled.outcome == "dead") == (kind == "url") and attempted(refused).weight is not None


PLAIN = "text/plain; charset=utf-8"


def answer(body: bytes | str, kind: str | None = PLAIN, status: int = 200, **more: str) -> Response:
    raw = body.encode() if isinstance(body, str) else body
    headers = (() if kind is None else (("content-TYPE", kind),)) + tuple(more.items())
    return Response(status=status, headers=headers, body=raw, size=len(raw))


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("Thank you!", "text/plain", "Thank you!"),
        ("Thank you!", "Text/Plain ; Charset=UTF-8; format=flowed", "Thank you!"),
        ("\ufeff Grüße 🎉\r\nzwei\rdrei\t4\n\n", PLAIN, "Grüße 🎉\nzwei\ndrei\t4"),
        ("Grüße €".encode("windows-1252"), "text/plain", "Grüße €"),
        ("Grüße".encode("iso-8859-1"), "text/plain; charset=iso-8859-1", "Grüße"),
        ("привет".encode("koi8-r"), 'text/plain; charset="koi8-r"', "привет"),
        ("Grüße", "text/plain; charset=windows-1252", "GrÃ¼ÃŸe"),
        ("Grüße".encode("windows-1252"), PLAIN, "Grüße"),
        ("Grüße", "text/plain; charset=none-such", "Grüße"),
        ("I <3 you, a<b and b>c", PLAIN, "I <3 you, a<b and b>c"),
        ("There was a fatal error on line 3 of your form", PLAIN, "There was a fatal error on line 3 of your form"),
        ("x" * MAX_REPLY_CHARACTERS, PLAIN, "x" * MAX_REPLY_CHARACTERS),
        ("🎉" * MAX_REPLY_CHARACTERS + "\n" * 500, PLAIN, "🎉" * MAX_REPLY_CHARACTERS),
    ],
)
def test_plain_text(body: bytes | str, kind: str, said: str) -> None:
    assert reply_text(answer(body, kind)) == (said, "")


@pytest.mark.parametrize("status", [201, 202, 299])
def test_any_success_will_do(status: int) -> None:
    assert reply_text(answer("fine", status=status)) == ("fine", "")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (answer("gone", status=404), "no success"),
        (answer("moved", status=302), "no success"),
        (answer("choose", status=300), "no success"),
        (Response(status=200, body=b"half", size=4, failure=Failure(kind="reset", sentence="")), "no success"),
        (Response(), "no success"),
        (answer("<p>hi", "text/html"), "the answer's Content-Type is not text/plain"),
        (answer("hi", None), "the answer's Content-Type is not text/plain"),
        (answer("{}", "application/json"), "the answer's Content-Type is not text/plain"),
        (answer("hi", "text/plainly"), "the answer's Content-Type is not text/plain"),
        (answer("hi", "text/plain", **{"Content-Type": "text/html"}), "the answer's Content-Type is not text/plain"),
        (answer("hi", **{"Content-Encoding": "gzip"}), "is compressed (Content-Encoding)"),
        (answer(""), "empty"),
        (answer(" \r\n\t\ufeff"[:3]), "empty"),
        (answer("x" * (MAX_REPLY_CHARACTERS + 1)), "longer than 1,600 characters"),
        (answer("nul \0"), "has control characters in it"),
        (answer("bell \a"), "has control characters in it"),
        (answer("hi".encode("utf-16"), "text/plain; charset=utf-16"), "has control characters in it"),
        (answer(b"\x81\x8d", "text/plain"), "has control characters in it"),
        (answer("<!DOCTYPE html>\n<title>x"), "HTML"),
        (answer("<HTML>"), "HTML"),
        (answer("Thanks!<br>Bye"), "HTML"),
        (answer("Thanks!<br />Bye"), "HTML"),
        (answer("<a href='x'>here</a>"), "HTML"),
        (answer("<?php echo 'hi';"), "HTML"),
        (answer("<?xml version='1.0'?>"), "HTML"),
        (answer("hi <script >alert(1)"), "HTML"),
        (answer("hi <!-- more -->"), "HTML"),
        (answer("PHP Fatal error:  Uncaught Error: no in /a.php:3\n  thrown in /a.php on line 3"), "a PHP error page"),
        (answer('Traceback (most recent call last):\n  File "a.py", line 1'), "a Python traceback"),
        (answer("Warning: Undefined variable $a in /var/www/a.php on line 3\nThanks"), "a PHP warning"),
    ],
)
def test_what_is_none(given: Response, why: str) -> None:
    text, said = reply_text(given)
    assert not text and said.endswith(why) and said.startswith("the answer")


def test_an_answer_that_was_cut_is_none() -> None:
    cut = Response(status=200, headers=(("Content-Type", PLAIN),), body=b"hello", size=70_000)
    assert reply_text(cut) == ("", "the answer was not read to its end")


@given(st.binary(max_size=60), st.sampled_from([PLAIN, "text/plain", "text/plain; charset=shift_jis", "text/plain;="]))
def test_any_bytes_are_a_text_or_have_a_reason(body: bytes, kind: str) -> None:
    text, why = reply_text(answer(body, kind))
    assert bool(text) != bool(why) and text == text.strip() and "\0" not in text
