"""How texts and JSON stand in columns: the quick ways write what the slow way writes."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.store.spelling import MAX_KEY_CHARACTERS, index_key, pairs_from_json, pairs_to_json, texts_to_json, to_json

TEXTS = st.text(st.characters(codec=None), max_size=20)


@given(st.lists(TEXTS))
def test_words_are_packed_as_json(words: list[str]) -> None:
    assert texts_to_json(words) == to_json(words)
    assert json.loads(texts_to_json(words)) == words


@given(st.lists(st.tuples(TEXTS, TEXTS)))
def test_pairs_are_packed_as_json_and_come_back(headers: list[tuple[str, str]]) -> None:
    assert pairs_to_json(headers) == to_json([list(pair) for pair in headers])
    assert pairs_from_json(pairs_to_json(headers)) == tuple(headers)


@given(TEXTS, st.integers(1, 300))
def test_keys_are_short_and_different_texts_stay_different(text: str, times: int) -> None:
    found = index_key(text * times)
    assert len(found.encode()) <= MAX_KEY_CHARACTERS
    assert found != index_key(text * times + "x")
    assert index_key(found) == found
