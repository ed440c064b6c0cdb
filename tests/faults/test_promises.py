"""Every promise of docs/reliability.md names a test that there is."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMED = re.compile(r"`([\w/]*\.py)?(?:::(\w+))?`")


def named() -> list[tuple[str, str]]:
    """(file, test); a test without a file is one of the file named before it."""
    found, file = [], ""
    for line in (ROOT / "docs" / "reliability.md").read_text("utf-8").splitlines():
        for path, test in NAMED.findall(line):
            file = path or file
            found += [(file, test)] if path or test else []
    return found


def test_they_are_there() -> None:
    assert len(named()) > 20
    for path, test in named():
        file = next((one for one in (HERE / path, ROOT / path) if one.is_file()), None)
        assert file is not None, path
        assert not test or f"def {test}(" in file.read_text("utf-8"), f"{path}::{test}"
