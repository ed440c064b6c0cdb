"""Configuration files: any text is a `Config` or a `ConfigError` with its places."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from gateway.config import ConfigError
from gateway.config.load import loads
from gateway.config.schema import TABLES, sample
from gateway.routing.explain import explain
from tests import acme
from tests.fuzz.callbacks import CONFIG
from tests.fuzz.corpus import damaged
from tests.fuzz.engine import Target

ENVIRON = {"SECRET": "canary", "BROKEN": "\udcff", "LIKE_A_VARIABLE": "${SECRET}", "EMPTY": ""}
EVERYTHING = re.sub(r"(?m)^( *)# ", r"\1", sample())
"""The sample with each of its settings set."""
TEXTS = ("JOIN", "a" * 60 + "!", "", "ſtop", "👨‍👩‍👧")

texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from(("page", "app", "2xx", "200-204,300", "legacy", "carrierx", "15162065919", "US", "numeric")),
    st.sampled_from(("${SECRET}", "${BROKEN}", "${LIKE_A_VARIABLE}", "${EMPTY}", "${NONE}", "${", "$${x}", "response")),
    st.sampled_from(("http://10.0.0.5/x", "http://u:p@h:1/x", "http://[::1", "https://h:99999/", "sqlite:///x.db")),
    st.sampled_from(("postgresql://u:p@h,h2:x/db?a=b", "10.0.0.0/8", "10.0.0.1/8", "::/200", "whsec_AAAA", "whsec_é")),
    st.sampled_from(("^(a|aa)+$", "(a+)+!", "(?=x)", r"\1", "(", "[a", "{name}", "{{x}}", "{", "utf-8", "1.2", "\0")),
).map(lambda text: json.dumps(text, ensure_ascii=False))
scalars = st.one_of(
    texts,
    st.integers(-5, 400).map(str),
    st.sampled_from(("true", "false", "1.5", "nan", "-inf", "2026-01-01", "07:32:00", "1_000", "9" * 5000, "x")),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda all: f"[{', '.join(all)}]")
        | st.dictionaries(st.sampled_from(("user_name", "api_key", "X-A", "sent", "host")), inner, max_size=3).map(
            lambda all: f"{{ {', '.join(f'{name} = {value}' for name, value in all.items())} }}"
        )
    ),
    max_leaves=5,
)
HEADERS = {"number": "[[number]]", "number.keyword": "[[number.keyword]]"}


def lines_of(table: str) -> st.SearchStrategy[str]:
    """A table with some of its settings, and now and then one that it does not have."""
    named = f"[{table}.{{}}]".format
    header = (
        st.sampled_from(("page", "app", '"a b"', "é", "@x", "a.b")).map(named)
        if table in ("endpoint", "template")
        else st.just(HEADERS.get(table, f"[{table}]"))
    )
    settings = st.dictionaries(st.sampled_from((*TABLES[table], "password", "kyes")), values, max_size=5)
    return st.tuples(header, settings).map(
        lambda given: "\n".join((given[0], *(f"{name} = {value}" for name, value in given[1].items())))
    )


tables = st.lists(st.sampled_from(sorted(TABLES)).flatmap(lines_of), max_size=5).map("\n".join)
changed = st.tuples(
    st.sampled_from([*re.findall(r"(?m)^ *\w+ = (.+)$", EVERYTHING)]), values, st.sampled_from((EVERYTHING, CONFIG))
).map(lambda given: given[2].replace(f"= {given[0]}", f"= {given[1]}", 1))
whole = damaged([sample().encode(), EVERYTHING.encode(), CONFIG.encode(), acme.TOML.encode()], [b"[[", b"${"])
inputs = tables | changed | tables.map(CONFIG.__add__) | whole.map(lambda text: text.decode(errors="replace"))


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    def check(text: str) -> str:
        try:
            config = loads(text, path=folder / "gateway.toml", environ=ENVIRON)
        except ConfigError as error:
            assert error.faults and "canary" not in str(error)
            return "refused"
        assert "canary" not in repr(config) + "".join(config.warnings)
        for number in config.numbers:
            for said in TEXTS:
                explain(said, number, config)
        return "read"

    yield Target(inputs=inputs, check=check, ways=("read", "refused"))
