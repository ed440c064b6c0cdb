"""Writes the table of licences.md from a CycloneDX list of what is installed to run: `make sbom` calls this."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

PAGE = Path(__file__).with_name("licences.md")
TABLE = re.compile(r"(<!-- licences -->\n).*(<!-- end -->\n)", re.DOTALL)
HEAD = "\n| package | version | licence |\n|---|---|---|\n"
CLASSIFIER = "License :: OSI Approved :: "


def written(page: str, components: list[dict[str, Any]]) -> str:
    """The page with the components in its table, each with every licence that it declares; the text around it stays."""
    rows = sorted(f"| {canonicalize_name(one['name'])} | {one['version']} | {_licences(one)} |\n" for one in components)
    return TABLE.sub(lambda found: found[1] + HEAD + "".join(rows) + "\n" + found[2], page)


def _licences(component: dict[str, Any]) -> str:
    named = []
    for declared in component.get("licenses", ()):
        licence = declared.get("license", {})
        named.append(declared.get("expression") or licence.get("id") or licence["name"].removeprefix(CLASSIFIER))
    return ", ".join(named)


if __name__ == "__main__":
    bill = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    PAGE.write_text(written(PAGE.read_text("utf-8"), bill["components"]), "utf-8")
