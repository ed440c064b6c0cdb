"""Texts and JSON in columns: the fast encoders write what the slow one writes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store.statement import (
    MAX_KEY_BYTES,
    index_key,
    index_keys,
    pairs_from_json,
    pairs_to_json,
    storable,
    texts_to_json,
    to_json,
)

TEXTS = st.text(st.characters(codec=None), max_size=20)


@given(st.lists(TEXTS))
def test_texts_are_written_as_json(texts: list[str]) -> None:
    assert texts_to_json(texts) == to_json(texts)
    assert json.loads(texts_to_json(texts)) == texts


@given(st.lists(st.tuples(TEXTS, TEXTS)))
def test_pairs_are_written_as_json_and_come_back(headers: list[tuple[str, str]]) -> None:
    assert pairs_to_json(headers) == to_json([list(pair) for pair in headers])
    assert pairs_from_json(pairs_to_json(headers)) == tuple(headers)


@given(TEXTS, st.integers(1, 300))
def test_keys_are_short_and_different_texts_stay_different(text: str, times: int) -> None:
    found = index_key(text * times)
    assert len(found.encode()) <= MAX_KEY_BYTES
    assert found != index_key(text * times + "x")
    assert index_key(found) == found


@given(TEXTS, TEXTS, st.integers(1, 30))
def test_keys_of_several_columns_are_the_keys_of_each(text: str, other: str, times: int) -> None:
    assert index_keys(a=text * times, b=other * times) == {"a": index_key(text * times), "b": index_key(other * times)}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("plain", "plain"),
        ("", ""),
        ("a\0b", "ab"),
        ("é\0", "é"),
        ("half \ud800 a pair", "half ? a pair"),
        ("x" * MAX_KEY_BYTES, "x" * MAX_KEY_BYTES),
        ("é" * (MAX_KEY_BYTES // 2), "é" * (MAX_KEY_BYTES // 2)),
    ],
)
def test_a_column_holds_what_a_database_takes(text: str, kept: str) -> None:
    assert storable(text) == index_key(text) == kept
    assert index_keys(one=text, two="") == {"one": kept, "two": ""}


@pytest.mark.parametrize("text", ["x" * (MAX_KEY_BYTES + 1), "é" * (MAX_KEY_BYTES // 2 + 1)])
def test_a_key_that_is_too_long_is_shortened_to_one_that_no_other_has(text: str) -> None:
    shortened = index_key(text)
    assert len(shortened.encode()) <= MAX_KEY_BYTES and shortened.startswith(text[:50])
    assert shortened != index_key(f"{text}.") and index_keys(one=text) == {"one": shortened}


def test_nothing_at_all_as_json() -> None:
    assert (to_json({}), to_json([]), to_json(()), texts_to_json([]), pairs_to_json([])) == (
        "{}",
        "[]",
        "[]",
        "[]",
        "[]",
    )
    assert pairs_from_json("[]") == () and pairs_from_json('[["a","b"]]') == (("a", "b"),)
