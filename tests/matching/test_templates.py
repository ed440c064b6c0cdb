"""Placeholders in texts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.matching.templates import MissingPlaceholder, fault, fill, placeholders


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello", "Hello"),
        ("Hello {name}!", "Hello Ann!"),
        ("{name}{name}", "AnnAnn"),
        ("{a.b-c_1} and {x}", "1 and "),
        ("{{name}} {{ name }} {{{name}}}", "Ann Ann {Ann}"),
        ("{{two names}}", "{two names}"),
        ("{{}} }}{{", "{} }{"),
        ("é🎉\n{name}", "é🎉\nAnn"),
        ("{how}", r"{name} \1 \g<name> {{"),
    ],
)
def test_what_is_filled_in(text: str, said: str) -> None:
    values = {"name": "Ann", "a.b-c_1": "1", "x": "", "how": r"{name} \1 \g<name> {{"}
    assert not fault(text)
    assert fill(text, values) == said


def test_what_stays_unresolved_is_named_once_and_in_order() -> None:
    with pytest.raises(MissingPlaceholder) as caught:
        fill("{b} {a} {b} {known} {{ a }}", {"known": "x"})
    assert caught.value.names == ("b", "a") and str(caught.value) == "no value for b, a"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "a { at character 1 that nothing closes"),
        ("a {b", "a { at character 3 that nothing closes"),
        ("{{{b}} c", "a } at character 6 that closes nothing"),
        ("}", "a } at character 1 that closes nothing"),
        ("{a}}", "a } at character 4 that closes nothing"),
        ("{}", "{ } at character 1 with no name"),
        ("{ a }", "{ } at character 1 with no name"),
        ("{é}", "{ } at character 1 with no name"),
        (f"{{{'x' * 65}}}", "{ } at character 1 with no name"),
        ("a { }", "{ } at character 3 with no name"),
        ("{ } {a}", "{ } at character 1 with no name"),
        ("{ {a}", "a { at character 1 that nothing closes"),
        ("{a} {", "a { at character 5 that nothing closes"),
    ],
)
def test_braces_that_are_wrong(text: str, said: str) -> None:
    assert said in fault(text)
    assert "é" not in fault(text) and "xx" not in fault(text), "nothing is quoted: it may come from the environment"


def test_what_a_placeholder_may_be_is_said() -> None:
    assert fault("{}") == (
        "has { } at character 1 with no name in it: a placeholder is {name}, of letters, digits and _ . -, "
        "64 characters at most"
    )


def test_what_cannot_be_read_stays_as_it_stands() -> None:
    assert fill("a } {name} { b", {"name": "Ann"}) == "a } Ann { b"


BRACES = st.text(st.sampled_from("{}ab .-é\n"), max_size=30)


@given(BRACES)
def test_any_text_is_filled_or_found_wrong(text: str) -> None:
    filled = fill(text, dict.fromkeys(placeholders(text), "x"))
    if not fault(text):
        assert filled.count("{") <= text.count("{{")


@given(st.text(max_size=50).filter(lambda text: not re.search("{ ?[A-Za-z0-9_.-]+ ?}", text)))
def test_any_text_can_be_said(text: str) -> None:
    """But for a name in braces."""
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert not fault(doubled) and fill(doubled, {}) == text
