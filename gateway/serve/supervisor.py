"""Keeps the processes of the gateway running: starts them, starts again what died, ends them all together."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from gateway.serve.lifeline import GRACE, on_signals

FIRST_PAUSE = 0.2
"""Seconds before a process that died is started again; doubled at each death up to `LONGEST_PAUSE`."""
LONGEST_PAUSE = 5.0
STEADY = 30.0
"""Seconds after which a process counts as well again."""
PATIENCE = 30.0
"""Seconds without a sign of life after which a process is taken for hung. It gives one every half second, but the
longest wait for the store is half of this."""
ASLEEP = 5.0
"""Seconds that the supervisor itself did not run for: the machine was, and nobody could be heard."""
HOPELESS = 5
"""Deaths of one process before the gateway was ever ready: it will not come up, and it is better to say so."""

Happening = tuple[str, "Child | None", "subprocess.Popen[bytes] | None"]


@dataclass(slots=True)
class Child:
    """One process that is to run: `python -m gateway` with these arguments."""

    name: str
    arguments: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Put on top of this process's own."""
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    deaths: int = 0
    again_at: float | None = None
    heard_at: float | None = None
    """The last sign of life. None until the first one: a start may take long, as tables are brought up to date."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "gateway", *self.arguments, "--lifeline"]

    def start(self, now: float) -> subprocess.Popen[bytes]:
        self.started, self.again_at, self.heard_at = now, None, None
        # A terminal's Ctrl-C goes to the supervisor alone, which then stops the others: hence a session, a group, of
        # their own (each system takes the one that it knows).
        self.process = subprocess.Popen(  # noqa: S603
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **self.environ},
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        return self.process

    def is_hung(self, now: float, patience: float) -> bool:
        return self.process is not None and self.heard_at is not None and now - self.heard_at > patience

    def died(self, now: float) -> float:
        """Seconds until it is to be started again."""
        self.let_go()
        self.heard_at = None
        if now - self.started >= STEADY:
            self.pause, self.deaths = FIRST_PAUSE, 0
        self.process, self.deaths = None, self.deaths + 1
        pause, self.pause = self.pause, min(LONGEST_PAUSE, self.pause * 2)
        self.again_at = now + pause
        return pause

    def let_go(self) -> None:
        """Ask it to stop."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()


class Supervisor:
    """`run()` returns the exit code when it was asked to stop, or when there is no hope."""

    def __init__(
        self,
        children: Sequence[Child],
        *,
        grace: float = GRACE,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._children, self._grace, self._clock = children, grace, clock
        self._patience, self._looked = patience, clock()
        # Its `put` may be called in a signal handler.
        self._happenings: queue.SimpleQueue[Happening] = queue.SimpleQueue()
        self._ready = False
        self._log = structlog.get_logger(__name__)

    def stop(self) -> None:
        """From any thread, or a signal handler."""
        self._happenings.put(("stop", None, None))

    def ready(self) -> None:
        """From any thread: all is up; from here on nothing that dies is given up."""
        self._happenings.put(("ready", None, None))

    def run(self) -> int:
        on_signals(self.stop)
        try:
            for child in self._children:
                self._start(child)
            return self._watch()
        finally:
            self._end()

    def _watch(self) -> int:
        while True:
            self._end_hung()
            try:
                what, child, process = self._happenings.get(timeout=self._until_due())
            except queue.Empty:
                self._start_due()
                continue
            if what == "stop":
                return 0
            if what == "ready":
                self._ready = True
            elif child is not None and process is not None and not self._bury(child, process):
                return 1

    def _until_due(self) -> float:
        # Never for long: on Windows a wait without an end does not hear Ctrl-C.
        due = [child.again_at - self._clock() for child in self._children if child.again_at is not None]
        return max(0.0, min([1.0, *due]))

    def _end_hung(self) -> None:
        """Kills what gave no sign of life for too long: it cannot be asked. Its end is then seen like any other."""
        now, self._looked, before = self._clock(), self._clock(), self._looked
        for child in self._children:
            if now - before > ASLEEP and child.heard_at is not None:
                child.heard_at = now
            elif child.is_hung(now, self._patience) and child.process is not None:
                self._log.error("process_hung", name=child.name, pid=child.process.pid, seconds=self._patience)
                child.heard_at = None
                child.process.kill()

    def _start_due(self) -> None:
        now = self._clock()
        for child in self._children:
            if child.again_at is not None and child.again_at <= now:
                self._start(child)

    def _start(self, child: Child) -> None:
        try:
            process = child.start(self._clock())
        except OSError as error:  # out of processes or memory: as if it had died at once
            pause = child.died(self._clock())
            self._log.error("process_not_started", name=child.name, reason=error.strerror, again_in=pause)
            return
        self._log.info("process_started", name=child.name, pid=process.pid)
        for what, work in (("hear", self._hear), ("wait", self._await)):
            threading.Thread(target=work, args=(child, process), name=f"{what}-{child.name}", daemon=True).start()

    def _hear(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        """Signs of life come over its standard output, see `gateway.serve.lifeline`."""
        if process.stdout is None:
            return
        with process.stdout as signs:
            while signs.read(512):
                if child.process is process:
                    child.heard_at = self._clock()

    def _await(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._happenings.put(("end", child, process))

    def _bury(self, child: Child, process: subprocess.Popen[bytes]) -> bool:
        """False where there is no hope."""
        pause = child.died(self._clock())
        self._log.error(
            "process_ended", name=child.name, pid=process.pid, how=exit_reason(process.returncode), again_in=pause
        )
        return self._ready or child.deaths < HOPELESS

    def _end(self) -> None:
        """All of them, side by side, within the time of grace."""
        running = [child.process for child in self._children if child.process is not None]
        for child in self._children:
            child.again_at = None
            child.let_go()
        until = self._clock() + self._grace
        for process in running:
            try:
                process.wait(max(0.0, until - self._clock()))
            except subprocess.TimeoutExpired:
                self._log.error("process_killed", pid=process.pid)
                process.kill()
                process.wait()
        self._log.info("stopped")


def exit_reason(code: int) -> str:
    """An exit code in words: ``exit 1``, ``SIGKILL``."""
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
