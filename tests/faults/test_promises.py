"""Each promise of docs/reliability.md names tests that exist, that are run, and that assert something."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from tests.faults.misbehaviour import ALL
from tests.running import ROOT

DOCUMENT = ROOT / "docs" / "reliability.md"
HERE = "tests/faults/"
NAMED = re.compile(r"`([\w/]*(?:\.py|/))?(?:::(\w+))?`")
JUDGES = {"balance", "weigh"}
"""`World.balance` and `Sending.weigh` assert in place of the tests that call them; test_ledger.py and test_book.py try
them."""
UNRUN = {"skip", "skipif", "xfail", "importorskip"}


def promises() -> dict[str, list[str]]:
    """The rows of the tables with what their last cells name: folders, files, and tests in pytest's spelling."""
    found: dict[str, list[str]] = {}
    names: list[str] = []
    names_tests = False
    for line in DOCUMENT.read_text("utf-8").splitlines():
        promise, *_, tests = line.strip("| ").split("|") if line.startswith("|") else ("", "")
        if "(tests/faults)" in tests:
            names_tests = True
        elif not promise:
            names_tests = False
        elif names_tests and promise.strip("-"):
            names = [*(names if "the same" in tests else ()), *_named(tests, names)]
            found[promise.strip()] = names
    return found


def _named(tests: str, above: list[str]) -> Iterator[str]:
    """A test without a file is one of the file that was named before it, perhaps in the row above."""
    if "every test" in tests:
        yield HERE
    file = above[-1].partition("::")[0] if above else ""
    for path, test in NAMED.findall(tests):
        if path:
            file = path if path.startswith("tests/") else HERE + path
        yield f"{file}::{test}" if test else file


def functions(name: str) -> dict[str, ast.FunctionDef]:
    """All tests of a folder, of a file, or the one."""
    path, _, test = name.partition("::")
    found = {}
    for file in (ROOT / path).rglob("test_*.py") if path.endswith("/") else [ROOT / path]:
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and test in ("", node.name):
                found[f"{file.relative_to(ROOT).as_posix()}::{node.name}"] = node
    return found


def proofs() -> dict[str, ast.FunctionDef]:
    return {test: node for names in promises().values() for name in names for test, node in functions(name).items()}


def test_each_promise_names_tests() -> None:
    assert len(promises()) > 20
    for promise, names in promises().items():
        assert names and all(map(functions, names)), f"{promise}: {names}"
    for path, _ in NAMED.findall(DOCUMENT.read_text("utf-8")):
        assert (ROOT / path).exists() or (ROOT / HERE / path).exists(), path


def test_each_fault_that_is_tried_is_written_down() -> None:
    named = {test for names in promises().values() for name in names if name != HERE for test in functions(name)}
    faults = {test for test, node in functions(HERE).items() if "report" in [one.arg for one in node.args.args]}
    assert faults and faults <= named


@pytest.mark.parametrize(
    ("form", "endpoints"), [((), ("all",)), (("--full-faults",), ALL)], ids=["make test", "make faults"]
)
def test_each_is_run(form: Sequence[str], endpoints: Sequence[str]) -> None:
    tests = {test for test in proofs() if test.startswith(HERE) or not form}
    files = {test.partition("::")[0] for test in tests if not test.startswith(HERE)}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", HERE, *files, *form]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    collected = done.stdout.splitlines()
    assert tests <= {line.partition("[")[0] for line in collected}
    assert {f"{HERE}test_endpoints.py::test_misbehaves[{one}]" for one in endpoints} <= {*collected}


def test_each_judges() -> None:
    for test, node in proofs().items():
        below = list(ast.walk(node))
        names = {getattr(one, "attr", getattr(one, "id", "")) for one in below}
        assert not names & UNRUN, f"{test} may be left out"
        assert names & JUDGES or any(isinstance(one, ast.Assert) for one in below), f"{test} asserts nothing"
