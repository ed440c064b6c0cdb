"""`gateway serve` as a service manager, a clumsy operator and bad luck treat it: real processes, real signals."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from gateway.serve import logging as log
from gateway.serve.startup import PortTaken, check_free, free_port, parse_address, url_of
from gateway.serve.supervisor import (
    HEALTHY_SECONDS,
    MAX_EARLY_DEATHS,
    MAX_PAUSE_SECONDS,
    Child,
    Supervisor,
    exit_reason,
)
from tests.running import BASE, HOST, KEY, ROOT, START, STOP, Gateway, Process, alive, running_gateway, until
from tests.running import free_port as some_port

NOWHERE = '[[number]]\nnumber = "15162065919"\n'
UNROUTED = json.dumps(
    {
        "direction": "inbound",
        "from": "15162065515",
        "to": "15162065919",
        "message": "x",
        "message_sid": "1",
        "status": "received",
    }
).encode()
LONG = 20.0


def lines(file: Path) -> list[dict[str, Any]]:
    """The log; what is no JSON is said to people."""
    return [json.loads(line) for line in file.read_text().splitlines() if line.startswith("{")]


def pids(gateway: Gateway, name: str) -> list[int]:
    """Every process of that name that was started so far, the newest last."""
    started = [line for line in lines(gateway.process.log) if line["event"] == "process_started"]
    return [line["pid"] for line in started if line["name"] == name]


def answers(gateway: Gateway) -> bool:
    try:
        return gateway.call("GET", "/healthz").status == 200
    except OSError:
        return False


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with running_gateway(tmp_path, NOWHERE) as running:
        yield running


@pytest.mark.parametrize("name", ["web", "worker"])
def test_a_half_that_is_killed_comes_back(gateway: Gateway, name: str) -> None:
    until(lambda: _is_up(gateway), "both halves are up")
    os.kill(pids(gateway, name)[-1], signal.SIGKILL)
    until(lambda: len(pids(gateway, name)) == 2, "started again", START)
    until(lambda: answers(gateway), "the web half answers", START)
    until(lambda: _is_up(gateway), "both halves are up", START)
    assert gateway.post("/carrierx/callback", UNROUTED).status == 200
    ends = [line for line in lines(gateway.process.log) if line["event"] == "process_ended"]
    assert [(line["name"], line["reason"]) for line in ends] == [(name, "SIGKILL")]


def _is_up(gateway: Gateway) -> bool:
    started = sum(line["event"] == "worker_started" for line in lines(gateway.process.log))
    return started == len(pids(gateway, "worker")) and answers(gateway)


def test_no_child_outlives_a_killed_supervisor(gateway: Gateway) -> None:
    assert gateway.process.process is not None
    children = gateway.process.processes()[1:]
    assert len(children) == 2
    gateway.process.process.kill()
    gateway.process.process.wait(LONG)
    gateway.process.process = None
    until(lambda: not any(map(alive, children)), "the children end by themselves", STOP)
    check_free(HOST, gateway.process.port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_in_time_whatever_clings_to_it(tmp_path: Path, number: signal.Signals) -> None:
    """With idle and stalled connections that nobody closes. `Process.stop` holds it to ten seconds."""
    with running_gateway(tmp_path, NOWHERE) as gateway:
        starts = [b"", b"POST /carr", _half_a_body()]
        connections = [socket.create_connection((HOST, gateway.process.port)) for _ in starts]
        for connection, start in zip(connections, starts, strict=True):
            connection.sendall(start)
        process, children = gateway.process.process, gateway.process.processes()
        assert process is not None
        process.send_signal(number)
        assert process.wait(STOP) == 0
        until(lambda: not any(map(alive, children)), "nothing is left", STOP)
        for connection in connections:
            connection.close()


def _half_a_body() -> bytes:
    return f"POST /carrierx/callback/{KEY} HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100\r\n\r\nhalf".encode()


def test_it_starts_again_at_once_on_the_same_port(gateway: Gateway) -> None:
    until(lambda: _is_up(gateway), "both halves are up")
    assert gateway.post("/carrierx/callback", UNROUTED).status == 200
    assert gateway.stop() == 0
    _has_told_all(gateway)
    gateway.start()
    assert gateway.rows("SELECT state FROM events") == [{"state": "unrouted"}]


def _has_told_all(gateway: Gateway) -> None:
    """One line for each thing that happened from the start to the end, each from the process that it happened in."""
    said = {line["event"]: line for line in lines(gateway.process.log)}
    for process, events in {
        "serve": ["process_started", "stopped"],
        "web": ["callback_kept"],
        "worker": ["worker_started", "sender_started", "sender_stopped", "worker_stopped"],
    }.items():
        assert [(event, said[event]["process"], said[event]["level"]) for event in events] == [
            (event, process, "info") for event in events
        ]
    kept = said["callback_kept"]
    assert (kept["format"], kept["state"], kept["event_id"]) == ("carrierx", "unrouted", 1)
    assert all(datetime.fromisoformat(line["timestamp"]).tzinfo == UTC for line in said.values())


def test_a_port_that_is_taken_is_said_plainly(gateway: Gateway) -> None:
    """By a gateway of its own kind: they would share the port."""
    for name in ("serve", "web"):
        second = command(name, "--port", str(gateway.process.port), folder=gateway.folder)
        assert second.returncode == 1
        assert f"Port {gateway.process.port} on 127.0.0.1 is taken" in second.stderr
        assert "Traceback" not in second.stderr
    assert answers(gateway)


def test_a_broken_configuration_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text('[gateway]\nkeis = ["x"]\nretention_days = "many"\n')
    for name in ("serve", "web", "worker"):
        ended = command(name, folder=tmp_path)
        assert ended.returncode == 1
        assert "gateway.toml:2: gateway.keis" in ended.stderr and "gateway.toml:3" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_database_that_is_none_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text('[gateway]\ndatabase = "sqlite:///data/gateway.db"\n')
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gateway.db").write_text("this is no database, and was never meant to be one " * 40)
    ended = command("serve", "--port", str(some_port()), folder=tmp_path)
    assert ended.returncode == 1
    assert "database" in ended.stderr and "Traceback" not in ended.stderr


def test_secrets_are_made_kept_and_told_once(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(NOWHERE)
    port = some_port()
    command_ = [
        sys.executable,
        "-m",
        "gateway",
        "serve",
        "--config",
        str(tmp_path / "gateway.toml"),
        "--port",
        str(port),
    ]
    process = Process(command_, tmp_path / "log", port)
    for times in (1, 2):
        process.start()
        # Its port answers already while it tries whether it is free: then nothing ends it in order yet.
        until(lambda times=times: process.log.read_text().count("Callbacks go to") == times, "it says that it is up")  # type: ignore[misc]
        assert process.stop() == 0
    key = (tmp_path / "data" / "keys").read_text().strip()
    password = (tmp_path / "data" / "password").read_text().strip()
    told = process.log.read_text()
    assert told.count(key) == told.count(password) == 1
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_several_web_processes(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(BASE + NOWHERE)
    gateway = Gateway(tmp_path, BASE + NOWHERE)
    gateway.process.command += ["--workers", "2"]
    try:
        gateway.start()
        first, second = pids(gateway, "web-1")[0], pids(gateway, "web-2")[0]
        until(lambda: all(_owns(pid, gateway.process.port) for pid in (first, second)), "both listen", START)
        os.kill(first, signal.SIGKILL)
        until(lambda: not alive(first), "one is dead")
        # Its threads may hold the port for a moment longer than it lives.
        until(lambda: answers(gateway), "the other one answers")
        assert alive(second)
        assert gateway.stop() == 0
    finally:
        gateway.kill()


def _owns(pid: int, port: int) -> bool:
    """Whether this process has a socket that listens there, as Linux tells."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}
    return bool(sockets.intersection(_files(pid)))


def _files(pid: int) -> Iterator[str]:
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            yield os.readlink(file)


def test_the_halves_alone(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(BASE + NOWHERE)
    port = some_port()
    config = ["--config", str(tmp_path / "gateway.toml")]
    web = Process([sys.executable, "-m", "gateway", "web", *config, "--port", str(port)], tmp_path / "web.log", port)
    with (tmp_path / "worker.log").open("wb") as out:
        alone = [sys.executable, "-m", "gateway", "worker", *config]
        worker = subprocess.Popen(alone, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=out)
    try:
        web.start()
        until(lambda: "worker_started" in (tmp_path / "worker.log").read_text(), "the worker runs", START)
        worker.terminate()
        assert worker.wait(STOP) == 0
        assert web.stop() == 0
    finally:
        worker.kill()
        worker.wait()
        web.kill()


def waitress(folder: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "waitress", f"--listen={HOST}:{port}", "wsgi:app"]


def gunicorn(folder: Path, port: int) -> list[str]:
    options = ["--threads=64", f"--bind={HOST}:{port}", "--no-control-socket"]
    return [sys.executable, "-m", "gunicorn", *options, "wsgi:app"]


def mod_wsgi(folder: Path, port: int) -> list[str]:
    """Apache with the packages of the virtual environment, but its own module's Python: Debian's knows no other.

    It never runs as root: there, `nobody` runs it, with root's right to read the repository wherever that lies.
    """
    packages = f"{ROOT}:{sysconfig.get_path('purelib')}"
    (folder / "apache.conf").write_text(
        APACHE.format(host=HOST, port=port, folder=folder, packages=packages, root=ROOT)
    )
    # The last one: without it access(2) tells `nobody` that there is nothing, whatever `nobody` may open.
    rights = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
    as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *rights] if os.geteuid() == 0 else []
    return [*as_nobody, "/usr/sbin/apache2", "-f", str(folder / "apache.conf"), "-DFOREGROUND"]


APACHE = """
ServerName {host}
Listen {host}:{port}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog /dev/stderr
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule wsgi_module /usr/lib/apache2/modules/mod_wsgi.so
WSGISocketPrefix {folder}/wsgi
WSGIDaemonProcess gateway threads=64 home={folder} python-path={packages}
WSGIProcessGroup gateway
WSGIApplicationGroup %{{GLOBAL}}
WSGIPassAuthorization On
WSGIChunkedRequest On
WSGIScriptAlias / {root}/wsgi.py
"""


@pytest.mark.parametrize("server", [waitress, gunicorn, mod_wsgi])
def test_under_another_server(tmp_path: Path, server: Callable[[Path, int], list[str]]) -> None:
    """`wsgi.py`, as any WSGI server takes it."""
    # Nobody's Python is not to leave compiled files in the repository.
    environ = {"GATEWAY_CONFIG": str(tmp_path / "gateway.toml"), "PYTHONDONTWRITEBYTECODE": "1"}
    gateway = Gateway(tmp_path, BASE + NOWHERE, environ)
    gateway.process.command = server(tmp_path, gateway.process.port)
    try:
        gateway.process.start()
        assert gateway.call("GET", "/healthz").status == 200, gateway.process.log.read_text()[-4000:]
        assert gateway.call("GET", "/readyz").status == 200
        assert gateway.post("/carrierx/callback", UNROUTED).status == 200
        assert [row["body"] for row in gateway.rows("SELECT body FROM events")] == [UNROUTED]
        assert gateway.call("POST", "/carrierx/callback/wrong", UNROUTED).status == 403
        basic = {"Authorization": "Basic " + base64.b64encode(f":{KEY}".encode()).decode()}
        by_password = gateway.call("POST", "/carrierx/callback", UNROUTED.replace(b'"1"', b'"2"'), basic)
        assert by_password.status == 200
        path = f"/carrierx/callback/{KEY}"
        chunked = _chunked(gateway.process.port, path, UNROUTED.replace(b'"1"', b'"3"'))
        assert chunked.startswith(b"HTTP/1.1 200")
        assert len(gateway.rows("SELECT id FROM events")) == 3
        log = gateway.process.log.read_text()
        kept = [line for line in map(json.loads, re.findall(r"\{.*\}", log)) if line["event"] == "callback_kept"]
        assert [(line["process"], line["level"], line["event_id"]) for line in kept] == [
            ("web", "info", id) for id in (1, 2, 3)
        ]
        assert KEY not in log
    finally:
        gateway.kill()


def _chunked(port: int, path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
    with closing(socket.create_connection((HOST, port), timeout=LONG)) as connection:
        connection.sendall(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        pieces = iter(lambda: connection.recv(65536), b"")
        return b"".join(pieces)


# The supervisor by itself, with processes that do as the test says.


class Script(Child):
    """Python code in place of a process of the gateway."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", *self.arguments]


ENDS_WHEN_ASKED = "import sys; sys.stdin.read()"
ENDS_NEVER = "import signal, sys, threading; sys.stdin.read(); threading.Event().wait()"
ENDS_AT_ONCE = "raise SystemExit(3)"


@contextmanager
def in_thread(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Runs it beside the test; what it gives is to be called for its exit code."""
    monkeypatch.setattr("gateway.serve.supervisor.on_signals", lambda ask: None)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(supervisor.run()))
    thread.start()

    def code() -> int:
        thread.join(LONG)
        return codes[0]

    try:
        yield code
    finally:
        supervisor.stop()
        thread.join(LONG)


def test_pauses_grow_and_are_forgotten() -> None:
    child = Script("x", [ENDS_AT_ONCE])
    assert [child.died(now=1.0) for _ in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, MAX_PAUSE_SECONDS, MAX_PAUSE_SECONDS]
    child.started_at = 100.0
    assert child.died(now=100.0 + HEALTHY_SECONDS) == 0.2
    assert (child.deaths, child.restart_at) == (1, 100.0 + HEALTHY_SECONDS + 0.2)


def test_what_never_comes_up_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.serve.supervisor.MAX_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("gateway.serve.supervisor.FIRST_PAUSE_SECONDS", 0.01)
    child, other = Script("x", [ENDS_AT_ONCE], pause=0.01), Script("y", [ENDS_WHEN_ASKED])
    with in_thread(Supervisor([child, other]), monkeypatch) as code:
        assert code() == 1
    assert child.deaths == MAX_EARLY_DEATHS
    assert other.process is not None and other.process.returncode == 0


def test_what_was_up_once_is_never_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.serve.supervisor.MAX_PAUSE_SECONDS", 0.01)
    child = Script("x", [ENDS_AT_ONCE], pause=0.01)
    supervisor = Supervisor([child])
    supervisor.ready()
    with in_thread(supervisor, monkeypatch) as code:
        until(lambda: child.deaths > MAX_EARLY_DEATHS + 1, "it was started again and again")
        supervisor.stop()
        assert code() == 0


def test_stragglers_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    child = Script("x", [ENDS_NEVER])
    supervisor = Supervisor([child], grace=0.5)
    with capture_logs() as logs, in_thread(supervisor, monkeypatch) as code:
        until(lambda: child.process, "it runs")
        supervisor.stop()
        assert code() == 0
    assert child.process is not None and child.process.returncode == -signal.SIGKILL
    killed, stopped = logs[-2:]
    assert killed == {"event": "process_killed", "log_level": "error", "pid": child.process.pid}
    assert stopped["event"] == "stopped"


def test_a_program_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing(Child):
        @property
        def command(self) -> list[str]:
            return ["/nowhere/at/all"]

    child = Missing("x", [])
    supervisor = Supervisor([child])
    with in_thread(supervisor, monkeypatch) as code:
        until(lambda: child.deaths > 1, "it was tried again")
        supervisor.stop()
        assert code() == 0


@pytest.mark.parametrize(("code", "words"), [(0, "exit 0"), (1, "exit 1"), (-9, "SIGKILL"), (-200, "signal 200")])
def test_how_a_process_ended(code: int, words: str) -> None:
    assert exit_reason(code) == words


# Addresses and the log.


def test_addresses() -> None:
    assert url_of("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert url_of("::", 80) == "http://[::1]:80"
    assert parse_address("127.0.0.1:8080") == ("127.0.0.1", 8080)
    assert parse_address("::1:8080") == ("::1", 8080)
    assert parse_address("") is None


def test_another_port_where_one_is_taken() -> None:
    with closing(socket.socket()) as taken:
        taken.bind((HOST, 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        assert free_port(HOST, port) != port
        with pytest.raises(PortTaken, match=f"Port {port} on 127.0.0.1 is taken"):
            check_free(HOST, port)
    assert free_port(HOST, 70_000) < 65_536
    with pytest.raises(PortTaken, match="Cannot listen on 192.0.2.1"):
        check_free("192.0.2.1", port)


@pytest.fixture
def logging_again() -> Iterator[None]:
    """Afterwards logging is as it was."""
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, root.level = before
    structlog.reset_defaults()


def logged(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one line that was logged."""
    line: dict[str, Any] = json.loads(capsys.readouterr().err)
    return line


@pytest.mark.usefixtures("logging_again")
def test_an_exception_is_told_without_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("test")
    try:
        try:
            raise KeyError("canary")
        except KeyError as cause:
            raise ValueError("canary too") from cause
    except ValueError:
        structlog.get_logger().exception("it_failed", where="here")
    line = logged(capsys)
    assert (line["event"], line["where"], line["process"]) == ("it_failed", "here", "test")
    assert line["exception"] == "ValueError < KeyError" and "test_serve.py" in line["frames"][-1]
    assert "canary" not in json.dumps(line)


@pytest.mark.usefixtures("logging_again")
def test_what_libraries_say_is_told_without_keys(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("test")
    logging.getLogger("flask.app").error("Exception on %s [%s]", "/legacy/callback/canary", "POST")
    line = logged(capsys)
    assert line["event"] == "Exception on /legacy/callback/[hidden] [POST]" and line["logger"] == "flask.app"


@pytest.mark.usefixtures("logging_again")
def test_libraries_are_heard_from_warnings_up(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("test")
    logging.getLogger("urllib3").info("chatter")
    logging.getLogger("urllib3").warning("of note")
    assert logged(capsys)["event"] == "of note"


@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n"])
def test_the_body_of_a_page_that_is_too_large_is_not_waited_for(gateway: Gateway, expect: str) -> None:
    with socket.create_connection((HOST, gateway.process.port), timeout=LONG) as connection:
        connection.sendall(f"POST /login HTTP/1.1\r\nHost: x\r\n{expect}Content-Length: 65537\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ") and answer.count(b"HTTP/1.1") == 1
