"""The list of licences: complete for what is installed to run, and nothing in it that nobody has looked at."""

from __future__ import annotations

import re
from typing import Any

from docs.licences import PAGE, written
from tests.test_setup import RUN_LOCK, locked

ALLOWED = {
    "Apache Software License",
    "Apache-2.0",
    "BSD License",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "LGPL-2.1-only",
    "LGPL-3.0-only",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)",
    "PSF-2.0",
}
"""Licences under which a program may use a package, whatever its own licence is."""
ROW = re.compile(r"^\| ([a-z0-9-]+) \| ([^ ]+) \| (.*) \|$", re.MULTILINE)


def rows() -> dict[str, tuple[str, str]]:
    found = ROW.findall(PAGE.read_text("utf-8"))
    return {name: (version, licences) for name, version, licences in found if name != "package"}


def test_every_package_that_runs_is_listed_at_its_version() -> None:
    assert {name: version for name, (version, _) in rows().items()} == {
        name: str(version) for name, (version, _) in locked(RUN_LOCK).items()
    }


def test_every_licence_is_allowed() -> None:
    words = {name: set(re.split(", | AND | OR ", licences)) for name, (_, licences) in rows().items()}
    assert {name: found - ALLOWED for name, found in words.items() if not found <= ALLOWED} == {}


def test_each_way_of_declaring_a_licence_is_written() -> None:
    components: list[dict[str, Any]] = [
        {"name": "b_two", "version": "2.0", "licenses": [{"expression": "MIT OR Apache-2.0"}]},
        {
            "name": "A.one",
            "version": "1.0",
            "licenses": [{"license": {"id": "MIT"}}, {"license": {"name": "License :: OSI Approved :: BSD License"}}],
        },
        {"name": "c", "version": "3"},
    ]
    page = written("before\n<!-- licences -->\nold\n<!-- end -->\nafter\n", components)
    assert page.startswith("before\n") and page.endswith("after\n") and "old" not in page
    assert ROW.findall(page) == [
        ("package", "version", "licence"),
        ("a-one", "1.0", "MIT, BSD License"),
        ("b-two", "2.0", "MIT OR Apache-2.0"),
        ("c", "3", ""),
    ]
