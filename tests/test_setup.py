"""What `make run` and `make test` stand on: pinned versions, stamps, packaged files, and nothing of this machine."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import pip
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUN = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
TEST = [Requirement(line) for line in PROJECT["project"]["optional-dependencies"]["test"]]
TOOLS = [
    Requirement(line)
    for extra, lines in PROJECT["project"]["optional-dependencies"].items()
    if extra != "test"
    for line in lines
]
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
ELSEWHERE = {"tzdata"}
"""Needed to run, but not on this platform."""
RUN_LOCK, TEST_LOCK = ROOT / "constraints.txt", ROOT / "tests" / "locks" / "test.txt"
EXTRA_LOCKS = sorted(TEST_LOCK.parent.glob("*.txt"))
INSTALLED_FILES = ("Makefile", "pyproject.toml", "constraints.txt", "tests/locks")
LEFT_OUT = {".git", ".venv", "data", "__pycache__", "build", "dist"}


def pins() -> dict[str, Version]:
    return {name: version for lock in (RUN_LOCK, *EXTRA_LOCKS) for name, (version, _) in locked(lock).items()}


def locked(lock: Path) -> dict[str, tuple[Version, set[str]]]:
    """The versions that a lock allows, each with the SHA-256 of its files."""
    found: dict[str, tuple[Version, set[str]]] = {}
    for entry in re.split(r"\n(?=\S)", re.sub(r"(?m)^#.*\n", "", lock.read_text().rstrip())):
        head, *hashes = [line.removesuffix("\\").strip() for line in entry.splitlines()]
        (only,) = Requirement(head).specifier
        assert only.operator == "==" and hashes, f"{lock.name}: {head} has no exact version, or no hash"
        assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", one) for one in hashes), f"{lock.name}: {head}"
        found[canonicalize_name(Requirement(head).name)] = Version(only.version), set(hashes)
    return found


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
    assert not {canonicalize_name(one.name) for one in BUILD + TOOLS} - pins().keys()


def test_every_extra_has_its_lock() -> None:
    assert [lock.stem for lock in EXTRA_LOCKS] == sorted(PROJECT["project"]["optional-dependencies"])


def test_what_is_installed_is_what_is_locked() -> None:
    both = locked(TEST_LOCK) | locked(RUN_LOCK)
    assert {name: Version(metadata.version(name)) for name in needed(RUN + TEST)} == {
        name: both[name][0] for name in needed(RUN + TEST)
    }


def test_no_tool_of_the_tests_is_installed_to_run() -> None:
    assert not locked(RUN_LOCK).keys() - needed(RUN) - {canonicalize_name(one.name) for one in BUILD} - ELSEWHERE


def test_locks_agree() -> None:
    together: dict[str, tuple[Version, set[str]]] = {}
    for lock in (RUN_LOCK, *EXTRA_LOCKS):
        for name, entry in locked(lock).items():
            assert together.setdefault(name, entry) == entry, f"{lock.name}: {name}"


def test_the_pins_fit_the_project() -> None:
    pinned = pins()
    named = RUN + TEST + BUILD + TOOLS
    assert [str(one) for one in named if pinned[canonicalize_name(one.name)] not in one.specifier] == []


def test_nothing_unsafe_is_allowed() -> None:
    lowest: dict[str, Requirement] = {canonicalize_name(one.name): one for one in RUN}
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
    for name in INSTALLED_FILES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name)
        else:
            shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str, environ: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)


def _install(folder: Path) -> None:
    """As if it had been done, after everything else was written."""
    (folder / ".venv").mkdir()
    newest = max(path.stat().st_mtime for path in folder.rglob("*"))
    for number, name in enumerate(("made.stamp", "run.stamp", "test.stamp", "mutants.stamp", "supply.stamp")):
        (folder / ".venv" / name).touch()
        os.utime(folder / ".venv" / name, (newest + number + 1,) * 2)


@pytest.mark.parametrize("target", ["run", "test", "lint", "bench", "mutants", "lock", "sbom"])
def test_a_second_call_starts_at_once(checkout: Path, target: str) -> None:
    _install(checkout)
    assert ".venv/bin/python -m pip install" not in make(checkout, "-n", target).stdout


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
@pytest.mark.parametrize("target", ["run", "test"])
def test_a_change_is_installed(checkout: Path, target: str, changed: str) -> None:
    _install(checkout)
    os.utime(checkout / changed, (2**31 - 1,) * 2)
    assert "pip install" in make(checkout, "-n", target).stdout


def test_the_first_call_makes_the_environment(checkout: Path) -> None:
    told = make(checkout, "-n", "run").stdout
    assert "-m venv" in told and "--require-hashes -r constraints.txt" in told


def test_whatever_is_fetched_has_a_hash() -> None:
    commands = (ROOT / "Makefile").read_text() + (ROOT / "README.md").read_text().replace("\n> ", "")
    told = [line for line in commands.splitlines() if re.search(r"pip.* install|\$\((LOCKED|PROJECT)\)", line)]
    assert len(told) > 6
    assert not [
        line for line in told if not re.search(r"--require-hashes|--no-index|\$\((LOCKED|PROJECT)\)|^PIP :=", line)
    ]


def _wheel(folder: Path, name: str) -> str:
    """Writes a wheel with nothing but its own metadata, and returns its SHA-256."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        inside = f"{name}-1.0.dist-info"
        wheel.writestr(f"{inside}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{inside}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{inside}/RECORD", "")
    return sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("target", "bad", "words"),
    [("run", "--hash=sha256:" + "0" * 64, "DO NOT MATCH THE HASHES"), ("test", "", "Hashes are required")],
)
def test_a_file_whose_hash_is_not_in_the_lock_is_refused(checkout: Path, target: str, bad: str, words: str) -> None:
    """`make` installs a wheel of the test, without a network."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
    (checkout / ".venv" / "made.stamp").touch()
    (checkout / "path").mkdir()
    (checkout / "path" / "pip").symlink_to(Path(pip.__file__).parent)
    good = f"--hash=sha256:{_wheel(checkout, 'locked')}"
    offline = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND" + "_LINKS": str(checkout)}
    environ = {**os.environ, **offline, "PYTHONPATH": str(checkout / "path")}
    (checkout / "tests" / "locks" / "test.txt").write_text("")

    (checkout / "constraints.txt").write_text(f"locked==1.0 {bad}\n")
    ended = make(checkout, f".venv/{target}.stamp", environ=environ)
    assert ended.returncode != 0 and words in ended.stderr
    assert not list((checkout / ".venv").rglob("*.dist-info"))

    (checkout / "constraints.txt").write_text(f"locked==1.0 {good}\n")
    make(checkout, f".venv/{target}.stamp", environ=environ)
    assert list((checkout / ".venv").rglob("locked-1.0.dist-info"))


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
