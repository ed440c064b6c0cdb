"""Writes the tables of settings in configuration.md as `gateway.config` declares them: `make docs` calls this."""

from __future__ import annotations

import re
from dataclasses import MISSING
from pathlib import Path

from gateway.config import TABLES, Setting

PAGE = Path(__file__).with_name("configuration.md")
TABLE = re.compile(r"(<!-- settings: ([a-z.]+) ?([a-z]*) -->\n).*?(<!-- end -->\n)", re.DOTALL)
"""One table between its markers, which name the table of the file and the only format that its settings are for."""


def written(page: str) -> str:
    """The page with its tables as they must be; the text around them stays."""
    return TABLE.sub(lambda found: found[1] + _table(found[2], found[3]) + found[4], page)


def _table(name: str, format: str) -> str:
    rows = [
        f"| `{setting}` | {_default(declared)} | {declared.sentence} |\n"
        for setting, declared in TABLES[name].items()
        if declared.format == format
    ]
    return "\n| setting | default | meaning |\n|---|---|---|\n" + "".join(rows) + "\n"


def _default(setting: Setting) -> str:
    if setting.example:
        return f"`{setting.example}`"
    return setting.otherwise or ("required" if setting.default is MISSING else "none")


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
