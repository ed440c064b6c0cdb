"""An accepted send is at CarrierX exactly once, its statuses are posted exactly once, whatever breaks on the way."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from tests.faults.callers import PLAIN, Caller, Callers
from tests.faults.conftest import Report
from tests.faults.halves import Halves
from tests.faults.sending import EVERYTHING, TOKEN, WRONG, Sending, sending
from tests.faults.test_clock import BACK, set_clock
from tests.faults.test_killed import counted, kill_supervisor, tell
from tests.faults.test_store import over, transaction
from tests.postgresql_server import PostgresqlServer
from tests.running import free_port, until

ENOUGH = {
    "web": ("INSERT INTO ledger", "INSERT INTO deliveries", "commit", "committed", "told"),
    "worker": ("UPDATE ledger SET", "commit", "committed", "posts", "asked", "posted", "start"),
}
"""Steps that there must be, whatever else there is."""
READS = ("BEGIN", "SELECT", "WITH")
SOME = {
    "web": (("committed", 1),),
    "worker": (("posts", 1), ("asked", 1), ("posted", 1)),
}
"""Those of the short form."""
LOST = dict.fromkeys(("error_after", "lost_after", "broken_json"), 0.0)
"""Not a single answer is, of what was accepted."""
LONGEST = 1.0
"""Seconds that a request to CarrierX may take here."""
RARE = 10.0
"""Seconds after which a step counts as one that was only there by chance."""


def test_everything_goes_wrong(database: str | None, tmp_path: Path, full: bool, report: Report) -> None:
    """All that CarrierX may do to us, at the same time; nothing of ours breaks, so nothing at all may come twice."""
    count = (10_000 if database is None else 2_000) if full else 150
    with sending(tmp_path, database=database) as here:
        here.standin.misbehave(**EVERYTHING)
        with here.callers(magic=0.2) as callers:
            callers.go_on(count, within=count / 5)
        here.settle(within=1200 if full else 60)
        here.weigh(f"sending, everything goes wrong{here.on}", report)


def test_only_the_answer_tells_whose_an_update_is(tmp_path: Path, full: bool, report: Report) -> None:
    """CarrierX's older objects have no `user_data`: updates that come before the answer wait for it."""
    with sending(tmp_path, shape="older") as here:
        # Where the answer is lost as well nobody can tell, and a person must.
        here.configure("\ntimeout = 1\n", "\ntimeout = 30\n")
        here.standin.misbehave(**EVERYTHING | LOST | {"early": 0.5, "late": 0.0, "slow_for": 0.3})
        with here.callers() as callers:
            callers.go_on(2_000 if full else 80, within=600)
        here.settle(within=300)
        here.weigh("sending, no user_data, updates before the answer", report)


def test_killed_under_load(
    database: str | None, tmp_path: Path, full: bool, report: Report, request: pytest.FixtureRequest
) -> None:
    """Web, worker, both, and all of it, while CarrierX behaves badly, too. At length the clock goes wrong as well, and
    PostgreSQL crashes."""
    kinds = [("worker",), ("web", "worker")] * 16 if full else [("web", "worker")]
    with sending(tmp_path, database=database, clock=full) as here:
        here.standin.misbehave(**EVERYTHING)
        with here.callers(pause=0.05, magic=0.1) as callers:
            for each in kinds:
                callers.go_on(random.randrange(10, 40))
                here.kill(*each)
            callers.go_on(20)
            with here.ledger.fault():
                kill_supervisor(here)
                here.gateway.start()
            callers.go_on(20)
            if full:
                assert here.gateway.stop() == 0
                here.gateway.start()
                clock_goes_wrong(here, callers)
            if full and database:
                crashes(here, callers, request.getfixturevalue("postgresql"))
        here.settle(within=600 if full else 60)
        here.weigh(f"sending, kill -9 at random, {len(kinds) + 1} times{here.on}", report)


def clock_goes_wrong(here: Sending, callers: Callers) -> None:
    with here.ledger.fault():
        for seconds in (BACK, 0, -BACK / 6, 0):
            set_clock(here, seconds)
            callers.go_on(60)
            here.kill("worker")
            callers.go_on(60)


def crashes(here: Sending, callers: Callers, server: PostgresqlServer) -> None:
    for mode in ("immediate", "fast") * 4:
        callers.go_on(40)
        with here.ledger.fault():
            server.halt(mode)
            over(1)
            server.resume()
        until(lambda: here.readyz() == 200, "readyz is green again")


def test_others_are_away(tmp_path: Path, full: bool, report: Report) -> None:
    """CarrierX does not know us, is not there, hangs in the midst of what it was asked; the store is locked, or gone,
    while answers come back. All that is accepted is sent, later, and nothing of it again."""
    with sending(tmp_path) as here:
        here.configure("doubt = 2", "doubt = 8" if full else "doubt = 4")
        here.standin.misbehave(slow=0.3, slow_for=0.3)
        with here.callers(pause=0.4) as callers:
            for old, new in ((TOKEN, WRONG), (f":{here.standin.port}/", f":{free_port()}/")):
                callers.go_on(20)
                nothing_leaves(here, callers, old, new)
            for seconds in (1.5, 4.0) if full else (1.5,):
                callers.go_on(20)
                os.kill(here.standin.pid, signal.SIGSTOP)
                over(seconds)
                os.kill(here.standin.pid, signal.SIGCONT)
            for seconds in (1.0, 12.0) if full else (1.0,):
                callers.go_on(20)
                store_away(here, callers, seconds)
            callers.go_on(20)
        here.settle()
        here.weigh("sending, CarrierX away, the store away", report)


def nothing_leaves(here: Sending, callers: Callers, old: str, new: str) -> None:
    """While gateway.toml says something wrong."""
    here.configure(old, new)
    until(lambda: here.is_paused, "sending pauses")
    over(LONGEST)  # what left before has come
    before = len(here.standin.sent())
    callers.go_on(20)
    assert len(here.standin.sent()) == before
    here.configure(new, old)
    until(lambda: not here.is_paused, "sending goes on")


def store_away(here: Sending, callers: Callers, seconds: float) -> None:
    data, away = here.gateway.folder / "data", here.gateway.folder / "away"
    with transaction(data / "gateway.db"):
        over(seconds)
    callers.go_on(20)
    data.rename(away)
    over(seconds)
    away.rename(data)


def test_killed_at_every_step(tmp_path: Path, full: bool, report: Report) -> None:
    """Between any two writes, to the disk or to the wire, of accepting, sending and settling."""
    with sending(tmp_path) as here, calling(here) as caller:
        phones = (f"1516200{end}" for end in cycle(PLAIN))
        for kind in ("web", "worker"):
            found, reached = steps(here, caller, kind), set[str]()
            for name, number in found if full else SOME[kind]:
                if comes_to(here, caller, phones, tell(here, kind, name, number)):
                    reached.add(name)
                until(lambda: caller.call([next(phones)]), "a call is accepted again")
                if full:
                    here.settle()  # else there are more and more that are cut off again and again
            assert reached >= (set(ENOUGH[kind]) if full else {name for name, _ in SOME[kind]}), reached
        here.settle()
        here.weigh("sending, kill -9 at every step", report)


def comes_to(here: Sending, caller: Caller, phones: Iterator[str], told: Path) -> bool:
    """Calls until the process that was told is at that step; whether it came there."""
    end = time.monotonic() + RARE
    with here.ledger.fault():
        while told.exists() and time.monotonic() < end:
            caller.call([next(phones)])
            time.sleep(0.1)
    if came := not told.exists():
        return came
    told.unlink()
    return False


@contextmanager
def calling(here: Sending) -> Iterator[Caller]:
    made = here.caller()
    try:
        yield made
    finally:
        made.close()


def steps(here: Sending, caller: Caller, kind: str) -> list[tuple[str, int]]:
    """All that one message comes by and that changes something, from the call to the last status."""
    file = tell(here, kind, "", 0)
    assert caller.call(["15162000001"])
    here.settle()
    found = counted(file)
    assert {name for name, _ in found} >= set(ENOUGH[kind]), f"the steps of {kind} have other names now: {found}"
    return [step for step in found if not step[0].startswith(READS)]


def test_one_of_two_workers_hangs(tmp_path: Path, report: Report) -> None:
    """With its request about to leave, until the other one has sent it. It must not leave then."""
    with sending(tmp_path) as here, calling(here) as caller, closing(Halves(here, 1)) as halves:
        (second,) = halves.workers
        second.start()
        phones = (f"1516200{end}" for end in cycle(PLAIN))
        file = tell(here, "worker", "posts", "1\tSIGSTOP")
        with here.ledger.fault():
            assert comes_to(here, caller, phones, file)
            (hung,) = (pid for pid in (*here.pids("worker"), *second.processes()) if is_stopped(pid))
            until(lambda: not here.under_way(), "the other one has sent all")
            os.kill(hung, signal.SIGCONT)
            until(lambda: caller.call([next(phones)]) and not is_stopped(hung), "it goes on")
            over(LONGEST)
        here.settle()
        here.weigh("sending, one of two workers hangs", report)


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
