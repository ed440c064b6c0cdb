"""The folders and what each may import: the tree is the architecture. Read from the source, nothing is imported."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("schemas/**/*.py"), *ROOT.glob("gateway/**/*.py")])
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in SOURCES}

MAY_IMPORT = {
    "schemas": "",
    "matching": "",
    "safe_http": "matching",
    "config": "safe_http matching schemas",
    "metrics": "config",
    "carrierx": "safe_http schemas",
    "store": "config schemas",
    "routing": "store config matching schemas",
    "delivery": "store config safe_http metrics schemas",
    "outbound": "routing store config safe_http matching schemas",
    "test_posts": "delivery routing config safe_http schemas",
    "preview": "routing config schemas",
    "inbound": "outbound routing store config schemas",
    "sender": "inbound outbound delivery routing store carrierx config metrics schemas",
    "web": "sender inbound outbound test_posts preview delivery routing store config safe_http metrics schemas",
    "sandbox": "web store config safe_http matching schemas",
    "gateway": "sandbox web store config",
    "serve": "gateway sandbox web sender outbound delivery store config metrics",
    "cli": "serve sandbox sender inbound outbound test_posts delivery routing store carrierx metrics config safe_http "
    "schemas",
    "__main__": "cli",
}
"""Each folder, and each module beside the folders, lowest first. `gateway` is the application factory."""

DOORS = {
    "flask": "web sandbox gateway",  # the sandbox plays the applications and platforms on the other side
    "flask_wtf": "web",
    "werkzeug": "web sandbox",
    "sqlalchemy": "store",
    "alembic": "store",
    "psycopg": "store",
    "sqlite3": "store",
    "greenlet": "store",
    "pycurl": "safe_http",
    "requests": "carrierx sandbox",
    "re2": "matching",
    "urllib3": "",
    "urllib.request": "",
    "http.client": "",
    "granian": "serve",
    "uvloop": "serve",
    "prometheus_client": "metrics",
    "lxml": "web",
    "click": "cli",
    "os.environ": "config serve",  # a process hands its children their environment
}
"""Outside world → the only folders that may know of it. What goes through a door is everybody's, the world is not."""

SCHEMAS_MAY = {"marshmallow", "multipart", "gsm0338"}
PURE = re.compile(r"\bPure\b")
"""A module whose docstring says so has no clock, no dice, no log, no environment, no outside world at all."""
PURE_FOLDERS = {"schemas", "matching"}
PURE_SOMEWHERE = {"safe_http", "carrierx", "routing", "delivery", "sender", "sandbox", "preview"}
IMPURE = {
    *(
        "asyncio",
        "getpass",
        "http.client",
        "http.server",
        "io",
        "locale",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
    ),
    *("random", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "structlog"),
    *("subprocess", "tempfile", "threading", "time", "urllib.request", "flask", "sqlalchemy", "pycurl", "requests"),
}
IMPURE_CALLS = {"now", "utcnow", "today", "uuid1", "uuid4", "open", "print", "input"}


def folder_of(module: str) -> str:
    """The folder of a module, or the module's own name where it lies beside the folders."""
    first, *rest = module.split(".")
    return rest[0] if rest and first == "gateway" else first


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in the tree, names from a package as ``package.name``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module, "imports are written in full here"
            yield from (f"{node.module}.{one.name}" for one in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def of_os(tree: ast.AST) -> Iterator[str]:
    """Everything of the module `os` that is named: a WSGI request has an ``environ``, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            yield f"os.{node.attr}"


@cache
def known(tree: ast.AST) -> frozenset[str]:
    named = {*imports(tree), *of_os(tree)}
    return frozenset("os.environ" if name in ("os.getenv", "os.environb") else name for name in named)


def outside(tree: ast.AST, worlds: set[str]) -> set[str]:
    found = known(tree)
    return {world for world in worlds if any(within(name, world) for name in found)}


def called(tree: ast.AST) -> set[str]:
    """The last name of everything that is called."""
    functions = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {getattr(function, "attr", getattr(function, "id", "")) for function in functions}


@cache
def parsed(path: Path) -> ast.AST:
    return ast.parse(path.read_text("utf-8"))


def inner(tree: ast.AST) -> set[str]:
    """The modules of this project that are imported; a name out of a package is the package's."""
    ours = {name for name in imports(tree) if name.partition(".")[0] in ("schemas", "gateway")}
    return {name if name in MODULES else name.rpartition(".")[0] for name in ours}


def is_pure(module: str) -> bool:
    return folder_of(module) in PURE_FOLDERS or bool(PURE.search(ast.get_docstring(parsed(MODULES[module])) or ""))


def test_every_folder_is_listed() -> None:
    assert {folder_of(module) for module in MODULES} == set(MAY_IMPORT)


@pytest.mark.parametrize("module", MODULES)
def test_folders_import_what_they_may(module: str) -> None:
    folders = {folder_of(other) for other in inner(parsed(MODULES[module]))} - {folder_of(module)}
    assert folders <= set(MAY_IMPORT[folder_of(module)].split())


def test_no_two_folders_import_each_other() -> None:
    TopologicalSorter({folder: allowed.split() for folder, allowed in MAY_IMPORT.items()}).prepare()


def test_no_module_imports_itself_by_another() -> None:
    arrows = {module: inner(parsed(path)) - {module} for module, path in MODULES.items()}
    TopologicalSorter(arrows).prepare()


def test_the_decisions_are_pure() -> None:
    """A docstring that no longer says so would take its module out of the test below."""
    assert {folder_of(module) for module in MODULES if is_pure(module)} >= PURE_FOLDERS | PURE_SOMEWHERE


@pytest.mark.parametrize("module", [name for name in MODULES if within(name, "schemas")])
def test_schemas_need_next_to_nothing(module: str) -> None:
    tops = {name.partition(".")[0] for name in imports(parsed(MODULES[module]))}
    assert tops - set(sys.stdlib_module_names) <= SCHEMAS_MAY | {"schemas"}


@pytest.mark.parametrize("module", [name for name in MODULES if is_pure(name)])
def test_pure_is_pure(module: str) -> None:
    tree = parsed(MODULES[module])
    assert not outside(tree, IMPURE) and not called(tree) & IMPURE_CALLS


@pytest.mark.parametrize("world", DOORS)
def test_each_world_has_one_door(world: str) -> None:
    knowing = {folder_of(module) for module, path in MODULES.items() if outside(parsed(path), {world})}
    assert knowing <= set(DOORS[world].split())


@pytest.mark.parametrize(
    ("source", "world"),
    [
        ("import flask", "flask"),
        ("def late():\n    from flask.views import View", "flask"),
        ("import sqlalchemy.orm as orm", "sqlalchemy"),
        ("import os\nkey = os.environ['KEY']", "os.environ"),
        ("from os import environ", "os.environ"),
        ("from os import getenv", "os.environ"),
        ("import urllib.request", "urllib.request"),
        ("from urllib import request", "urllib.request"),
    ],
)
def test_a_way_round_the_door_is_seen(source: str, world: str) -> None:
    assert outside(ast.parse(source), {world})


@pytest.mark.parametrize(
    "source",
    ["from urllib.parse import quote", "import flaskish", "from os import path", "request.environ", "os.getpid()"],
)
def test_nothing_else_is_taken_for_one(source: str) -> None:
    assert not outside(ast.parse(source), set(DOORS))
