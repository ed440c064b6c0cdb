"""The benchmark of a backlog, in small: it runs, on both databases, and says what it was asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_a_small_backlog_is_measured(tmp_path: Path) -> None:
    small = ["--owed", "200", "--endpoints", "40", "--rounds", "1", "--postgresql"]
    command = [sys.executable, "-m", "benchmarks.scale", *small, "--results", str(tmp_path / "scale.md")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    said = (tmp_path / "scale.md").read_text(encoding="utf-8")
    for words in ("## SQLite", "## PostgreSQL", "accept, cpu", "claim, wall", "due endpoints", "memory at most"):
        assert words in said
