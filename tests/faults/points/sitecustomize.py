"""Loaded by Python itself into the gateway's processes, where PYTHONPATH names this folder: nothing of it is in them
otherwise. It counts the steps in which a process touches the disk or the wire, and kills it at the one it was told.

    GATEWAY_FAULTS        a folder: ``web.kill`` in it holds ``name<TAB>n``; the web process appends each step that it
                          comes by to ``web.steps``, and at the n-th of that name it removes the file and kills itself;
                          ``name<TAB>n<TAB>SIGSTOP``: it stops instead, until somebody wakes it
    GATEWAY_FAULTS_SET    JSON: {"worker": {"gateway.delivery.result.RETRY_SECONDS": […]}}, for one kind of process each
    GATEWAY_FAULTS_CLOCK  set: the clock goes wrong by as many seconds as the file ``clock`` says

What is named here and not there any more ends the process at once: a fault that does not happen proves nothing.
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

KIND = next((kind for kind in ("serve", "web", "worker") if kind in sys.orig_argv), "")
FOLDER = Path(os.environ.get("GATEWAY_FAULTS", "."))


class Steps:
    """Those since the file was written; none where there is no file."""

    def __init__(self, told: Path) -> None:
        self._told, self._steps = told, told.with_suffix(".steps")
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._name, self._number, self._signal = "", 0, signal.SIGKILL
        self._count: Counter[str] = Counter()

    def step(self, name: str) -> None:
        if name.startswith("PRAGMA"):  # of a connection that is only being opened
            return
        try:
            found = os.stat(self._told)
        except OSError:
            return
        with self._lock:
            self._read((found.st_ino, found.st_mtime_ns))
            self._count[name] += 1
            with self._steps.open("a") as steps:
                steps.write(f"{name}\n")
            if (name, self._count[name]) == (self._name, self._number):
                self._told.unlink()
                os.kill(os.getpid(), self._signal)

    def _read(self, seen: tuple[int, int]) -> None:
        if seen != self._seen:
            self._seen = seen
            self._name, number, *how = self._told.read_text().split("\t")
            self._number, self._signal = int(number), signal.Signals[how[0] if how else "SIGKILL"]
            self._count.clear()


STEPS = Steps(FOLDER / f"{KIND}.kill")


def spelled(sql: object) -> str:
    """``INSERT INTO events``: enough to tell steps apart, whatever else changes."""
    words = str(sql).split()
    return " ".join(words[:3])


class Cursor(sqlite3.Cursor):
    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        STEPS.step(spelled(sql))
        return super().execute(sql, *values)

    def executemany(self, sql: str, *values: Any) -> sqlite3.Cursor:
        STEPS.step(spelled(sql))
        return super().executemany(sql, *values)


class Connection(sqlite3.Connection):
    def cursor(self, factory: Any = Cursor) -> Any:
        return super().cursor(factory)

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return self.cursor().execute(sql, *values)

    def executemany(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return self.cursor().executemany(sql, *values)

    def commit(self) -> None:
        STEPS.step("commit")
        super().commit()
        STEPS.step("committed")


def wrapped(function: Callable[..., Any], before: str = "", after: str = "") -> Callable[..., Any]:
    def wrapper(*arguments: Any, **named: Any) -> Any:
        if before:
            STEPS.step(before)
        result = function(*arguments, **named)
        if after and (result or after != "answers"):
            STEPS.step(after)
        return result

    return wrapper


def watch_steps() -> None:
    connect = sqlite3.connect
    sqlite3.connect = lambda *a, **named: connect(*a, **{"factory": Connection, **named})  # type: ignore[assignment]
    if KIND == "serve":
        return
    writer = found("gateway.store.writer.Writer")
    writer.write = wrapped(writer.write, after="told")
    if KIND == "worker":
        transport = found("gateway.safe_http.client.HttpClient")
        transport.start = wrapped(transport.start, before="start", after="started")
        transport.run = wrapped(transport.run, after="answers")
        core, connection = found("gateway.carrierx.api.CoreAPI"), found("urllib3.connection.HTTPConnection")
        core.send_raw = wrapped(core.send_raw, before="posts", after="posted")
        connection.getresponse = wrapped(connection.getresponse, before="asked")


def found(name: str) -> Any:
    """What is called so, in the gateway as it is now. AttributeError where there is no such thing."""
    module, _, rest = name.rpartition(".")
    return getattr(importlib.import_module(module), rest)


def set_all(settings: dict[str, object]) -> None:
    for name, value in settings.items():
        found(name)
        module, _, rest = name.rpartition(".")
        setattr(importlib.import_module(module), rest, tuple(value) if isinstance(value, list) else value)


def shift_clock(told: Path) -> None:
    right, tells, looked, offset = time.time, datetime.datetime, -1.0, 0.0

    def wrong() -> float:
        nonlocal looked, offset
        if time.monotonic() - looked > 0.02:
            looked = time.monotonic()
            offset = float(told.read_text()) if told.exists() else 0.0
        return right() + offset

    class Instances(type):
        def __instancecheck__(cls, one: object) -> bool:
            return isinstance(one, tells)

    class Datetime(tells, metaclass=Instances):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return tells.fromtimestamp(wrong(), tz)

    time.time = wrong
    datetime.datetime = Datetime  # type: ignore[misc]


if KIND and "gateway" in sys.orig_argv:
    try:
        if os.environ.get("GATEWAY_FAULTS_CLOCK"):
            shift_clock(FOLDER / "clock")
        set_all(json.loads(os.environ.get("GATEWAY_FAULTS_SET") or "{}").get(KIND, {}))
        watch_steps()
    except BaseException:  # Python would go on without
        traceback.print_exc()
        os._exit(70)
