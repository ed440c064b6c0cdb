"""SIGTERM, restarts under load, and workers that hang."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.conftest import Report
from tests.faults.halves import Halves
from tests.faults.load import Load
from tests.faults.world import World, world
from tests.running import alive, until

LEASE = 2.5
"""Seconds, as `SOON` and the endpoints' timeout make it."""


@contextmanager
def halves(folder: Path, delay: float = 0.02) -> Iterator[tuple[World, Halves]]:
    with world(folder, starts=False, delay=delay) as here:
        made = Halves(here)
        try:
            made.start()
            yield here, made
        finally:
            made.kill()


def test_sigterm_finishes_what_is_in_flight(tmp_path: Path, report: Report) -> None:
    """Each attempt that was on its way is settled before the end; nothing of it comes again."""
    with world(tmp_path, delay=0.7, timeout=8) as here:
        with here.load() as load:
            load.go_on(30)
            until(lambda: here.ledger.arrivals, "something is in flight")
            arrived = {arrival.sid for arrival in here.ledger.arrivals}
            begun = time.monotonic()
            assert here.gateway.stop() == 0
            assert time.monotonic() - begun < 10
            assert not arrived & here.standing("pending"), "in flight, and settled before the end"
            here.page.delay = here.app.delay = 0.0
            here.gateway.start()
            load.go_on(20)
        here.all_arrive()
        here.balance("SIGTERM with attempts in flight", report, doubles=False)


def test_restarted_under_load(tmp_path: Path, full: bool, report: Report) -> None:
    """As a service manager does it; platforms find nobody for a moment, and send again."""
    with world(tmp_path) as here:
        with here.load() as load:
            for _ in range(8 if full else 1):
                load.go_on(40)
                assert here.gateway.stop() == 0
                here.gateway.start()
            load.go_on(20)
        here.all_arrive()
        here.balance("restart under load", report, doubles=False)


def test_rolling_restart(tmp_path: Path, full: bool, report: Report) -> None:
    """Two webs and two workers on one folder, one after another: somebody is always there."""
    with halves(tmp_path) as (here, both):
        with Load(here.ledger, both.ports, here.ordering_keys) as load:
            for process in both.all * 2 if full else (both.webs[0], both.workers[0]):
                load.go_on(30)
                both.restart(process)
            load.go_on(20)
        here.all_arrive()
        here.balance("rolling restart, one process at a time", report, doubles=False)


def test_one_of_two_workers_hangs(tmp_path: Path, report: Report) -> None:
    """For longer than its leases: the other one takes over, and what the first says later changes nothing.

    It does not hang within a transaction: then all wait for it, until somebody ends it, see `test_lock_files_held`.
    """
    with halves(tmp_path, delay=0.2) as (here, both):
        with Load(here.ledger, both.ports, here.ordering_keys) as load:
            load.go_on(40)
            with here.ledger.fault():
                hung = both.workers[-1].processes()[0]  # the bell rings for both
                until(lambda: hangs(hung, here), "it hangs, with attempts in flight, and not within a transaction")
                over = time.monotonic() + 2 * LEASE
                until(lambda: time.monotonic() > over, "its leases ran out")
                here.so_far_arrive()  # by the other one
                os.kill(hung, signal.SIGCONT)
            load.go_on(40)
        here.all_arrive()
        here.balance("one of two workers hangs", report)


def hangs(pid: int, here: World) -> bool:
    """Stopped with attempts in flight, and with the lock on the database free; else it goes on."""
    os.kill(pid, signal.SIGSTOP)
    locks = [here.gateway.folder / "data" / f"gateway.db{suffix}" for suffix in (".turn", ".lock")]
    end = time.monotonic() + 0.5
    while not (free := all(map(is_free, locks))) and time.monotonic() < end:
        pass
    if free and leases(pid, here):
        return True
    os.kill(pid, signal.SIGCONT)
    return False


def leases(pid: int, here: World) -> int:
    """How many deliveries are this worker's own."""
    return len(here.rows(f"SELECT 1 FROM deliveries WHERE owner LIKE '%-{pid}-%'"))


def is_free(lock: Path) -> bool:
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_a_hung_worker_under_the_supervisor(database: str | None, tmp_path: Path, full: bool, report: Report) -> None:
    """It is ended when nothing was heard of it for too long. In short form it wakes up by itself before that."""
    with world(tmp_path, database=database) as here:
        with here.load() as load:
            load.go_on(40)
            (hung,) = here.pids("worker")
            with here.ledger.fault():
                os.kill(hung, signal.SIGSTOP)
                over = time.monotonic() + LEASE + 0.5
                until(lambda: time.monotonic() > over, "its leases ran out")
                if full:
                    until(lambda: not alive(hung), "it was ended", within=90)
                else:
                    os.kill(hung, signal.SIGCONT)
                here.so_far_arrive()
            load.go_on(40)
        here.all_arrive()
        here.balance(f"hung worker under the supervisor{here.on}", report)
