"""What happens to the machines, while texts come in all the time. Each leaves them able to work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from tests.faults.several_machines.machines import Half, Machines
from tests.faults.several_machines.sitter import sitting
from tests.running import until

SLOW = 0.6
"""Seconds that the page takes for an answer, where attempts are to be in flight: less than its endpoint's timeout."""
QUICK = 0.02
LEASE = 90.0
"""Seconds within which a lease has ended by itself: the endpoint's timeout, half a minute, and a slow machine."""
WAITS_FOR_STANDBY = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
CANCEL = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def worker_killed(machines: Machines) -> None:
    """kill -9, with attempts in flight; the other one takes its leases over, which here end at once."""
    owner = _with_attempts_in_flight(machines, machines.worker1, machines.worker1.kill)
    _end_leases(machines, owner)
    _again(machines, machines.worker1)


def worker_killed_for_long(machines: Machines) -> None:
    """The same, and its leases end when their time has come."""
    owner = _with_attempts_in_flight(machines, machines.worker1, machines.worker1.kill)
    until(lambda: not _leases(machines, owner), "its leases ended", LEASE)
    _again(machines, machines.worker1)


def worker_cut_off(machines: Machines) -> None:
    """From the database alone: its attempts arrive, and it cannot say so until others have made them again."""
    _cut_off(machines, lambda owner: _end_leases(machines, owner))


def worker_cut_off_for_long(machines: Machines) -> None:
    _cut_off(machines, lambda owner: None)


def locks_cut_off(machines: Machines) -> None:
    """A process is cut off in the middle of a transaction, with the locks of all conversations in its hands."""
    module = "tests.faults.several_machines.sitter"
    with machines.primary.connect() as conn:
        ordering_keys = [row[0] for row in conn.execute("SELECT DISTINCT ordering_key FROM deliveries").fetchall()]
    command = machines.network.on("worker2", [sys.executable, "-m", module, machines.database, *ordering_keys])
    with sitting(command):
        machines.network.unplug("worker2", "back")
        machines.flow()
        machines.network.plug("worker2", "back")
    machines.flow()


def web_killed(machines: Machines) -> None:
    machines.web1.kill()
    _again(machines, machines.web1)


def primary_killed(machines: Machines) -> None:
    """Nobody shuts it down, and its host says so to whoever asks; the standby is made the primary."""
    machines.primary.kill()
    machines.fail_over()
    machines.flow()
    machines.get_standby()
    machines.flow()


def primary_gone(machines: Machines) -> None:
    """Its host says nothing any more; it comes back later, as a primary that has slept through it all."""
    old = machines.primary
    machines.network.unplug(old.host, "back")
    machines.fail_over()
    machines.flow()
    machines.network.plug(old.host, "back")
    machines.flow()
    old.kill()
    machines.get_standby()
    machines.flow()


def primary_killed_unfollowed(machines: Machines) -> None:
    """First the standby is cut off, then somebody cancels the commits that wait for it, then the primary dies.

    The cancelled ones are "committed", and the standby has never heard of them.
    """
    old, standby = machines.primary, machines.standby
    machines.network.unplug(standby.host, "back")
    for _ in range(3):
        until(lambda: old.one(CANCEL), "somebody waited for the standby, and no longer does")
    old.kill()
    machines.network.plug(standby.host, "back")
    machines.fail_over()
    machines.flow()
    machines.get_standby()


def standby_gone(machines: Machines) -> None:
    """Nothing can be accepted without it; with it, all goes on."""
    machines.network.unplug(machines.standby.host, "back")
    until(lambda: machines.primary.one(WAITS_FOR_STANDBY), "a web waits for the standby")
    until(lambda: not machines.web1.is_ready(), "the webs say that they are not ready")
    machines.network.plug(machines.standby.host, "back")
    machines.flow()


def all_restarted(machines: Machines) -> None:
    """One after the other, as for a new version: nothing is done twice."""
    _restarted(machines, *machines.halves.values())


def others_restarted(machines: Machines) -> None:
    """Those that were not killed before."""
    _restarted(machines, machines.web2, machines.worker2)


def _restarted(machines: Machines, *halves: Half) -> None:
    before = machines.ask("peek")
    for half in halves:
        half.stop()
        half.start()
        machines.flow()
    after = machines.ask("peek")
    again = [peek["posts"] - peek["arrived"] for peek in (before, after)]
    assert again[0] == again[1], f"{again[1] - again[0]} posts were made again"


def _cut_off(machines: Machines, end_leases: Callable[[str], None]) -> None:
    cut_off = partial(machines.network.unplug, "worker2", "back")
    owner = _with_attempts_in_flight(machines, machines.worker2, cut_off)
    # On a busy machine some may have run out already; that there were any is seen by what it says too late.
    end_leases(owner)
    until(lambda: not _leases(machines, owner), "others have its deliveries", LEASE)
    machines.flow()
    machines.network.plug("worker2", "back")
    late = f"SELECT count(*) FROM attempts WHERE late AND owner = '{owner}'"
    until(lambda: machines.primary.one(late), "what it could not say in time is on record")
    machines.flow()


def _again(machines: Machines, half: Half) -> None:
    machines.flow()
    half.start()
    machines.flow()


def _with_attempts_in_flight(machines: Machines, worker: Half, happens: Callable[[], None]) -> str:
    """The worker's name as an owner. The page is slow until it has happened: else all might be settled by then."""
    machines.ask("delay", seconds=SLOW)
    flying = until(lambda: many if len(many := _flying(machines, worker)) >= 3 else [], f"{worker.host} has attempts")
    happens()
    machines.ask("delay", seconds=QUICK)
    return flying[0]


def _flying(machines: Machines, worker: Half) -> list[str]:
    """The owner's name, once for each lease."""
    with machines.primary.connect() as conn:
        rows = conn.execute("SELECT owner FROM deliveries WHERE owner LIKE %s", [f"%-{worker.pid}-%"]).fetchall()
    return [row[0] for row in rows]


def _leases(machines: Machines, owner: str) -> int:
    count: int = machines.primary.one(f"SELECT count(*) FROM deliveries WHERE owner = '{owner}'")
    return count


def _end_leases(machines: Machines, owner: str) -> None:
    """As if their time had come."""
    machines.primary.one(f"UPDATE deliveries SET due = 0 WHERE owner = '{owner}' RETURNING id")


SHORT = (worker_killed, worker_cut_off, web_killed, primary_killed, others_restarted)
"""One after the other, on the same machines, within half a minute."""
FULL = (
    worker_killed_for_long,
    worker_cut_off_for_long,
    locks_cut_off,
    web_killed,
    primary_killed,
    primary_gone,
    primary_killed_unfollowed,
    standby_gone,
    all_restarted,
)
