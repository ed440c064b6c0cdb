"""A few seconds of each target of `make fuzz`, with the same inputs at the beginning of each run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import engine

SECONDS = 20.0  # of all targets together


@pytest.mark.parametrize("name", engine.MODULES)
def test_whatever_comes_is_answered(name: str, tmp_path: Path) -> None:
    """In time, in bounds, as nothing but what the target allows; and its inputs get everywhere that they should."""
    with engine.opened(name, tmp_path) as target:
        done = engine.run(target, SECONDS / len(engine.MODULES), seed=1)
    assert not done.missing(), str(done)
