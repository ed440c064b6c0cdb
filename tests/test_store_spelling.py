"""How texts and JSON stand in columns: the quick ways write what the slow way writes."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.store.spelling import LONGEST_KEY, key, packed, packed_pairs, packed_words, pairs

TEXTS = st.text(st.characters(codec=None), max_size=20)


@given(st.lists(TEXTS))
def test_words_are_packed_as_json(words: list[str]) -> None:
    assert packed_words(words) == packed(words)
    assert json.loads(packed_words(words)) == words


@given(st.lists(st.tuples(TEXTS, TEXTS)))
def test_pairs_are_packed_as_json_and_come_back(headers: list[tuple[str, str]]) -> None:
    assert packed_pairs(headers) == packed([list(pair) for pair in headers])
    assert pairs(packed_pairs(headers)) == tuple(headers)


@given(TEXTS, st.integers(1, 300))
def test_keys_are_short_and_different_texts_stay_different(text: str, times: int) -> None:
    found = key(text * times)
    assert len(found.encode()) <= LONGEST_KEY
    assert found != key(text * times + "x")
    assert key(found) == found
