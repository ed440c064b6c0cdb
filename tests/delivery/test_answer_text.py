"""Which answers of an endpoint are texted back, and why others are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.answer_text import LONGEST, answer_text, read
from gateway.safe_http.models import Failure, Response

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
        ("x" * LONGEST, PLAIN, "x" * LONGEST),
        ("🎉" * LONGEST + "\n" * 500, PLAIN, "🎉" * LONGEST),
    ],
)
def test_plain_text(body: bytes | str, kind: str, said: str) -> None:
    assert read(answer(body, kind)) == (said, "") and answer_text(answer(body, kind)) == said


@pytest.mark.parametrize("status", [201, 202, 299])
def test_any_success_will_do(status: int) -> None:
    assert answer_text(answer("fine", status=status)) == "fine"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (answer("gone", status=404), "no success"),
        (answer("moved", status=302), "no success"),
        (Response(status=200, body=b"half", size=4, failure=Failure(kind="reset", sentence="")), "no success"),
        (Response(), "no success"),
        (answer("<p>hi", "text/html"), "not text/plain"),
        (answer("hi", None), "not text/plain"),
        (answer("{}", "application/json"), "not text/plain"),
        (answer("hi", "text/plainly"), "not text/plain"),
        (answer("hi", "text/plain", **{"Content-Type": "text/html"}), "not text/plain"),
        (answer("hi", **{"Content-Encoding": "gzip"}), "compressed"),
        (answer(""), "empty"),
        (answer(" \r\n\t\ufeff"[:3]), "empty"),
        (answer("x" * (LONGEST + 1)), "longer than 1,600 characters"),
        (answer("nul \0"), "control characters"),
        (answer("bell \a"), "control characters"),
        (answer("hi".encode("utf-16"), "text/plain; charset=utf-16"), "control characters"),
        (answer(b"\x81\x8d", "text/plain"), "control characters"),
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
    text, said = read(given)
    assert not text and why in said and said.startswith("the answer")


def test_an_answer_that_was_cut_is_none() -> None:
    cut = Response(status=200, headers=(("Content-Type", PLAIN),), body=b"hello", size=70_000)
    assert read(cut) == ("", "the answer was not read to its end")


@given(st.binary(max_size=60), st.sampled_from([PLAIN, "text/plain", "text/plain; charset=shift_jis", "text/plain;="]))
def test_any_bytes_are_a_text_or_have_a_reason(body: bytes, kind: str) -> None:
    text, why = read(answer(body, kind))
    assert bool(text) != bool(why) and text == text.strip() and "\0" not in text
