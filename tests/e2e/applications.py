"""The applications at the ends: a customer's PHP page, a customer's Flask consumer, a stand-in for the Core API."""

from __future__ import annotations

import base64
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from tests.running import HOST, Process, free_port, until

HERE = Path(__file__).parent


class Application:
    """A process that appends what it gets to a file, one JSON object a line. It is up only when it was started."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._record, self._answers = folder / f"{name}.jsonl", folder / f"{name}.answers"
        environ = {"RECORD": str(self._record), "ANSWERS": str(self._answers)}
        self.process = Process(self.command(), folder / f"{name}.log", self.port, environ | self.environ())

    def command(self) -> list[str]:
        raise NotImplementedError

    def environ(self) -> dict[str, str]:
        return {}

    def start(self) -> None:
        self.process.start()

    def kill(self) -> None:
        self.process.kill()

    def answer_next(self, *answers: str) -> None:
        """What to do with the next requests; after them, 200."""
        self._answers.write_text("\n".join(answers))

    def records(self, page: str = "") -> list[dict[str, Any]]:
        """What came so far, whole lines only."""
        lines = self._record.read_text("utf-8").split("\n")[:-1] if self._record.exists() else []
        records = [json.loads(line) for line in lines]
        return [record for record in records if page in ("", record["page"])]

    def wait(self, page: str, count: int = 1) -> list[dict[str, Any]]:
        """The records of this page as soon as there are `count` of them."""
        return (
            until(lambda: found if len(found := self.records(page)) >= count else None, f"{count} posts on {page}")
            or []
        )


class Page(Application):
    """The PHP page, under PHP's own server."""

    def command(self) -> list[str]:
        php = shutil.which("php")
        assert php, "PHP is missing: the tests run a real PHP page. Install php-cli (Debian: apt-get install php-cli)."
        settings = ("display_errors=1", "html_errors=1", "error_reporting=E_ALL", "log_errors=0")
        flags = [flag for setting in settings for flag in ("-d", setting)]
        return [php, "-n", *flags, "-S", f"{HOST}:{self.port}", str(HERE / "legacy_page.php")]


class Consumer(Application):
    """The Flask application, as its guide starts it."""

    def __init__(self, folder: Path, name: str, core_api: CoreApi) -> None:
        self._core_api = core_api
        super().__init__(folder, name)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "flask", "run", "--host", HOST, "--port", str(self.port)]

    def environ(self) -> dict[str, str]:
        return {"FLASK_APP": str(HERE / "sms_callback.py"), "CORE_API": self._core_api.url}


class CoreApi:
    """What the consumer calls back: ``POST /sms/messages``. Lives in a thread of the tests."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        sent = self.sent

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                sent.append({"path": self.path, "authorization": self.headers["Authorization"], **body})
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_port}/core/v2"

    @contextmanager
    def running(self) -> Iterator[CoreApi]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def posted(record: dict[str, Any]) -> dict[str, str]:
    """The form as it came over the wire, read without PHP."""
    raw = base64.b64decode(record["raw"])
    return dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=True))
