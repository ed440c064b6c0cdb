"""docs/security.md and docs/asvs.md: each file, function and test named there exists, each requirement has its word."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "docs" / "security.md", ROOT / "docs" / "asvs.md")
PLACE = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|md|toml|txt|json|html))(?:::(\w+))?`")
OPERATORS = {("gateway.toml", "")}
"""Files that are not in the repository."""
REQUIREMENT = re.compile(r"^\| (\d+\.\d+\.\d+) \|(.*)\|$", re.MULTILINE)


@cache
def names_of(path: Path) -> set[str]:
    """The functions, classes and constants of a module, however deep they stand."""
    tree = ast.parse(path.read_text("utf-8"))
    defined = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    return defined | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_named_exists(page: Path) -> None:
    places = PLACE.findall(page.read_text("utf-8"))
    assert len(places) > 50
    missing = []
    for path, name in set(places) - OPERATORS:
        file = ROOT / path
        if not (file.is_file() and (not name or name in names_of(file))):
            missing.append(f"{path}::{name}")
    assert missing == []


def test_each_threat_has_code_and_tests() -> None:
    text = PAGES[0].read_text("utf-8")
    for row in re.findall(r"^\|(.*)\|$", text[text.index("## Found") : text.index("## What is not")], re.MULTILINE):
        cells = re.split(r"(?<!\\)\|", row)
        if not set(row) <= set("-|") and cells[-1].strip() != "tests":
            assert re.search(r"`tests/[\w/]+\.py::test_\w+`", cells[-1]), row


def test_each_requirement_has_its_word_and_its_evidence() -> None:
    rows = REQUIREMENT.findall(PAGES[1].read_text("utf-8"))
    assert len(rows) > 200
    ids = [tuple(int(part) for part in number.split(".")) for number, _ in rows]
    assert ids == sorted(set(ids)), "each id once, in order"
    for number, row in rows:
        level, _, word, evidence = (cell.strip() for cell in row.split("|"))
        assert level in ("1", "2") and word in ("held", "not applicable", "open") and evidence, number
        assert word != "held" or "`" in evidence, f"{number} is held by nothing that is named"
