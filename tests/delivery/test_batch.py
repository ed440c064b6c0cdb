"""One transaction of the worker: its contents, and its end where the store is slow or away."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from gateway.config import Config
from gateway.delivery import batch as batches
from gateway.delivery.batch import (
    LEASE_MARGIN_SECONDS,
    MAX_SETTLED_PER_BATCH,
    WRITE_TIMEOUT_SECONDS,
    Batch,
    BatchResult,
    BatchWriter,
)
from gateway.delivery.circuit_breaker import FAILURES_TO_OPEN, HEAVY
from gateway.delivery.scheduler import Scheduler
from gateway.metrics import Metrics
from gateway.store import Connection, Store, StoreUnavailable, clock, health, leases, search
from gateway.store.health import BREAKER_REFRESH_SECONDS, BreakerState
from gateway.store.leases import ClaimedDelivery, ClaimLimit, SettledDelivery
from tests import acme
from tests.store_samples import NOW, claim, ended, ids, letter, owe


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return acme.config(tmp_path)


class SlowWriter:
    """A store whose transactions end when the test says so."""

    def __init__(self) -> None:
        self.writer = self
        self.away = False
        self.taken: list[tuple[Batch, list[str], Future[BatchResult]]] = []

    def submit(self, work: Callable[[Connection], BatchResult], ordering_keys: Collection[str]) -> Future[BatchResult]:
        if self.away:
            raise StoreUnavailable("the disk is gone")
        self.taken.append((work.__self__, list(ordering_keys), Future()))  # type: ignore[attr-defined]
        return self.taken[-1][2]

    @property
    def batch(self) -> Batch:
        return self.taken[-1][0]

    @property
    def future(self) -> Future[BatchResult]:
        return self.taken[-1][2]


class Seen(Metrics):
    def __init__(self) -> None:
        self.breakers: list[tuple[str, str]] = []

    def breaker(self, endpoint: str, state: str) -> None:
        self.breakers.append((endpoint, state))


def nothing_owed(conn: Connection, settled: Any, config: Config, now: float) -> Collection[str]:
    return ()


class Desk:
    """A `BatchWriter` with everything around it, and a monotonic clock that stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic = 1000.0
        monkeypatch.setattr(batches, "time", SimpleNamespace(monotonic=lambda: self.monotonic))
        self.store, self.scheduler, self.metrics = SlowWriter(), Scheduler(), Seen()
        self.in_flight: dict[tuple[int, int], object] = {}
        self.notified: list[Collection[str]] = []
        self.writer = BatchWriter(
            self.store,  # type: ignore[arg-type]
            "worker",
            self.scheduler,
            structlog.get_logger(),
            self.metrics,
            self.in_flight.keys(),
            nothing_owed,
            self.notified.append,
        )

    def began(self, config: Config, claiming: bool = True) -> bool:
        before = len(self.store.taken)
        self.writer.begin(config, NOW, claiming)
        return len(self.store.taken) > before


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


def delivery(nth: int = 1, endpoint: str = "page") -> ClaimedDelivery:
    return ClaimedDelivery(
        id=nth, delivery_id=str(nth), event_id=1, endpoint=endpoint, wire_format="legacy", ordering_key=f"{nth}",
        number=1, attempts_since_replay=1, content_type="text/plain", headers=(), body=b"", created_at=NOW,
    )  # fmt: skip


def test_no_transaction_where_there_is_nothing_to_write(desk: Desk, config: Config) -> None:
    assert not desk.began(config)
    assert desk.writer.pending is None and desk.writer.finish(0.0) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"settled": [ended(delivery(), "succeeded")]},
        {"limits": {"page": ClaimLimit(1)}},
        {"unattempted": [(delivery(), None)]},
        {"uncertain": ["page"]},
        {"interrupted": [delivery()]},
        {"breaker_states": [BreakerState("page", "open", NOW, NOW, "", 1)]},
        {"last": True},
    ],
)
def test_each_of_these_is_something_to_write(config: Config, changes: dict[str, Any]) -> None:
    assert Batch(owner="worker", config=config, now=NOW, **changes)
    assert not Batch(owner="worker", config=config, now=NOW, record_clock=True, known=[1])


def test_what_is_due_is_claimed_and_given_to_the_worker(desk: Desk, config: Config) -> None:
    desk.scheduler.due.mark_due("page")
    assert not desk.began(config, claiming=False)
    assert desk.began(config)
    batch = desk.store.batch
    assert (batch.owner, batch.config, batch.now) == ("worker", config, NOW)
    assert list(batch.limits) == ["page"] and batch.record_clock and not batch.last
    assert batch.owe_replies is nothing_owed
    assert desk.writer.finish(0.0) is None and desk.writer.pending is not None, "the store still has it"
    claimed = [delivery(nth) for nth in range(batch.limits["page"].all)]
    desk.store.future.set_result(BatchResult(claimed, ["app"]))
    assert desk.writer.finish(0.0) == (config, claimed, desk.monotonic)
    assert desk.writer.pending is None and desk.notified == [["app"]]
    assert desk.scheduler.due.due(NOW, 9) == ["page"], "it filled its limit, and may have more"


def test_nobody_is_notified_of_nothing(desk: Desk, config: Config) -> None:
    desk.scheduler.due.mark_due("page")
    desk.began(config)
    desk.store.future.set_result(BatchResult([]))
    assert desk.writer.finish(0.0) == (config, [], desk.monotonic) and desk.notified == []
    assert desk.scheduler.due.due(NOW, 9) == []


def test_what_ended_meanwhile_is_written_by_the_next(desk: Desk, config: Config) -> None:
    settled = [ended(delivery(nth), "succeeded") for nth in range(MAX_SETTLED_PER_BATCH + 2)]
    desk.writer.settled += settled[:-1]
    desk.writer.unattempted.append((delivery(900), None))
    assert desk.began(config)
    assert desk.store.batch.settled == tuple(settled[:MAX_SETTLED_PER_BATCH])
    assert desk.store.batch.unattempted == ((delivery(900), None),)
    assert desk.store.taken[-1][1] == [str(nth) for nth in range(MAX_SETTLED_PER_BATCH)]
    desk.writer.settled.append(settled[-1])
    desk.writer.unattempted.append((delivery(901), NOW + 5))
    desk.store.future.set_result(BatchResult([]))
    desk.writer.finish(0.0)
    assert desk.writer.settled == settled[MAX_SETTLED_PER_BATCH:]
    assert desk.writer.unattempted == [(delivery(901), NOW + 5)]


def failed(desk: Desk, config: Config, at: str) -> None:
    """A batch that claims for `page`, and of which nobody knows whether it was committed."""
    desk.scheduler.due.mark_due("page")
    desk.store.away = at == "submit"
    desk.began(config)
    if at == "commit":
        desk.store.future.set_exception(StoreUnavailable("the disk is gone"))
    assert desk.writer.finish(0.0) is None
    desk.store.away = False


@pytest.mark.parametrize("at", ["submit", "commit"])
def test_a_store_that_is_away_loses_nothing(desk: Desk, config: Config, at: str) -> None:
    settled, unattempted = ended(delivery(1), "succeeded"), (delivery(2), None)
    desk.writer.settled.append(settled)
    desk.writer.unattempted.append(unattempted)
    desk.in_flight[3, 1] = object()
    with capture_logs() as logs:
        failed(desk, config, at)
    assert [(line["event"], line["reason"]) for line in logs] == [("store_unavailable", "the disk is gone")]
    assert desk.writer.pending is None and desk.writer.paused_until == desk.monotonic + 1.0
    assert desk.writer.settled == [settled] and desk.writer.unattempted == [unattempted]
    assert desk.began(config)
    batch = desk.store.batch
    assert (batch.settled, batch.unattempted, list(batch.limits)) == ((settled,), (unattempted,), ["page"])
    assert batch.uncertain == ("page",) and set(batch.known) == {1, 2, 3}
    desk.store.future.set_result(BatchResult([]))
    with capture_logs() as logs:
        desk.writer.finish(0.0)
    assert [line["event"] for line in logs] == ["store_back"]
    assert not desk.began(config), "nothing is uncertain any more"


def test_a_store_that_was_away_is_asked_again_though_there_is_nothing_to_write(desk: Desk, config: Config) -> None:
    desk.writer.unavailable(StoreUnavailable("away"))
    for _ in range(2):
        assert desk.began(config, claiming=False) and desk.store.batch.record_clock
        assert desk.store.batch.known == ()
        desk.store.future.set_exception(StoreUnavailable("away"))
        desk.writer.finish(0.0)
    assert desk.began(config, claiming=False)
    desk.store.future.set_result(BatchResult([]))
    desk.writer.finish(0.0)
    assert not desk.began(config, claiming=False)


@pytest.mark.parametrize("running", [False, True])
def test_a_batch_that_the_store_does_not_begin_is_taken_back(desk: Desk, config: Config, running: bool) -> None:
    desk.scheduler.due.mark_due("page")
    desk.began(config)
    if running:
        desk.store.future.set_running_or_notify_cancel()
    desk.monotonic += WRITE_TIMEOUT_SECONDS - 0.1
    assert desk.writer.finish(0.0) is None and desk.writer.pending is not None
    desk.monotonic += 0.1
    with capture_logs() as logs:
        assert desk.writer.finish(0.0) is None
    assert (desk.writer.pending is not None) == running
    assert [line["reason"] for line in logs] == ([] if running else ["waited 10 s for the writer"])
    assert desk.store.future.cancelled() != running


def test_leases_begin_with_the_batch(desk: Desk, config: Config) -> None:
    """Not when the store has written it."""
    desk.scheduler.due.mark_due_at("page", NOW)
    desk.began(config)
    desk.writer.unattempted.append((delivery(9), NOW + 5))
    began = desk.monotonic
    desk.monotonic += LEASE_MARGIN_SECONDS
    desk.store.future.set_result(BatchResult([delivery()]))
    assert desk.writer.finish(0.0) == (config, [delivery()], began)
    assert desk.writer.unattempted == [(delivery(9), NOW + 5)]


def test_breakers_are_written_down_when_they_change_and_now_and_then(desk: Desk, config: Config) -> None:
    breaker = desk.scheduler.breakers.get_or_create("page", NOW)
    for _ in range(FAILURES_TO_OPEN):
        breaker.record_failure(NOW, 0, HEAVY, 8, "answered 500", 0.5)
    written = BreakerState(
        endpoint="page", state="open", since=NOW, until=NOW + 5, reason="answered 500", failures=FAILURES_TO_OPEN
    )
    with capture_logs() as logs:
        assert desk.began(config)
    assert list(desk.store.batch.breaker_states) == [written] and desk.metrics.breakers == [("page", "open")]
    assert logs == [
        {
            "event": "breaker",
            "log_level": "warning",
            "endpoint": "page",
            "state": "open",
            "failures": FAILURES_TO_OPEN,
            "reason": "answered 500",
        }
    ]
    desk.store.future.set_result(BatchResult([]))
    desk.writer.finish(0.0)
    desk.monotonic += BREAKER_REFRESH_SECONDS - 0.1
    assert not desk.began(config)
    desk.monotonic += 0.1
    assert desk.began(config) and list(desk.store.batch.breaker_states) == [written]
    assert desk.metrics.breakers == [("page", "open")], "it did not change"
    desk.store.future.set_exception(StoreUnavailable("away"))
    desk.writer.finish(0.0)
    assert desk.began(config) and list(desk.store.batch.breaker_states) == [written], "that was not written"


def test_the_time_is_recorded_as_often_as_something_is_written_but_not_more(desk: Desk, config: Config) -> None:
    recorded = []
    for seconds in (0.0, clock.RECORD_SECONDS - 0.1, 0.1, clock.RECORD_SECONDS):
        desk.monotonic += seconds
        desk.writer.settled.append(ended(delivery(), "succeeded"))
        desk.began(config)
        recorded.append(desk.store.batch.record_clock)
        desk.store.future.set_result(BatchResult([]))
        desk.writer.finish(0.0)
    assert recorded == [True, False, True, True]


class Answering(SlowWriter):
    """A store that has committed when it is asked, or never does."""

    def __init__(self, answer: BatchResult | None) -> None:
        super().__init__()
        self.answer = answer

    def submit(self, work: Callable[[Connection], BatchResult], ordering_keys: Collection[str]) -> Future[BatchResult]:
        future = super().submit(work, ordering_keys)
        if self.answer is not None:
            future.set_result(self.answer)
        return future


def test_the_last_batch(desk: Desk, config: Config) -> None:
    desk.writer.last(config, NOW, (), 0.0)
    assert desk.store.taken == [], "nothing to write"
    desk.writer._store = store = Answering(BatchResult([], ["app"]))  # type: ignore[assignment]
    desk.writer.settled.append(ended(delivery(1), "succeeded"))
    desk.writer.unattempted.append((delivery(2), None))
    desk.writer.last(config, NOW, [delivery(3)], 0.0)
    batch = store.batch
    assert (batch.owner, batch.config, batch.now, batch.last) == ("worker", config, NOW, False)
    assert (batch.settled, batch.unattempted) == ((ended(delivery(1), "succeeded"),), ((delivery(2), None),))
    assert batch.interrupted == [delivery(3)] and not batch.limits and store.taken[-1][1] == ["1"]
    assert batch.owe_replies is nothing_owed
    assert desk.notified == [["app"]]


def test_a_last_batch_that_is_not_written_in_time_is_said(desk: Desk, config: Config) -> None:
    desk.writer.settled.append(ended(delivery(1), "succeeded"))
    with capture_logs() as logs:
        desk.writer.last(config, NOW, (), 0.0)
        desk.store.away = True
        desk.writer.last(config, NOW, (), 0.0)
    assert [(line["event"], line["reason"], line["unsettled"]) for line in logs] == [
        ("store_unavailable", "no answer", 1),
        ("store_unavailable", "the disk is gone", 1),
    ]


def test_breakers_that_were_written_are_forgotten_with_the_worker(desk: Desk, config: Config) -> None:
    for _ in range(FAILURES_TO_OPEN):
        desk.scheduler.breakers.get_or_create("page", NOW).record_failure(NOW, 0, HEAVY, 8, "answered 500", 0.5)
    desk.began(config)
    desk.store.future.set_result(BatchResult([]))
    desk.writer.finish(0.0)
    desk.writer.last(config, NOW, (), 0.0)
    assert desk.store.batch.last


# The transaction itself


def written(store: Store, config: Config, **changes: Any) -> BatchResult:
    batch = Batch(owner="worker", config=config, **{"now": NOW} | changes)
    return store.writer.write(batch.write, ordering_keys=batch.ordering_keys)


def test_leases_outlive_the_longest_attempt(store: Store, config: Config) -> None:
    endpoints = dict(config.endpoints) | {"page": replace(config.endpoints["page"], timeout=20.0)}
    owe(store, letter("a", "page"), letter("b", "app"), letter("c", "gone"))
    limits = {"page": ClaimLimit(9), "app": ClaimLimit(9)}
    result = written(store, replace(config, endpoints=endpoints), limits=limits)
    assert sorted(one.endpoint for one in result.claimed) == ["app", "page"]
    app = NOW + config.endpoints["app"].timeout + LEASE_MARGIN_SECONDS
    for name, lease_end in (("page", NOW + 20 + LEASE_MARGIN_SECONDS), ("app", app)):
        assert not claim(store, name, now=lease_end - 0.1) and claim(store, name, now=lease_end)


def test_everything_is_written_in_one_transaction(store: Store, config: Config) -> None:
    made = owe(store, *[letter(f"page|{nth}", "page") for nth in range(5)])
    done, at_once, later, cut, unknown = claim(store, "page")
    state = BreakerState(endpoint="page", state="open", since=NOW, until=NOW + 5, reason="why", failures=5)
    result = written(
        store,
        config,
        now=NOW + 1,
        settled=[ended(done, "succeeded")],
        unattempted=[(at_once, None), (later, NOW + 3)],
        interrupted=[cut],
        uncertain=["page"],
        known={done.id, at_once.id, later.id, cut.id},
        breaker_states=[state],
        record_clock=True,
    )
    assert result == BatchResult([], ())
    with store.reader() as conn:
        assert health.current_breakers(conn, NOW + 1) == {"page": state}
        assert clock.seconds_behind(conn, NOW - 9) == 10
        found = search.load_delivery(conn, made[0])
        assert found is not None and (found.state, found.settled_at) == ("succeeded", NOW + 1)
    assert ids(claim(store, "page", now=NOW + 1)) in ([made[1], made[4]], [made[4], made[1]])
    assert ids(claim(store, "page", now=NOW + 3)) == [made[2]]
    assert claim(store, "page", now=NOW + 5.9) == [] and ids(claim(store, "page", now=NOW + 6)) == [made[3]]
    written(store, config, now=NOW + 2, last=True)
    with store.reader() as conn:
        assert health.current_breakers(conn, NOW + 2) == {}


def test_answers_are_texted_back_where_the_lease_still_holds(store: Store, config: Config) -> None:
    owe(store, *[letter(f"page|{nth}", "page") for nth in range(3)])
    ours, lost, silent = claim(store, "page")
    store.writer.write(partial(leases.release_unattempted, owner="worker", claimed=[lost], due=NOW))
    settled = [replace(ended(one, "succeeded"), reply=f"reply to {one.id}") for one in (ours, lost)]
    told: list[tuple[list[SettledDelivery], Config, float]] = []

    def owe_replies(conn: Connection, some: Any, config: Config, now: float) -> Collection[str]:
        told.append((list(some), config, now))
        return ["@carrierx"]

    everything = [*settled, ended(silent, "succeeded")]
    assert written(store, config, settled=everything, owe_replies=owe_replies) == BatchResult([], ["@carrierx"])
    assert told == [(settled[:1], config, NOW)]
    assert written(store, config, settled=everything, owe_replies=owe_replies) == BatchResult([], ())
    assert written(store, config, settled=settled) == BatchResult([], ())
