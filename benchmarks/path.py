"""Counts the way of a message through the files: `python -m benchmarks.path`.

A real gateway with SQLite and one endpoint takes one callback after another, while a profile hook records each call of
the gateway's own functions. Printed are the files, the calls, and the changes from one file to another: of one callback
to its 200, of one callback to its settled delivery, and of one text for sending to its last settled status post.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.servers import HOST, ROOT, free_port

HOOK = Path(__file__).parent / "path_hook"
ROUNDS = 11
WARM_UP = 5
DEADLINE_SECONDS = 60.0
PAUSE_SECONDS = 0.3
"""Between two messages, so that nothing of one is counted for the next."""

BEFORE = {
    "callback to its 200": (50, 325, 176),
    "callback settled": (82, 643, 386),
    "send to its last status post": (104, 2942, 1768),
}
"""The same, counted by this module at bd69917, before the files were laid out anew."""

CONFIGURATION = """\
[gateway]
database = "sqlite:///data/gateway.db"
keys     = ["{key}"]
password = "{key}"
public_url = "http://127.0.0.1:{port}"

[carrierx]
base_url = "http://127.0.0.1:{carrierx}/core/v2"
token    = "sandbox"

[legacy]
api_key = "{key}"

[endpoint.page]
url = "http://127.0.0.1:{page}/page.php"

[[number]]
number    = "15162065919"
shortcode = "12345"
callback  = ["page"]
status    = ["page"]

  [[number.keyword]]
  word     = "JOIN"
  callback = ["page"]
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function of the gateway: when, by the monotonic clock in nanoseconds, and where."""

    at_ns: int
    process: str
    """``web`` or ``worker``."""
    file: str
    function: str


@dataclass(frozen=True, slots=True)
class Window:
    """One message: from its first byte to the moment that is looked for."""

    name: str
    processes: tuple[str, ...]
    """Whose calls count."""
    start_ns: int
    end_ns: int


class Page(BaseHTTPRequestHandler):
    """The legacy page: takes every post."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        windows = _measure(folder)
        calls = sorted(_calls(folder / "calls"), key=lambda call: call.at_ns)
    print(f"{'':32}{'files':>8}{'calls':>8}{'changes of file':>18}   at bd69917")
    for name in dict.fromkeys(window.name for window in windows):
        of_name = [_count(calls, window) for window in windows if window.name == name]
        files, number, changes = (round(statistics.median(column)) for column in zip(*of_name, strict=True))
        print(f"{name:32}{files:8}{number:8}{changes:18}   {', '.join(map(str, BEFORE[name]))}")
    if "--list" in sys.argv:
        _list(calls, windows)


def _measure(folder: Path) -> list[Window]:
    (folder / "calls").mkdir()
    key = secrets.token_hex(16)
    with _running(folder, key) as port:
        windows: list[Window] = []
        for number in range(WARM_UP + ROUNDS):
            for measured in (_callback(folder, port, key, number), _send(folder, port, key, number)):
                windows += measured if number >= WARM_UP else []
                time.sleep(PAUSE_SECONDS)
    return windows


def _callback(folder: Path, port: int, key: str, number: int) -> list[Window]:
    message = {
        **{"direction": "inbound", "from_did": f"151620655{number:02}", "to_did": "15162065919"},
        **{"message": "JOIN, please", "message_sid": f"87a1ee29-1954-4a22-a243-be21711f{number:04}"},
        **{"status": "received", "mcc": 310, "mnc": 260},
    }
    start = time.monotonic_ns()
    answered = _post(f"http://{HOST}:{port}/carrierx/callback/{key}", json.dumps(message).encode(), "application/json")
    settled = _settled(folder)
    return [
        Window("callback to its 200", ("web",), start, answered),
        Window("callback settled", ("web", "worker"), start, settled),
    ]


def _send(folder: Path, port: int, key: str, number: int) -> list[Window]:
    fields = {"api_key": key, "code": "12345", "sendTo": f"1516206{number:02}01", "message": "Hello"}
    start = time.monotonic_ns()
    _post(f"http://{HOST}:{port}/legacy/sendMessage", urllib.parse.urlencode(fields).encode(), None)
    _wait(lambda: _count_rows(folder, "endpoint = 'page' AND wire_format = 'legacy-status'") == 3 * (number + 1))
    return [Window("send to its last status post", ("web", "worker"), start, _settled(folder))]


def _post(url: str, body: bytes, content_type: str | None) -> int:
    """When the answer was there."""
    headers = {"Content-Type": content_type} if content_type else {}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=DEADLINE_SECONDS) as response:
        response.read()
    return time.monotonic_ns()


def _settled(folder: Path) -> int:
    _wait(lambda: _count_rows(folder, "state <> 'succeeded'") == 0)
    return time.monotonic_ns()


def _count_rows(folder: Path, condition: str) -> int:
    with closing(sqlite3.connect(f"file:{folder}/data/gateway.db?mode=ro", uri=True)) as conn:
        return int(conn.execute(f"SELECT count(*) FROM deliveries WHERE {condition}").fetchone()[0])


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the message did not get to its end")
        time.sleep(0.002)


@contextmanager
def _running(folder: Path, key: str) -> Iterator[int]:
    """A gateway with the hook in its processes, and CarrierX and the page to be called; its port."""
    port, carrierx = free_port(), free_port()
    page = ThreadingHTTPServer((HOST, 0), Page)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    config = folder / "gateway.toml"
    config.write_text(CONFIGURATION.format(key=key, port=port, carrierx=carrierx, page=page.server_port), "utf-8")
    environ = {**os.environ, "PYTHONPATH": f"{HOOK}{os.pathsep}{ROOT}", "GATEWAY_PATH_CALLS": str(folder / "calls")}
    callback = f"http://{HOST}:{port}/carrierx/callback/{key}"
    stub = [sys.executable, "-m", "gateway", "sandbox", "--port", str(carrierx), "--callback", callback]
    gateway = [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--port", str(port)]
    with (
        subprocess.Popen([*stub, "--pace", "0.2"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as b,
        subprocess.Popen(gateway, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as a,
    ):
        try:
            _wait(lambda: all(_answers(f"http://{HOST}:{one}") for one in (port, carrierx)))
            yield port
        finally:
            a.terminate()
            a.wait()
            b.terminate()
            page.shutdown()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/readyz", timeout=1.0).close()
    except urllib.error.HTTPError as error:
        error.close()  # CarrierX has no such page
    except OSError:
        return False
    return True


def _calls(folder: Path) -> Iterator[Call]:
    for process in folder.iterdir():
        for line in process.read_text("utf-8").splitlines():
            at_ns, file, function = line.split("\t")
            yield Call(int(at_ns), process.name, file, function)


def _within(calls: list[Call], window: Window) -> list[Call]:
    return [
        call for call in calls if window.start_ns <= call.at_ns <= window.end_ns and call.process in window.processes
    ]


def _count(calls: list[Call], window: Window) -> tuple[int, int, int]:
    """Files, calls, and changes of file within each process."""
    within = _within(calls, window)
    changes = 0
    for process in window.processes:
        files = [call.file for call in within if call.process == process]
        changes += sum(one != other for one, other in zip(files, files[1:], strict=False))
    return len({call.file for call in within}), len(within), changes


def _list(calls: list[Call], windows: list[Window]) -> None:
    for name in dict.fromkeys(window.name for window in windows):
        window = [one for one in windows if one.name == name][ROUNDS // 2]
        print(f"\n{name}")
        for call in _within(calls, window):
            print(f"  {(call.at_ns - window.start_ns) / 1e6:9.3f} ms  {call.process}  {call.file}:{call.function}")


if __name__ == "__main__":
    main()
