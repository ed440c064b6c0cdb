"""Tells what reached it, served as the web half is: `python -m tests.wire_application PORT FOLDER [DRAIN]`."""

from __future__ import annotations

import gc
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIEnvironment

from gateway.serve import logging, server
from gateway.store.greenlets import RequestGreenlet

PATIENCE = 1.5
QUICK = "/errands"
Start = Callable[[str, list[tuple[str, str]]], Any]


class Application:
    """Answers with what it saw. `/kept`: the bodies so far. `/unread`: 403 without a look at the body.

    `/errands`: how many errands there are; it runs as one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._kept = folder, list[str]()

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
        if path == "/kept":
            return _say(start, "200 OK", json.dumps(self._kept).encode())
        body = environ["wsgi.input"].read().decode("latin-1")
        self._kept.append(body[:20])
        return _say(start, "200 OK", json.dumps(_seen(environ) | {"body": body[:20], "size": len(body)}).encode())

    def _hold(self) -> None:
        (self._folder / "held").touch()
        while not (self._folder / "release").exists():
            time.sleep(0.01)


def _say(start: Start, status: str, body: bytes, length: str = "") -> list[bytes]:
    start(status, [("Content-Type", "application/json"), *([("Content-Length", length)] if length else [])])
    return [body]


def _seen(environ: WSGIEnvironment) -> dict[str, Any]:
    seen = {name: value for name, value in environ.items() if isinstance(value, (str, bool))}
    return seen | {"whole": isinstance(environ["wsgi.input"], io.BytesIO)}


def _is_quick(environ: WSGIEnvironment) -> bool:
    return str(environ["PATH_INFO"]) == QUICK


if __name__ == "__main__":
    logging.set_up("test")
    server.DRAIN = float(sys.argv[3]) if len(sys.argv) > 3 else server.DRAIN
    server.serve(
        Application(Path(sys.argv[2])),
        "127.0.0.1",
        int(sys.argv[1]),
        lifeline=False,
        patience=PATIENCE,
        quick=_is_quick,
    )
