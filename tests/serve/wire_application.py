"""Tells what reached it, served as the web half is."""

from __future__ import annotations

import gc
import io
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIEnvironment

from gateway.serve import bodies, logging, run
from gateway.store.greenlets import RequestGreenlet, current

PATIENCE = 1.5
HEAD_SECONDS = 8
"""As few as a busy machine allows."""
QUICK = "/errands"
PROXY = "127.0.0.9"
Start = Callable[[str, list[tuple[str, str]]], Any]


class Application:
    """Answers with what it saw.

    /kept     the bodies so far; /asked: every request so far; /counted: what the server refused by itself
    /unread   403 without a look at the body
    /errands  how many errands there are; it runs as one, as do others below it
    /hold     waits for the file ``release``; ``held`` has a `+` when it begins, and a `-` when it ends
    /deaf     closes the listening socket
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._kept, self._asked = folder, list[str](), list[str]()
        self.counted = list[str]()

    def __call__(self, environ: WSGIEnvironment, start: Start) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path == "/unread":
            return _say(start, "403 Forbidden", b"no")
        if path == "/crash":
            raise ValueError("canary")
        if path == "/page":
            return _say(start, "200 OK", b"" if environ["REQUEST_METHOD"] == "HEAD" else b"four", "4")
        if path == QUICK:
            return _say(
                start, "200 OK", str(sum(isinstance(one, RequestGreenlet) for one in gc.get_objects())).encode()
            )
        if path == "/hold":
            self._hold()
        if path == "/deaf":
            _stop_listening(int(environ["SERVER_PORT"]))
        told = {"/kept": self._kept, "/asked": self._asked, "/counted": self.counted}
        if path in told:
            return _say(start, "200 OK", json.dumps(told[path]).encode())
        body = environ["wsgi.input"].read().decode("latin-1")
        self._kept.append(body[:20])
        self._asked.append(f"{environ['REQUEST_METHOD']} {path} {body[:20]}")
        return _say(start, "200 OK", json.dumps(_seen(environ) | {"body": body[:20], "size": len(body)}).encode())

    def _hold(self) -> None:
        with (self._folder / "held").open("a", buffering=1) as held:
            held.write("+\n")
            while not (self._folder / "release").exists():
                time.sleep(0.01)
            held.write("-\n")


def _say(start: Start, status: str, body: bytes, length: str = "") -> list[bytes]:
    start(status, [("Content-Type", "application/json"), *([("Content-Length", length)] if length else [])])
    return [body]


def _seen(environ: WSGIEnvironment) -> dict[str, Any]:
    seen = {name: value for name, value in environ.items() if isinstance(value, (str, bool))}
    return seen | {"whole": isinstance(environ["wsgi.input"], io.BytesIO), "errand": current() is not None}


def _stop_listening(port: int) -> None:
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as one:
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and one.getsockname()[1] == port:
                one.shutdown(socket.SHUT_RDWR)


def _is_quick(environ: WSGIEnvironment) -> bool:
    return str(environ["PATH_INFO"]).startswith(QUICK)


def main(port: int, folder: Path, host: str = "127.0.0.1", *, lifeline: bool = False) -> None:
    logging.set_up("test")
    run.HEAD_SECONDS = HEAD_SECONDS
    application = Application(folder)
    run.serve(
        application,
        host,
        port,
        lifeline=lifeline,
        quick=_is_quick,
        is_proxy=lambda address: address == PROXY,
        count=application.counted.append,
    )


def in_a_process(port: int, folder: Path, host: str, patience: float, drain: float, files: int) -> None:
    """`main` in a process that has read this module already: to read it takes longer than most tests. `patience`:
    seconds until a body is given up; `files`: how many may be open, unless 0. Its log goes to ``folder/errors``."""
    with (folder / "errors").open("wb") as errors:
        os.dup2(errors.fileno(), sys.stderr.fileno())
    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    os.environ |= {"HTTP_CANARY": "canary", "CANARY": "canary"}
    bodies.BODY_SECONDS, run.DRAIN_SECONDS = patience, drain
    main(port, folder, host)
