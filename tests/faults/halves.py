"""`gateway web` and `gateway worker` on their own, as a service manager runs them: several on one folder."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tests.faults.world import World
from tests.running import Process, free_port


class Worker(Process):
    """It listens nowhere: its log says when it is up."""

    def start(self) -> None:
        self._lines = self._started()
        super().start()

    def _is_up(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log.read_text()[-4000:]
        return self._started() > self._lines

    def _started(self) -> int:
        return self.log.read_text().count('"worker_started"') if self.log.exists() else 0


class Halves:
    """Two of each, started one after another. Ended by `kill`."""

    def __init__(self, world: World, count: int = 2) -> None:
        self._world = world
        self.ports = [free_port() for _ in range(count)]
        self.webs = [Process(*self._command(["web", "--port", str(port)], port)) for port in self.ports]
        self.workers = [Worker(*self._command(["worker"], at)) for at in range(count)]

    def start(self) -> None:
        for process in self.all:
            process.start()

    def kill(self) -> None:
        for process in self.all:
            process.kill()

    close = kill

    @property
    def all(self) -> list[Process]:
        return [*self.webs, *self.workers]

    def restart(self, process: Process) -> None:
        """As a rolling restart does: the next one is taken when this one is up."""
        assert process.stop() == 0
        process.start()

    def _command(self, arguments: list[str], number: int) -> tuple[list[str], Path, int, Mapping[str, str]]:
        folder = self._world.gateway.folder
        command = [sys.executable, "-m", "gateway", *arguments, "--config", str(folder / "gateway.toml")]
        return command, folder / f"{arguments[0]}-{number}.log", number, self._world.gateway.environ
