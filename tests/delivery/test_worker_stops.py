"""The worker's end, a store that is locked meanwhile, and a clock that is set: nothing is lost, nothing stalls."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import make_url
from structlog.testing import capture_logs

from gateway.config import Settings
from gateway.delivery import worker as module
from gateway.delivery.batch import LEASE_MARGIN_SECONDS
from gateway.delivery.worker import Worker
from gateway.store import Store, StoreUnavailable
from gateway.store.sqlite import FileLock
from tests.delivering import Answer, Clock, Page, clock, config, outcomes, page, rows, settings, states, text, working
from tests.delivery.test_batch import delivery
from tests.running import until

__all__ = ["clock", "page", "settings"]
ENOUGH = 10.0
"""Seconds within which it must have ended, whatever happens."""


def file_of(store: Store) -> Path:
    return Path(make_url(store.url).database or "")


def test_what_is_in_flight_is_settled_as_it_comes(store: Store, settings: Settings, page: Page, clock: Clock) -> None:
    """Not only at the very end: who is killed while it drains must not have forgotten what came back."""
    slow, begun = threading.Event(), threading.Event()

    def answer(nth: int, form: dict[str, str]) -> Answer:
        if form["message"] == "slow":
            begun.set()
            slow.wait(20)
        return 200, b"ok"

    page.answer = answer
    text(store, settings, "slow")
    worker, stop = Worker(settings, store, clock=clock), threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    assert begun.wait(10)
    stop.set()
    text(store, settings, "too late", phone="15162065516")
    worker.wake()
    slow.set()
    thread.join(ENOUGH)
    assert not thread.is_alive() and states(store) == ["succeeded", "pending"]
    assert [row.attempts for row in rows(store, "SELECT attempts FROM deliveries ORDER BY id")] == [1, 0]


def test_what_is_cut_off_comes_again_soon(
    store: Store, settings: Settings, page: Page, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRAIN_TIMEOUT_SECONDS", 0.2)
    go_on, begun = threading.Event(), threading.Event()

    def answer(nth: int, form: dict[str, str]) -> Answer:
        begun.set()
        go_on.wait(20)
        return 200, b"ok"

    page.answer = answer
    text(store, settings, "cut off")
    with working(settings, store, clock):
        assert begun.wait(10)
    go_on.set()
    assert outcomes(store) == ["unknown"]
    (left,) = rows(store, "SELECT owner, due, attempts_since_replay FROM deliveries")
    assert left.owner is None and left.attempts_since_replay == 1 and left.due <= clock() + 5
    clock.ahead += 6
    with working(settings, store, clock):
        until(lambda: states(store) == ["succeeded"], "delivered by the next")
    assert page.got[0][0]["X-Delivery-Id"] == page.got[1][0]["X-Delivery-Id"]


def test_what_was_claimed_and_never_begun_is_given_back(
    sqlite_store: Store, settings: Settings, page: Page, clock: Clock
) -> None:
    """The end comes while the store has the claim in hand."""
    store = sqlite_store
    worker, stop = Worker(settings, store, clock=clock), threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    until(lambda: worker._maintenance.scan_at, "at work")
    until(lambda: worker._maintenance._sweeping is None, "swept")
    text(store, settings, "claimed")
    lock = FileLock(file_of(store))
    with lock:
        worker.notify(["page"])
        until(lambda: worker._batches.pending, "a claim that waits for the lock")
        stop.set()
        worker.wake()
    thread.join(ENOUGH)
    lock.close()
    assert not thread.is_alive()
    (left,) = rows(store, "SELECT owner, attempts, attempts_since_replay, due FROM deliveries")
    assert not page.got and (left.owner, left.attempts, left.attempts_since_replay) == (None, 0, 0)


@pytest.mark.parametrize("held_up", [0, 1, 2])
def test_leases_that_may_be_too_short_by_now_are_given_back(
    sqlite_store: Store, settings: Settings, page: Page, clock: Clock, monkeypatch: pytest.MonkeyPatch, held_up: int
) -> None:
    """The process is stopped behind the claim, or in the midst of starting: the rest is another worker's by then."""
    leased_at, seconds = 1000.0, iter([LEASE_MARGIN_SECONDS / 2] * held_up + [LEASE_MARGIN_SECONDS / 2 + 0.1] * 2)
    worker, started = Worker(settings, sqlite_store, clock=clock), []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: leased_at + next(seconds)))
    monkeypatch.setattr(worker._http, "start", lambda *arguments: started.append(arguments[1:]))
    claimed = [delivery(nth) for nth in range(2)]
    worker._start(settings.current, claimed, leased_at)
    assert started == [(one.attempt_id, leased_at + LEASE_MARGIN_SECONDS / 2) for one in claimed[:held_up]]
    assert worker._batches.unattempted == [(one, None) for one in claimed[held_up:]]
    worker._http.close()
    worker._wakeup.close()


def test_it_ends_though_the_store_is_locked(
    sqlite_store: Store, settings: Settings, page: Page, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, beats = sqlite_store, list[float]()
    monkeypatch.setattr(module, "DRAIN_TIMEOUT_SECONDS", 2.0)
    begun, go_on = threading.Event(), threading.Event()

    def answer(nth: int, form: dict[str, str]) -> Answer:
        begun.set()
        go_on.wait(20)
        return 200, b"ok"

    page.answer = answer
    text(store, settings, "answered while it is locked")
    worker = Worker(settings, store, clock=clock, heartbeat=lambda: beats.append(clock()))
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    assert begun.wait(10)
    lock = FileLock(file_of(store))
    with lock:
        go_on.set()
        until(lambda: worker._batches.pending, "it wants to settle")
        seen = len(beats)
        until(lambda: len(beats) > seen + 1, "and shows that it lives")
        stop.set()
        worker.wake()
        thread.join(ENOUGH)
        assert not thread.is_alive()
    lock.close()
    # What waited for the lock is done all the same, by the thread that writes: had it ended too, the lease would tell.
    until(lambda: states(store) == ["succeeded"], "settled behind the lock")


def test_a_claim_of_which_nobody_knows_whether_it_was_committed(
    store: Store, tmp_path: Path, page: Page, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was, and its answer was lost: nobody waits for the lease to run out, and the attempt was none."""
    settings = Settings(config(tmp_path, page, "timeout = 100"))
    submit, lost = store.writer.submit, []

    def loses(work: Any, ordering_keys: Any = ()) -> Any:
        future = submit(work, ordering_keys)
        if getattr(work, "__name__", "") == "write" and not lost and future.result(30):
            lost.append(1)
            future = Future()
            future.set_exception(StoreUnavailable("commit: the connection was lost"))
        return future

    text(store, settings, "claimed for nobody")
    monkeypatch.setattr(store.writer, "submit", loses)
    with working(settings, store, clock):
        until(lambda: states(store) == ["succeeded"], "delivered")
    assert lost and outcomes(store) == ["succeeded"] and len(page.got) == 1
    assert page.got[0][0]["X-Delivery-Attempt"] == "1"


def test_a_store_that_is_locked_for_a_while(sqlite_store: Store, settings: Settings, page: Page, clock: Clock) -> None:
    store = sqlite_store
    with working(settings, store, clock) as worker:
        text(store, settings, "first")
        worker.notify(["page"])
        until(lambda: states(store) == ["succeeded"], "delivered")
        text(store, settings, "second")
        lock = FileLock(file_of(store))
        with lock:
            worker.notify([""])
            until(lambda: worker._batches.pending, "waits for the lock")
        lock.close()
        until(lambda: states(store) == ["succeeded"] * 2, "delivered when it is free")
    assert page.messages == ["first", "second"]


@pytest.mark.parametrize("hours", [-1, -30])
def test_the_clock_is_set_back(store: Store, settings: Settings, page: Page, clock: Clock, hours: int) -> None:
    """What failed a moment ago is due in five seconds, not in an hour and five seconds; what comes in is due now."""
    page.answer = lambda nth, form: (500, b"") if nth == 1 else (200, b"ok")
    text(store, settings, "again")
    with capture_logs() as logs, working(settings, store, clock) as worker:
        until(lambda: outcomes(store) == ["again"], "an attempt")
        clock.ahead += hours * 3600
        worker.wake()
        until(lambda: rows(store, "SELECT due FROM deliveries")[0].due < clock() + 10, "moved")
        text(store, settings, "new", phone="15162065516", now=clock())
        worker.notify(["page"])
        until(lambda: "new" in page.messages, "delivered at once")
        clock.ahead += 6
        until(lambda: states(store) == ["succeeded"] * 2, "and so is the other")
    assert page.messages.count("again") == 2
    stepped, *_ = [one for one in logs if one["event"] == "clock_stepped"]
    (moved,) = [one for one in logs if one["event"] == "deliveries_moved"]
    for line in (stepped, moved):
        assert line["log_level"] == "warning" and line["seconds"] == pytest.approx(hours * 3600, abs=60)


def test_the_clock_is_set_back_while_no_worker_runs(store: Store, settings: Settings, page: Page, clock: Clock) -> None:
    page.answer = lambda nth, form: (500, b"") if nth == 1 else (200, b"ok")
    text(store, settings, "again")
    with working(settings, store, clock):
        until(lambda: outcomes(store) == ["again"], "an attempt")
    text(store, settings, "new", phone="15162065516")
    clock.ahead -= 3600
    with working(settings, store, clock):
        until(lambda: "new" in page.messages, "what was due")
        clock.ahead += 6
        until(lambda: states(store) == ["succeeded"] * 2, "what was to come")


def test_the_clock_is_set_while_an_attempt_is_in_flight(
    store: Store, settings: Settings, page: Page, clock: Clock
) -> None:
    """Forward, its lease would be over, and it would be sent twice; backward it stays ours."""
    begun, go_on = threading.Event(), threading.Event()

    def answer(nth: int, form: dict[str, str]) -> Answer:
        begun.set()
        go_on.wait(20)
        return 200, b"ok"

    page.answer = answer
    text(store, settings, "in flight")
    with working(settings, store, clock) as worker:
        assert begun.wait(10)
        for hours in (1, -2):
            before, looked = rows(store, "SELECT due FROM deliveries")[0].due, worker._maintenance.scan_at
            clock.ahead += hours * 3600
            worker.wake()
            until(lambda before=before: rows(store, "SELECT due FROM deliveries")[0].due != before, "the lease moved")  # type: ignore[misc]
            until(lambda looked=looked: worker._maintenance.scan_at > looked, "a look")  # type: ignore[misc]
        go_on.set()
        until(lambda: states(store) == ["succeeded"], "settled")
    assert len(page.got) == 1 and outcomes(store) == ["succeeded"]
