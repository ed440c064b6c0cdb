"""The words for a message's status: which are final, and which may follow which."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import status

FINAL = ("delivered", "undelivered", "timed_out", "sending_failed", "failed")
FLOWS = (
    ("queued", "sent", "delivered"),
    ("queued", "sent", "undelivered"),
    ("queued", "sent", "timed_out"),
    ("queued", "sending_timed_out", "sending_failed"),
    ("queued", "internal_error", "sending_failed"),
    ("queued", "failed"),
    ("queued", "sent", "failed"),
)
"""The flow as the vendor draws it."""


def test_final() -> None:
    assert set(filter(status.is_final, status.WORDS)) == set(FINAL)


@pytest.mark.parametrize("flow", FLOWS, ids=" ".join)
def test_the_flow_goes_forwards_only(flow: tuple[str, ...]) -> None:
    for at, old in enumerate(flow):
        assert all(status.supersedes(old, new) for new in flow[at + 1 :])
        assert not any(status.supersedes(new, old) for new in flow[at + 1 :])


@pytest.mark.parametrize(("old", "new"), list(permutations(("sent", "sending_timed_out", "internal_error"), 2)))
def test_words_of_one_stage_follow_each_other(old: str, new: str) -> None:
    assert status.supersedes(old, new)


@given(st.sampled_from(FINAL), st.text(max_size=20))
def test_nothing_but_another_final_word_follows_a_final_one(old: str, other: str) -> None:
    """Nobody can know which of two final words is right: the later one goes out too."""
    assert not status.supersedes(old, other)
    assert not any(status.supersedes(old, new) for new in ("queued", "sent", "sending_timed_out", "internal_error"))
    assert all(status.supersedes(old, new) for new in FINAL)


@given(st.text(max_size=20))
def test_an_unknown_word_goes_out_until_the_end_is_known(word: str) -> None:
    said, known = status.read(word)
    assert known == (said in status.WORDS)
    if not known:
        assert said == word.strip() and not status.is_final(said)
        assert status.supersedes("sent", said) and status.supersedes(said, "queued")


@given(st.integers(min_value=-(10**8), max_value=10**8))
def test_numbers(number: int) -> None:
    known = {-1: "queued", 99: "queued", 102: "queued", 101: "sent", 100: "delivered"}
    failed = 110 <= number <= 116 or number >= 200
    expected = "failed" if failed else known.get(number)
    assert status.read(str(number)) == ((expected, True) if expected else (str(number), False))


def test_numbers_that_are_written_are_read_as_they_were_meant() -> None:
    """Two words share a number with others: old platforms cannot tell them apart."""
    lost = {"sending_timed_out": "queued", "internal_error": "queued"} | dict.fromkeys(FINAL[1:], "failed")
    assert {word: status.read(number)[0] for word, number in status.NUMERIC.items()} == {
        word: lost.get(word, word) for word in status.NUMERIC
    }


def test_how_far_along_a_word_is() -> None:
    """A word that is not in the flow comes behind all that are."""
    words = ["delivered", "brand_new", "sent", "queued", "internal_error"]
    assert sorted(words, key=status.stage) == ["queued", "sent", "internal_error", "delivered", "brand_new"]
