"""For tests of the worker: an application that answers as told, a clock that jumps, a worker in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from sqlalchemy import text as sql

from gateway.config import Settings
from gateway.delivery.worker import Worker
from gateway.inbound import accept
from gateway.inbound.callback import Callback
from gateway.store import Store
from tests import acme

Answer = tuple[int, bytes]


class Page:
    """An application that answers as it is told, and remembers what it got."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], dict[str, str]]] = []
        self.paths: list[str] = []
        self.headers: dict[str, str] = {}
        """Of every answer, besides its length."""
        self.answer: Callable[[int, dict[str, str]], Answer] = lambda nth, form: (200, b"ok")
        self._lock = threading.Lock()
        page = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                form = {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
                with page._lock:
                    page.got.append((dict(self.headers), form))
                    page.paths.append(self.path)
                    nth = len(page.got)
                status, said = page.answer(nth, form)
                self.send_response(status)
                for name, value in page.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/page.php"

    @property
    def messages(self) -> list[str]:
        return [form["message"] for _, form in self.got]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Clock:
    """Real time, and jumps."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page()
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path, page: Page) -> Settings:
    return Settings(config(tmp_path, page, ""))


def config(folder: Path, page: Page, endpoint: str) -> Any:
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    return acme.loads(
        f"""
[gateway]
keys = ["{acme.KEY}"]
password = "{acme.KEY}"
[endpoint.page]
url = "{page.url}"
{endpoint}
[[number]]
number = "15162065919"
callback = ["page"]
""",
        path=folder / "gateway.toml",
        environ={},
    )


@contextmanager
def working(settings: Settings, store: Store, clock: Clock, **more: Any) -> Iterator[Worker]:
    """`more`: of the worker's arguments."""
    worker, stop = Worker(settings, store, clock=clock, random=lambda: 0.5, **more), threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        yield worker
    finally:
        stop.set()
        worker.wake()
        thread.join()


def text(store: Store, settings: Settings, message: str, phone: str = "15162065515", now: float | None = None) -> None:
    body = acme.text(message=message, message_sid=f"{phone}-{message}", from_did=phone)
    at = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    callback = Callback(format="carrierx", body=body, content_type=None, remote="", now=at)
    assert accept.accept(callback, settings.current, store).state == "accepted"


def rows(store: Store, query: str) -> list[Any]:
    with store.reader() as connection:
        return list(connection.execute(sql(query)))


def states(store: Store) -> list[str]:
    return [row.state for row in rows(store, "SELECT state FROM deliveries ORDER BY id")]


def outcomes(store: Store) -> list[str | None]:
    return [row.outcome for row in rows(store, "SELECT outcome FROM attempts ORDER BY started_at, number")]
