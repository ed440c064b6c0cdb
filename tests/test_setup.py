"""What `make run` and `make test` stand on: pinned versions, stamps, packaged files, and nothing of this machine."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUN = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
TEST = [Requirement(line) for line in PROJECT["project"]["optional-dependencies"]["test"]]
MUTANTS = [Requirement(line) for line in PROJECT["project"]["optional-dependencies"]["mutants"]]
BUILD = [Requirement(line) for line in PROJECT["build-system"]["requires"]]
SAFE = {
    "werkzeug": "3.1.9",
    "flask": "3.1.3",
    "requests": "2.34.2",
    "urllib3": "2.8.0",
    "marshmallow": "4.1.2",
    "jinja2": "3.1.6",
}
"""Versions that mended what could be attacked."""
NAMES = {
    "argon2": "argon2-cffi",
    "flask_wtf": "flask-wtf",
    "prometheus_client": "prometheus-client",
    "re2": "google-re2",
}
"""Module → the distribution that has it, where the names differ."""
LEFT_OUT = {".git", ".venv", "data", "__pycache__", "build", "dist"}


def pins() -> dict[str, Version]:
    lines = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line]
    assert all(len(pair) == 2 for pair in pairs), "constraints.txt has exact versions only"
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def needed(requirements: list[Requirement]) -> set[str]:
    """The names of all that is installed with them, on this machine."""
    found: set[str] = set()
    waiting = [one for one in requirements if one.marker is None or one.marker.evaluate()]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in found:
            continue
        found.add(name)
        extras = [*one.extras, ""]
        for line in metadata.requires(name) or ():
            below = Requirement(line)
            if below.marker is None or any(below.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(below)
    return found


def files() -> Iterator[Path]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.endswith(("_cache", ".egg-info"))]
        yield from (Path(folder) / name for name in names)


def test_everything_is_pinned() -> None:
    assert not needed(RUN + TEST) - pins().keys()
    assert not {canonicalize_name(one.name) for one in BUILD + MUTANTS} - pins().keys()


def test_the_pins_fit_the_project() -> None:
    pinned = pins()
    named = RUN + TEST + BUILD + MUTANTS
    assert [str(one) for one in named if pinned[canonicalize_name(one.name)] not in one.specifier] == []


def test_nothing_unsafe_is_allowed() -> None:
    lowest = {canonicalize_name(one.name): one for one in RUN}
    for name, version in SAFE.items():
        assert pins()[name] >= Version(version)
        assert f">={version}" in str(lowest[name].specifier)


def test_what_is_imported_is_named() -> None:
    """Not by way of something else that happens to need it today."""
    named = {canonicalize_name(one.name) for one in RUN}
    sources = [*ROOT.glob("gateway/**/*.py"), *ROOT.glob("schemas/**/*.py")]
    tops = {name.partition(".")[0] for source in sources for name in _imports(source)}
    others = tops - set(sys.stdlib_module_names) - {"gateway", "schemas", "_typeshed"}
    assert {NAMES.get(name, name) for name in others} <= named


def _imports(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_no_address_of_an_index_is_anywhere() -> None:
    """Where packages come from is the machine's business."""
    # Written so that this file is not found itself.
    words = ("index[-]url", "find[-]links", "trusted[-]host", r"pyp[i]\.", r"/simpl[e]\b")
    told = re.compile("|".join(words))
    found = [path for path in files() if path.suffix != ".pyc" and told.search(path.read_text("utf-8", "replace"))]
    assert found == []


def test_every_file_of_the_packages_is_packaged() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    for package in ("gateway", "schemas"):
        for path in (ROOT / package).rglob("*"):
            if path.is_dir() or "__pycache__" in path.parts or path.name == "README.md":
                continue
            home = next(folder for folder in path.parents if (folder / "__init__.py").exists())
            inside = path.relative_to(home).as_posix()
            assert path.suffix == ".py" and home == path.parent or any(fnmatch(inside, one) for one in patterns), inside


# The Makefile, without installing anything.


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def _install(folder: Path) -> None:
    """As if it had been done, after everything else was written."""
    (folder / ".venv").mkdir()
    newest = max((folder / name).stat().st_mtime for name in ("Makefile", "pyproject.toml", "constraints.txt"))
    for number, name in enumerate(("made.stamp", "run.stamp", "test.stamp", "mutants.stamp")):
        (folder / ".venv" / name).touch()
        os.utime(folder / ".venv" / name, (newest + number + 1,) * 2)


@pytest.mark.parametrize("target", ["run", "test", "lint", "bench", "mutants"])
def test_a_second_call_starts_at_once(checkout: Path, target: str) -> None:
    _install(checkout)
    assert "pip" not in make(checkout, "-n", target).stdout


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
@pytest.mark.parametrize("target", ["run", "test"])
def test_a_change_is_installed(checkout: Path, target: str, changed: str) -> None:
    _install(checkout)
    os.utime(checkout / changed, (2**31 - 1,) * 2)
    assert "pip install" in make(checkout, "-n", target).stdout


def test_the_first_call_makes_the_environment(checkout: Path) -> None:
    told = make(checkout, "-n", "run").stdout
    assert "-m venv" in told and "-c constraints.txt -e ." in told and "PIP_CONSTRAINT=constraints.txt" in told


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "There is no"),
        ('case "$1" in -V) echo Python 3.9.2;; *) exit 1;; esac', "is Python 3.9.2; the gateway needs 3.11"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "apt install python3-venv"),
    ],
)
def test_a_python_that_will_not_do_is_said_plainly(checkout: Path, script: str | None, words: str) -> None:
    python = checkout / "python"
    if script is not None:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
    ended = make(checkout, "run", f"PYTHON={python}")
    assert ended.returncode != 0 and words in ended.stderr
    assert not (checkout / ".venv").exists()


def test_what_ci_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    lines = script.read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert [line.split()[:2] for line in lines if line.startswith("make ")] == [["make", "lint"], ["make", "test"]]
