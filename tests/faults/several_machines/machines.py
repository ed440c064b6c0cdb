"""All of it running: the hosts, what runs on each, and the ledger that is balanced in the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.faults.several_machines.databases import PORT, Server
from tests.faults.several_machines.ledger import Balance, balance, unfinished
from tests.faults.several_machines.network import Network
from tests.faults.several_machines.outside import NUMBER
from tests.running import KEY, PASSWORD, ROOT, START, alive, descendants, until

WEB_PORT, PAGE_PORT = 8080, 8000
STOP = 10.0
# Both spellings of "whichever of the two may be written to".
URLS = (
    f"postgresql://gateway@{{0}}:{PORT},{{1}}:{PORT}/gateway?target_session_attrs=read-write",
    f"postgresql://gateway@/gateway?host={{0}}:{PORT}&host={{1}}:{PORT}&target_session_attrs=read-write",
)
CONFIG = """
[gateway]
database = "{database}"
keys = ["{key}"]
password = "{password}"

[endpoint.page]
url = "http://{page}:{page_port}/sms/join.php"
timeout = {timeout}
concurrency = 16

[[number]]
number = "{number}"
callback = ["page"]
"""


class Half:
    """`gateway web` or `gateway worker` on a host of its own, with a folder of its own."""

    def __init__(self, machines: Machines, host: str, config: str) -> None:
        self.host, self._machines = host, machines
        self._folder = machines.folder / host
        self._folder.mkdir()
        (self._folder / "gateway.toml").write_text(config)
        self._process: subprocess.Popen[bytes] | None = None
        self._begin = 0

    @property
    def is_web(self) -> bool:
        return self.host.startswith("web")

    @property
    def address(self) -> str:
        return self._machines.network.address(self.host, "front")

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it is ready."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        self._begin = len(self.log) if (self._folder / "log").exists() else 0
        listen = ["--host", self.address, "--port", str(WEB_PORT)] if self.is_web else []
        half = "web" if self.is_web else "worker"
        command = [sys.executable, "-m", "gateway", half, "--config", str(self._folder / "gateway.toml"), *listen]
        with (self._folder / "log").open("ab") as out:
            self._process = subprocess.Popen(
                self._machines.network.on(self.host, command),
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )

    def wait(self) -> None:
        until(self._is_up, f"{self.host} is up", START)

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.host} ended with {self._process.returncode}:\n{self.log[-4000:]}"
        return self.is_ready() if self.is_web else "worker_started" in self.log[self._begin :]

    def is_ready(self) -> bool:
        """A web says so itself."""
        return bool(self._machines.ask("ask", host=self.address, port=WEB_PORT, path="/readyz")["status"] == "200")

    def stop(self) -> None:
        """As a service manager does."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(STOP + 1)
        self._process = None
        assert code == 0, f"{self.host} ended with {code}:\n{self.log[-4000:]}"

    def kill(self) -> None:
        """kill -9, of all that belongs to it; nothing where it does not run."""
        if self._process is None:
            return
        family = [self._process.pid, *descendants(self._process.pid)]
        for pid in family:
            os.kill(pid, 9)
        self._process.wait(STOP)
        until(lambda: not any(map(alive, family)), "all dead", STOP)
        self._process = None


class Machines:
    """db1 is the primary at first, db2 its standby; `primary` is the one of now."""

    def __init__(self, folder: Path, network: Network, outside: subprocess.Popen[str], *, fsync: bool) -> None:
        self.folder, self.network, self._outside = folder, network, outside
        self.db1, self.db2 = (Server(network, host, folder / host, fsync) for host in ("db1", "db2"))
        self.primary, self.standby = self.db1, self.db2
        self.halves: dict[str, Half] = {}
        self._begun = 0
        self._said()  # it listens

    def make(self, timeout: float = 2.0) -> None:
        self.db1.make()
        self.db2.follow(self.db1)
        hosts = ("web1", "web2", "worker1", "worker2")
        self.halves = {host: Half(self, host, self._config(at, timeout)) for at, host in enumerate(hosts)}
        self.web1, self.web2, self.worker1, self.worker2 = self.halves.values()
        for half in self.halves.values():
            half.launch()
        for half in self.halves.values():
            half.wait()

    @property
    def database(self) -> str:
        return URLS[0].format(self.db1.address, self.db2.address)

    def _config(self, at: int, timeout: float) -> str:
        return CONFIG.format(
            database=URLS[at % 2].format(self.db1.address, self.db2.address),
            key=KEY,
            password=PASSWORD,
            page=self.network.address("outside", "front"),
            page_port=PAGE_PORT,
            timeout=timeout,
            number=NUMBER,
        )

    def close(self) -> None:
        for half in self.halves.values():
            half.kill()

    def fail_over(self) -> None:
        """The standby becomes the primary, with no standby of its own: whoever calls for one says so."""
        self.primary, self.standby = self.standby, self.primary
        self.primary.promote()

    def get_standby(self) -> None:
        """The host that was the primary begins anew as a copy of what is the primary now."""
        self.standby.follow(self.primary)

    def ask(self, what: str, **more: object) -> dict[str, Any]:
        """See `outside`."""
        assert self._outside.stdin is not None
        self._outside.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self._outside.stdin.flush()
        return self._said()

    def _said(self) -> dict[str, Any]:
        assert self._outside.stdout is not None
        line = self._outside.stdout.readline()
        assert line, "the world outside has ended"
        said: dict[str, Any] = json.loads(line)
        return said

    def text(self, handsets: int, rate: float) -> None:
        """From here on handsets text."""
        with self.primary.connect() as conn:
            self._begun = unfinished(conn)
        webs = [(half.address, WEB_PORT) for half in self.halves.values() if half.is_web]
        self.ask("start", webs=webs, path=f"/carrierx/callback/{KEY}", handsets=handsets, rate=rate)

    def flow(self, texts: int = 30, within: float = 60.0) -> None:
        """Returns when so many more texts were accepted, and as many arrived for the first time."""
        begin = self.ask("peek")

        def flows() -> bool:
            now = self.ask("peek")
            return all(now[what] >= begin[what] + texts for what in ("accepted", "arrived"))

        until(flows, f"{texts} texts accepted and delivered", within)

    def settle(self, within: float = 90.0) -> Balance:
        """No more texts; when nothing is owed any more, the ledger."""
        self.ask("stop")
        owed = "SELECT count(*) FROM deliveries WHERE state = 'pending'"
        until(lambda: self.primary.one(owed) == 0, "nothing is owed", within)
        with self.primary.connect() as conn:
            return balance(self.ask("all"), conn, self._begun)


@contextmanager
def several_machines(*, fsync: bool = False) -> Iterator[Machines]:
    with ExitStack() as undo:
        folder = Path(tempfile.mkdtemp(prefix="machines-"))
        folder.chmod(0o755)  # for the user that runs PostgreSQL
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        network = Network(folder)
        undo.callback(network.close)
        address = network.address("outside", "front")
        module = "tests.faults.several_machines.outside"
        outside = undo.enter_context(
            subprocess.Popen(
                network.on("outside", [sys.executable, "-m", module, address, str(PAGE_PORT)]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
        )
        machines = Machines(folder, network, outside, fsync=fsync)
        undo.callback(machines.close)
        yield machines
