"""Patterns of the configuration: found as `re` finds them, in linear time, and refused where that cannot be."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.matching.keywords import KeywordIndex
from gateway.matching.patterns import LinearPattern, RefusedPattern
from tests.matching.test_keywords import Keyword

PATTERNS = [
    *("a", "^a$", r"\Aa\Z", "a|b|", "^$", "$", "(a|b)+c?", "a.c", "(?s)a.c", "a*?b+?", "a{,2}b", "^a{2}$", "^a{2,}$"),
    *(r"^\w+$", r"^\W+$", r"\d\D", r"^\s+$", r"^\S+$", r"^[^\W\d_]+$", r"[^\S\n]a", r"[\s\S]b", r"(?a)^\w+$"),
    *("[^a]", "[^a-c]", "[]a]", r"[\[:a]", "[a-]", r"[\]^-]", r"\.", r"\u00e9", r"\x41", r"\0", "\N{SNOWMAN}|é"),
    *("(?i)straße", "(?i)k", "(?i:a)b", "(?i)a(?-i:b)", "(?i)[a-c]é", "(?i)[^k]", "(?i)σ", "(?m)^a$", "(?ms)a$.^b"),
    *("(?P<name>a)b", "(?:ab)*c", "(?x) a b # both", "(?#what)a", "(a{2}){3}", "(^a|b$)", "(?:^|b)a(?:$|c)", "(?:)*a"),
    *("x{0}a", "()", "(?:a|)b$", r"a\Z|\Ab", r"^(?:\d{3}-)?\d{4}$", "join|sign.?up", "[\u00e0-\u00ff]+", r"^\+?1"),
]
TEXTS = st.text("aAbBcC xX\n\r\t\x0b\x1c\x85.-]^[+:1 2\u00a0\u0661éÉßẞſKkσςΣ_\0☃\U0001f600", max_size=12)
FLAGS = (re.NOFLAG, re.ASCII, re.IGNORECASE, re.IGNORECASE | re.MULTILINE)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_found_where_re_finds_it(pattern: str) -> None:
    engines = [(LinearPattern(pattern, flags), re.compile(pattern, flags)) for flags in FLAGS]
    # Python knows the two cases of ASCII's letters alone, RE2 those of all.
    engines = [
        each for each in engines if not (each[1].flags & re.ASCII and ("(?i" in pattern or each[1].flags & re.I))
    ]

    @settings(max_examples=40, deadline=None)
    @given(st.one_of(st.text(max_size=12), TEXTS, st.from_regex(engines[0][1]), st.from_regex(engines[1][1])))
    @example("OK\n")
    @example("a\n")
    @example("a\n\n")
    @example("José")
    @example("٣")
    @example("STRASSE \u212a \u017f \0 \x1c \x85 \u2028 \ue000 \U0010ffff")
    def looks(text: str) -> None:
        text = text.encode("utf-8", "replace").decode()
        for ours, theirs in engines:
            assert ours.search(text) is (theirs.search(text) is not None)

    looks()


def test_a_boundary_is_one_of_ascii() -> None:
    assert LinearPattern(r"\bjoin\b").search("please join!")
    assert not LinearPattern(r"\bjoin\b").search("rejoin joining join1")
    assert not LinearPattern(r"caf\u00e9\b").search("un caf\u00e9 noir")
    assert LinearPattern(r"a\Bb").search("ab")


def test_a_lone_surrogate_is_a_question_mark() -> None:
    assert LinearPattern("^a.b$").search("a\udcffb") and LinearPattern(r"\?").search("\ud800")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a(?=b)", "has lookaround, (?=…) or (?<=…); write what must stand there as a part of the pattern"),
        ("(?<=a)b", "has lookaround, (?=…) or (?<=…)"),
        ("a(?!b)", "has negative lookaround, (?!…) or (?<!…); write what may stand there instead"),
        ("(?<!a)b", "has negative lookaround"),
        ("(?!)", "has negative lookaround"),
        (r"(a|b)\1", r"has a reference to a group, \1 or (?P=name); write out what may be repeated"),
        ("(?P<x>a)(?P=x)", "has a reference to a group"),
        ("(a)?(?(1)b|c)", "has a condition, (?(1)…|…); write out both cases"),
        ("(?>a+)b", "has an atomic group, (?>…); write (?:…)"),
        ("a++b", "has a possessive repetition, such as a++; write a+"),
        ("(?:x|(y(?:a*+)))", "has a possessive repetition"),
        ("a{1001}", "repeats something more than 1,000 times; write * or +"),
        ("a{5,1600}", "repeats something more than 1,000 times"),
        ("a{1001,}", "repeats something more than 1,000 times"),
        ("(a{100}){100}", "is too large; let it repeat less"),
        (r"\w{1000}", "is too large"),
    ],
)
def test_what_cannot_be_found_in_linear_time_is_refused_in_plain_words(pattern: str, reason: str) -> None:
    re.compile(pattern)
    with pytest.raises(RefusedPattern, match=f"^{re.escape(reason)}"):
        LinearPattern(pattern)


@pytest.mark.parametrize("pattern", ["(", "[a", "a**", r"\p", "(?P<1>a)", "*"])
def test_what_is_no_pattern_is_none_as_re_has_it(pattern: str) -> None:
    with pytest.raises(re.error) as ours:
        LinearPattern(pattern)
    with pytest.raises(re.error) as theirs:
        re.compile(pattern)
    assert (ours.value.msg, ours.value.pos) == (theirs.value.msg, theirs.value.pos)


def test_a_keyword_that_is_ambiguous_does_not_stop_the_gateway() -> None:
    """`re` needed 31 seconds for this text: 2,000 characters it would never have come to an end with."""
    index = KeywordIndex([Keyword(word="^(a|aa)+$", match="regex")])
    begun = time.perf_counter()
    assert index.match("a" * 61 + " b") is None and index.match("a" * 61)
    assert index.match("a" * 1999 + "b") is None
    assert time.perf_counter() - begun < 5


def test_equal_patterns_are_equal() -> None:
    assert LinearPattern("a") == LinearPattern("a") != LinearPattern("a", re.IGNORECASE)
    assert (str(LinearPattern("a+")), hash(LinearPattern("a"))) == ("a+", hash(LinearPattern("a")))
