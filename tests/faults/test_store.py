"""The store cannot be written to for a while: callers hear 503 in time, monitors see it, and all comes back."""

from __future__ import annotations

import fcntl
import os
import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.faults.conftest import Report
from tests.faults.disk import Quota, Tmpfs, small_disk
from tests.faults.load import Load
from tests.faults.world import World, world
from tests.running import until

USUAL: dict[str, str] = {}
"""Nothing is cut off here: leases as long as usual, and not one text may come twice."""


def over(seconds: float) -> None:
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end, "time passes")


def red(here: World) -> None:
    until(lambda: here.readyz() == 503, "readyz is red")


def green(here: World, load: Load) -> None:
    until(lambda: here.readyz() == 200, "readyz is green again")
    load.go_on(20)


def refused(here: World) -> None:
    before = here.ledger.later
    until(lambda: here.ledger.later > before, "a callback was answered 503")


@contextmanager
def transaction(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None)) as stranger:
        until(lambda: _begins(stranger), "the stranger has the lock")
        yield
        stranger.execute("ROLLBACK")


def _begins(stranger: sqlite3.Connection) -> bool:
    try:
        stranger.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        return False
    return True


def test_locked_by_a_stranger(tmp_path: Path, full: bool, report: Report) -> None:
    """A backup, or a shell that somebody left open within a transaction."""
    with world(tmp_path, environ=USUAL) as here:
        with here.load() as load:
            for seconds in (8, 30) if full else (0.5,):
                load.go_on(20)
                with transaction(here.gateway.folder / "data" / "gateway.db"):
                    red(here)
                    if full:
                        refused(here)
                    over(seconds)
                green(here, load)
        here.all_arrive()
        here.balance("SQLite locked by a stranger", report, doubles=False)


def test_lock_files_held(tmp_path: Path, full: bool, report: Report) -> None:
    """Of the gateway's own lock: a process of it that hangs in the middle of a transaction."""
    with world(tmp_path, environ=USUAL) as here:
        with here.load() as load:
            load.go_on(20)
            for suffix in (".lock", ".turn"):
                with (here.gateway.folder / "data" / f"gateway.db{suffix}").open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    red(here)
                    if full:
                        refused(here)
                green(here, load)
        here.all_arrive()
        here.balance("lock files held", report, doubles=False)


def test_database_moved_away_and_replaced(tmp_path: Path, report: Report) -> None:
    """Nothing may be written into a file that nobody will look into, nor taken for an empty outbox."""
    with world(tmp_path, environ=USUAL) as here:
        with here.load() as load:
            load.go_on(20)
            data, away = here.gateway.folder / "data", here.gateway.folder / "away"
            data.rename(away)
            red(here)
            refused(here)
            data.mkdir(mode=0o700)
            sqlite3.connect(data / "gateway.db").close()
            refused(here)
            assert here.readyz() == 503
            data.rename(here.gateway.folder / "other")
            away.rename(data)
            green(here, load)
        here.all_arrive()
        here.balance("database moved away, another in its place", report, doubles=False)


def test_disk_nearly_full_and_full(tmp_path: Path, report: Report) -> None:
    """Nearly: nothing new is taken, what was taken is delivered and settled. Full: nothing is lost either."""
    with small_disk(tmp_path / "gateway") as disk, world(tmp_path, environ=USUAL) as here:
        with here.load() as load:
            pids = here.gateway.process.processes()
            load.go_on(30)
            if disk.kind == "tmpfs":  # a quota has no "nearly"
                disk.fill(pids, leave=24 * 2**20)
                red(here)
                refused(here)
                here.so_far_arrive()  # and may be settled, though there is no room for more
                disk.free(pids)
                green(here, load)
            back_to_a_full_disk(here, load, disk)
        here.all_arrive()
        here.balance(f"disk full ({disk.kind})", report, doubles=False)


def test_quota_used_up(tmp_path: Path, report: Report) -> None:
    """The file system has room, but not for us."""
    with world(tmp_path, environ=USUAL) as here:
        with here.load() as load:
            back_to_a_full_disk(here, load, Quota())
        here.all_arrive()
        here.balance("quota used up", report, doubles=False)


def back_to_a_full_disk(here: World, load: Load, disk: Tmpfs | Quota) -> None:
    """Attempts are on their way when the last byte goes, and there is no room to write down how they ended."""
    pids = here.gateway.process.processes()
    here.page.delay = here.app.delay = 0.5
    load.go_on(30)
    disk.fill(pids)
    red(here)
    refused(here)
    over(1)
    here.page.delay = here.app.delay = 0.0
    disk.free(pids)
    green(here, load)


def test_out_of_files(tmp_path: Path, full: bool, report: Report) -> None:
    """No process may open another file or connection. Platforms that have theirs are served, others wait."""
    with world(tmp_path) as here:
        with here.load() as load:
            load.go_on(30)
            here.so_far_arrive()  # the worker is up: one that could not start would end
            limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in here.gateway.process.processes()}
            for pid, (_, hard) in limits.items():
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")), hard))
            over(2 if full else 1)
            for pid, limit in limits.items():
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
            green(here, load)
        here.all_arrive()
        here.balance("out of files", report, doubles=False)
