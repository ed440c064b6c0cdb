"""The scan that finds a setting's line: held against what `tomllib` reads of the same text."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.config.errors import SettingPath, dotted, line_of, lines_of

TRICKY = '''\
# a comment with [a table] in it
title = "x" # and another = "one"
"quoted key" = 'a # no comment, no \\ escape'
long = """
[no.table]
key = "no key" \\""" still """"
longer = \'\'\'
[[no.array]]\'\'\'\'
a.b . c = 1
a.b.d = 2
when = 1979-05-27 07:32:00 # with a space
list = [ # comment ]
  1, "]", [2, 3],
  { x = 1, "y.z" = [4] },
]

[ table . "sub.table" ]
k = { in = { er = true } }

[[rows]]
n = 1
  [[rows.inner]]
  m = 1
  [[rows.inner]]
  m = 2
    [rows.inner.deep]
    z = """one line"""
[[rows]]
n = 2
[rows.other]
q = nan
[[rows.inner]]
m = 3
'''


def paths_of(text: str) -> dict[SettingPath, int]:
    return lines_of(text, tomllib.loads(text))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_tricky_file(newline: str) -> None:
    lines = paths_of(TRICKY.replace("\n", newline))
    assert {dotted(path): line for path, line in lines.items()} == {
        "title": 2,
        '"quoted key"': 3,
        "long": 4,
        "longer": 7,
        "a": 9,
        "a.b": 9,
        "a.b.c": 9,
        "a.b.d": 10,
        "when": 11,
        "list": 12,
        "list[0]": 13,
        "list[1]": 13,
        "list[2]": 13,
        "list[2][0]": 13,
        "list[2][1]": 13,
        "list[3]": 14,
        "list[3].x": 14,
        'list[3]."y.z"': 14,
        'list[3]."y.z"[0]': 14,
        "table": 17,
        'table."sub.table"': 17,
        'table."sub.table".k': 18,
        'table."sub.table".k.in': 18,
        'table."sub.table".k.in.er': 18,
        "rows": 20,
        "rows[0]": 20,
        "rows[0].n": 21,
        "rows[0].inner": 22,
        "rows[0].inner[0]": 22,
        "rows[0].inner[0].m": 23,
        "rows[0].inner[1]": 24,
        "rows[0].inner[1].m": 25,
        "rows[0].inner[1].deep": 26,
        "rows[0].inner[1].deep.z": 27,
        "rows[1]": 28,
        "rows[1].n": 29,
        "rows[1].other": 30,
        "rows[1].other.q": 31,
        "rows[1].inner": 32,
        "rows[1].inner[0]": 32,
        "rows[1].inner[0].m": 33,
    }


def test_a_place_that_is_not_there_gets_the_line_of_what_it_is_missing_from() -> None:
    lines = paths_of("\n[a.b]\nc = 1\n")
    assert line_of(("a", "b", "d", 3), lines) == 2
    assert line_of(("x",), lines) is None
    assert line_of((), lines) is None


@pytest.mark.parametrize("text", ["a = 1", "b = 1\nc = [2, 3]", "[b.c]", "b = [", "b 1", '"', "]", "b = {"])
def test_no_line_rather_than_a_wrong_one(text: str) -> None:
    assert lines_of(text, {"b": 1}) == {}


def test_odd_names_are_told_on_one_line() -> None:
    assert dotted(("a b", 'c"\n', 2, "d-e_f")) == '"a b"."c"\N{REPLACEMENT CHARACTER}"[2].d-e_f'


BARE = st.text("abcXYZ09_-", min_size=1, max_size=4)
KEYS = st.one_of(BARE, BARE.map(lambda key: f'"{key} ."'), BARE.map(lambda key: f"'{key}#'"))
BLANKS = st.sampled_from(["", " ", "\t ", "  "])
BREAKS = st.sampled_from(["", " ", "\n", '\n# ] } , = "\n', " # x\n  "])
PLAIN = st.sampled_from(
    ["1", "-2.5e3", "true", "1979-05-27 07:32:00", "1979-05-27T00:32:00-07:00", "07:32:00", "0xFF", "inf"]
    + [
        '""',
        "''",
        '"a\\"]#"',
        "'\\'",
        '"""\n[x]\na = "1"\n"""',
        "'''\n]]'''''",
        '"""a"""""',
        '"\\u00e9\\n"',
        '"""\\\n  x"""',
    ]
)


@st.composite
def inline(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    keys = draw(st.lists(KEYS, max_size=3, unique_by=lambda key: key.strip("\"'")))
    return "{ " + ", ".join(f"{key}{draw(BLANKS)}={draw(BLANKS)}{draw(values)}" for key in keys) + " }"


@st.composite
def array(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(values, max_size=3))
    end = "," if items and draw(st.booleans()) else ""
    return "[" + ",".join(draw(BREAKS) + item + draw(BREAKS) for item in items) + end + draw(BREAKS) + "]"


VALUES = st.recursive(PLAIN, lambda values: st.one_of(array(values), inline(values)), max_leaves=6)
PAIRS = st.builds(
    lambda keys, blank, value: f"{'.'.join(keys)}{blank}={blank}{value}",
    st.lists(KEYS, min_size=1, max_size=2),
    BLANKS,
    VALUES,
)
HEADERS = st.one_of(
    st.lists(KEYS, min_size=1, max_size=3).map(lambda keys: f"[ {' . '.join(keys)} ]"),
    st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(lambda keys: f"[[{'.'.join(keys)}]]"),
)
LINES = st.one_of(PAIRS, PAIRS, HEADERS, st.sampled_from(["", "  ", "# [a]", '\t# = """']))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(LINES, max_size=10))
def test_every_place_of_any_file_is_found(parts: list[str]) -> None:
    kept: list[str] = []
    for part in parts:
        try:
            tomllib.loads("\n".join([*kept, part]))
        except ValueError:
            continue
        kept.append(part)
    text = "\n".join(kept)
    parsed = tomllib.loads(text)
    assume(parsed)
    lines = paths_of(text)
    assert lines, text
    written = text.split("\n")
    for path, line in lines.items():
        if isinstance(path[-1], str):
            assert path[-1] in written[line - 1]
