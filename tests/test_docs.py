"""The documentation names files that exist, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_layers import MAY_IMPORT

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("gateway/**/*.md"), *ROOT.glob("schemas/*.md")]
)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
SOURCE = re.compile(r"`((?:gateway|schemas|tests|benchmarks|docs)/[\w./-]*)`")
MODULE = re.compile(r"`(\w+/[\w/]+\.py)`")
TITLE = re.compile(r"^#+ (.*)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    titles = TITLE.findall(page.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text("utf-8")):
        linked = (page.parent / target) if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    missing = [path for path in SOURCE.findall(text) if not (ROOT / path).exists()]
    missing += [
        path
        for path in MODULE.findall(text)
        if not any((ROOT / top / path).exists() for top in ("", "gateway", "tests"))
    ]
    assert not missing


def test_the_architecture_names_every_folder() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", (ROOT / "docs/architecture.md").read_text("utf-8"), re.MULTILINE)
    named = {word.strip("/").removesuffix(".py") for word in re.findall(r"`(.*?)`", " ".join(rows))}
    assert set(MAY_IMPORT) - {"gateway", "__main__"} <= named
