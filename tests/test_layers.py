"""Arrows only point down, and each outside world has one door. Read from the source, nothing is imported."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("schemas/**/*.py"), *ROOT.glob("gateway/**/*.py")])
TOP = "gateway.__init__"
"""Where `create_app` is: it may know everything, though every module of the package stands inside of it."""


def module_of(path: Path) -> str:
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return dotted if dotted == TOP else dotted.removesuffix(".__init__")


MODULES = {module_of(path): path for path in SOURCES}

PURE = (
    "schemas",
    "gateway.matching.normalize",
    "gateway.matching.keywords",
    "gateway.matching.regex_checks",
    "gateway.routing.route",
    "gateway.matching.templates",
    "gateway.carrierx.redaction",
    "gateway.carrierx.errors",
    "gateway.carrierx.responses",
    "gateway.delivery.due",
    "gateway.delivery.circuit_breaker",
    "gateway.delivery.diagnosis",
    "gateway.safe_http.models",
    "gateway.safe_http.error_pages",
    "gateway.sandbox.carrierx.scenarios",
    "gateway.sandbox.carrierx.faults",
    "gateway.sender.reconcile",
)
"""No clock, no dice, no log, no environment, no outside world at all."""
PURE_ABOVE_THE_STORE = ("gateway.delivery.result",)
"""The same, of modules that name types of the store."""

LIBRARIES = ("gateway.safe_http", "gateway.matching")
"""They know nothing of the gateway."""

LEVELS = (
    ("schemas",),
    (*LIBRARIES, *[name for name in PURE if name.startswith(LIBRARIES)]),
    ("gateway.config", *[name for name in PURE[1:] if not name.startswith(LIBRARIES)]),
    ("gateway.store", "gateway.store.wakeup", "gateway.store.greenlets", "gateway.metrics"),
    ("gateway.delivery", "gateway.carrierx"),
    ("gateway",),  # what is not named here: intake, test forms, routing ...
    ("gateway.web",),
    ("gateway.sandbox",),
    (TOP, "gateway.serve"),
    ("gateway.cli", "gateway.__main__"),
)
"""Lowest first. A module may import what is on its own level or below."""

SCHEMAS_MAY = {"marshmallow", "multipart", "gsm0338"}
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
        "random",
        "secrets",
    ),
    *("select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "structlog", "subprocess", "tempfile"),
    *("threading", "time", "urllib.request", "flask", "sqlalchemy", "pycurl", "requests"),
}
IMPURE_CALLS = {"now", "utcnow", "today", "uuid1", "uuid4", "open", "print", "input"}

COMMANDS = ("gateway/cli", "gateway/serve", "gateway/__main__.py")
PAGES = ("gateway/web/", "gateway/sandbox/", "gateway/__init__.py")
DOORS = {
    "flask": PAGES,
    "flask_wtf": PAGES,
    "flask_limiter": PAGES,
    "werkzeug": (*PAGES, "gateway/serve"),
    "sqlalchemy": ("gateway/store/",),
    "alembic": ("gateway/store/",),
    "psycopg": ("gateway/store/",),
    "sqlite3": ("gateway/store/",),
    "pycurl": ("gateway/safe_http/",),
    "requests": ("gateway/carrierx/http.py", "gateway/sandbox/"),
    "urllib3": (),
    "urllib.request": (),
    "http.client": (),
    "prometheus_client": ("gateway/metrics.py",),
    "greenlet": ("gateway/store/greenlets.py",),
    "httptools": ("gateway/serve",),
    "lxml": ("gateway/web/soap",),
    "click": COMMANDS,
    "os.environ": ("gateway/config/", *COMMANDS),
}
"""Outside world → the only places that may know of it. What goes through a door is everybody's, the world is not."""


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
    modules = {name if name in MODULES else name.rpartition(".")[0] for name in ours}
    return {TOP if name == "gateway" else name for name in modules}


def level(module: str) -> int:
    """By the longest name that fits: ``gateway.delivery.retry`` lies below ``gateway.delivery``."""
    places = [(len(name), at) for at, names in enumerate(LEVELS) for name in names if within(module, name)]
    return max(places)[1]


def test_there_is_something_to_look_at() -> None:
    assert {"schemas.wire", "gateway.routing.route", "gateway.store.schema", "gateway.web.callbacks"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_down(module: str) -> None:
    up = {other for other in inner(parsed(MODULES[module])) if level(other) > level(module)}
    assert not up, f"{module} imports what stands above it"


def test_no_arrow_goes_round() -> None:
    arrows = {module: inner(parsed(path)) - {module} for module, path in MODULES.items()}
    TopologicalSorter(arrows).prepare()


@pytest.mark.parametrize("module", [name for name in MODULES if within(name, "schemas")])
def test_schemas_need_next_to_nothing(module: str) -> None:
    tops = {name.partition(".")[0] for name in imports(parsed(MODULES[module]))}
    assert tops - set(sys.stdlib_module_names) <= SCHEMAS_MAY | {"schemas"}


@pytest.mark.parametrize(
    "module", [name for name in MODULES if any(within(name, pure) for pure in (*PURE, *PURE_ABOVE_THE_STORE))]
)
def test_pure_is_pure(module: str) -> None:
    tree = parsed(MODULES[module])
    assert not outside(tree, IMPURE) and not called(tree) & IMPURE_CALLS


@pytest.mark.parametrize("world", DOORS)
def test_each_world_has_one_door(world: str) -> None:
    knowing = {path.relative_to(ROOT).as_posix() for path in SOURCES if outside(parsed(path), {world})}
    assert not {name for name in knowing if not name.startswith(DOORS[world] or "-")}


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


def test_levels() -> None:
    names = ("schemas.wire", "gateway.safe_http.ssrf", "gateway.store.schema", "gateway.delivery.worker")
    up = [level(name) for name in (*names, "gateway.inbound.accept", "gateway.web.callbacks", TOP)]
    assert up == sorted(set(up))
