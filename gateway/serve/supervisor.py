"""Keeps the processes of the gateway running: starts them, restarts those that die or hang, stops them together.

The supervisor holds the other end of every child's standard input. Closing it means "stop", on every operating system
alike; and where the supervisor is killed, the system closes it: no child outlives it. The other way round, a child
writes to its standard output as long as its loop runs: a process that runs and does nothing is replaced, too.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

GRACE_SECONDS = 9.0  # from the wish to stop to the end, whatever is still in flight
BEAT_SECONDS = 0.5  # from one sign of life of a process to the next
HEARTBEAT_TIMEOUT_SECONDS = 30.0
"""A process that gave no sign of life for this long counts as hung. The longest wait for the store is half of this."""
SUSPENDED_SECONDS = 5.0
"""Where the supervisor itself did not run for this long, the machine was suspended, and no process could run."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.2, 5.0  # before a process that died is started again; doubled at each death
HEALTHY_SECONDS = 30.0  # a process that ran for this long starts again after the first pause
MAX_EARLY_DEATHS = 5
"""Deaths of one process before the gateway was ever ready: it will not come up, and it is better to say so."""


class Heartbeat:
    """Called in every turn of a process's loop: a sign of life for the supervisor, where there is one."""

    def __init__(self, *, lifeline: bool) -> None:
        self._next = 0.0 if lifeline else float("inf")

    def __call__(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + BEAT_SECONDS
        try:
            os.write(1, b".")
        except OSError:  # the supervisor has gone: the end of standard input says so, too
            self._next = float("inf")


def raise_file_limit(wanted: int) -> int:
    """Lets this process open `wanted` files, as far as this user may. Returns how many of them there may be now."""
    if sys.platform == "win32":
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, soft)


def on_stop(stop: Callable[[], object], *, lifeline: bool) -> None:
    """Calls `stop` once: at SIGTERM, at Ctrl-C, or when the supervisor closes standard input. From any thread.
    Where the process has not ended `GRACE_SECONDS` later, it is ended from here. To be called in the main thread."""
    asked = threading.Event()

    def ask() -> None:
        if asked.is_set():
            return
        asked.set()
        deadline = threading.Timer(GRACE_SECONDS, os._exit, (1,))
        deadline.daemon = True
        deadline.start()
        stop()

    def wait_for_end_of_input() -> None:
        # Not through sys.stdin: its buffer's lock would be held when the interpreter ends.
        with suppress(OSError):
            while os.read(0, 64):
                pass
        ask()

    on_signals(ask)
    if lifeline:
        threading.Thread(target=wait_for_end_of_input, name="lifeline", daemon=True).start()


def on_signals(ask: Callable[[], None]) -> None:
    """Calls `ask` at SIGTERM and Ctrl-C, under each of the names that the operating system has for them."""
    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: ask())


@dataclass(slots=True)
class Child:
    """A process to keep running: `python -m gateway` with these arguments."""

    name: str
    arguments: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)  # added to this process's own
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS
    deaths: int = 0
    restart_at: float | None = None
    last_beat: float | None = None
    """None until the first sign of life: a start may take long, as tables are brought up to date."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "gateway", *self.arguments, "--lifeline"]

    def start(self, now: float) -> subprocess.Popen[bytes]:
        self.started_at, self.restart_at, self.last_beat = now, None, None
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

    def died(self, now: float) -> float:
        """Seconds until it is to be started again."""
        self.ask_to_stop()
        if now - self.started_at >= HEALTHY_SECONDS:
            self.pause, self.deaths = FIRST_PAUSE_SECONDS, 0
        self.process, self.last_beat, self.deaths = None, None, self.deaths + 1
        pause, self.pause = self.pause, min(MAX_PAUSE_SECONDS, self.pause * 2)
        self.restart_at = now + pause
        return pause

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()


class Supervisor:
    """Runs the children. `run()` returns the exit code once it was asked to stop, or when one does not come up."""

    def __init__(
        self,
        children: Sequence[Child],
        *,
        grace: float = GRACE_SECONDS,
        heartbeat_timeout: float = HEARTBEAT_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._children, self._grace, self._clock = children, grace, clock
        self._heartbeat_timeout, self._checked_at = heartbeat_timeout, clock()
        # "stop", "ready", or a child whose process has ended. Its `put` may be called in a signal handler.
        self._events: queue.SimpleQueue[str | tuple[Child, subprocess.Popen[bytes]]] = queue.SimpleQueue()
        self._log = structlog.get_logger(__name__)

    def stop(self) -> None:
        """To be called from any thread, or a signal handler."""
        self._events.put("stop")

    def ready(self) -> None:
        """To be called, from any thread, when all is up: from then on no process is given up."""
        self._events.put("ready")

    def run(self) -> int:
        on_signals(self.stop)
        try:
            for child in self._children:
                self._start(child)
            return self._watch()
        finally:
            self._stop_all()

    def _watch(self) -> int:
        ready = False
        while True:
            self._kill_hung()
            # Never for long: on Windows a wait without an end does not hear Ctrl-C.
            due = [child.restart_at - self._clock() for child in self._children if child.restart_at is not None]
            try:
                event = self._events.get(timeout=max(0.0, min([1.0, *due])))
            except queue.Empty:
                now = self._clock()
                for child in self._children:
                    if child.restart_at is not None and child.restart_at <= now:
                        self._start(child)
                continue
            if event == "stop":
                return 0
            if isinstance(event, str):
                ready = True
                continue
            child, process = event
            pause, reason = child.died(self._clock()), exit_reason(process.returncode)
            self._log.error("process_ended", name=child.name, pid=process.pid, reason=reason, again_in=pause)
            if not ready and child.deaths >= MAX_EARLY_DEATHS:
                return 1

    def _kill_hung(self) -> None:
        """Kills what gave no sign of life for too long: it cannot be asked. Its end is then seen like any other."""
        now, self._checked_at, before = self._clock(), self._clock(), self._checked_at
        for child in self._children:
            if child.process is None or child.last_beat is None:
                continue
            if now - before > SUSPENDED_SECONDS:
                child.last_beat = now
            elif now - child.last_beat > self._heartbeat_timeout:
                pid, seconds = child.process.pid, self._heartbeat_timeout
                self._log.error("process_hung", name=child.name, pid=pid, seconds=seconds)
                child.last_beat = None
                child.process.kill()

    def _start(self, child: Child) -> None:
        try:
            process = child.start(self._clock())
        except OSError as error:  # out of processes or memory: as if it had died at once
            pause = child.died(self._clock())
            self._log.error("process_not_started", name=child.name, reason=error.strerror, again_in=pause)
            return
        self._log.info("process_started", name=child.name, pid=process.pid)

        def read_heartbeats() -> None:
            if process.stdout is None:
                return
            with process.stdout as beats:
                while beats.read(512):
                    if child.process is process:
                        child.last_beat = self._clock()

        def wait_for_end() -> None:
            process.wait()
            self._events.put((child, process))

        for work in (read_heartbeats, wait_for_end):
            threading.Thread(target=work, name=f"{work.__name__}-{child.name}", daemon=True).start()

    def _stop_all(self) -> None:
        """Stops all processes, side by side, within the time of grace."""
        running = [child.process for child in self._children if child.process is not None]
        for child in self._children:
            child.restart_at = None
            child.ask_to_stop()
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
