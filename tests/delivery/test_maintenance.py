"""The worker's tasks between its batches: finding what is due, watching the clock, deleting what is old."""

from __future__ import annotations

from collections.abc import Callable
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
from gateway.config.model import Retention
from gateway.delivery import maintenance as maintaining
from gateway.delivery.batch import LEASE_MARGIN_SECONDS
from gateway.delivery.maintenance import (
    CATCH_UP_SECONDS,
    MAX_DELETED_PER_STEP,
    MAX_SCAN_INTERVAL_SECONDS,
    MIN_SCAN_INTERVAL_SECONDS,
    SWEEP_INTERVAL_SECONDS,
    SWEEP_STEP_INTERVAL_SECONDS,
    ClockJumpDetector,
    Maintenance,
)
from gateway.delivery.scheduler import Scheduler
from gateway.store import Store, StoreUnavailable
from gateway.store.retention import BEGINNING, Blanked, SweepPosition, Swept
from tests import acme
from tests.store_samples import NOW, add, claim, count, letter, owe

HOUR = 3600.0
DAY = 86_400


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return acme.config(tmp_path)


class Desk:
    """Maintenance of a store, with clocks that stand still."""

    def __init__(self, store: Store, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.config = store, config
        self.monotonic, self.scan_seconds, self.beats = 1000.0, 0.0, 0
        monkeypatch.setattr(
            maintaining, "time", SimpleNamespace(monotonic=lambda: self.monotonic, perf_counter=self._perf_counter)
        )
        self.started_at = self.monotonic
        self.scheduler = Scheduler()
        self.maintenance = Maintenance(store, "worker", self.scheduler, structlog.get_logger(), NOW)
        self._perf = 0.0

    def _perf_counter(self) -> float:
        self._perf += self.scan_seconds
        return self._perf

    def check(self, ahead: float = 0.0, held: Any = ()) -> None:
        """Looks at a wall clock that is so far ahead of the monotonic one."""
        now = NOW + self.monotonic - self.started_at + ahead
        self.maintenance.check_clock(now, self.config, held, self._beat)

    def _beat(self) -> None:
        self.beats += 1

    def scan(self) -> list[str]:
        """The endpoints that are found."""
        self.scheduler.due.forget_times()
        self.maintenance.find_due(self.config, self.monotonic)
        return [name for _, name in self.scheduler.due._later]


@pytest.fixture
def desk(sqlite_store: Store, config: Config, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(sqlite_store, config, monkeypatch)


@pytest.mark.parametrize(
    ("wall", "jump"), [(10.0, 0.0), (11.9, 0.0), (8.1, 0.0), (12.0, 0.0), (12.1, 2.1), (7.5, -2.5), (3610.0, HOUR)]
)
def test_a_clock_that_was_set(wall: float, jump: float) -> None:
    detector = ClockJumpDetector(NOW, 500.0)
    assert detector.jump(NOW + wall, 510.0) == pytest.approx(jump)
    assert detector.jump(NOW + wall + 1, 511.0) == 0.0, "told once"


def test_the_store_is_scanned_at_first_and_when_it_is_time(desk: Desk) -> None:
    owe(desk.store, letter("page|1", "page"), now=NOW)
    assert desk.scan() == ["page"] and not desk.maintenance.scan_now
    assert desk.scheduler.due.seconds_until_due(NOW - 3) == 3
    assert desk.scan() == []
    desk.monotonic += MIN_SCAN_INTERVAL_SECONDS - 0.01
    assert desk.scan() == []
    desk.monotonic += 0.01
    assert desk.scan() == ["page"]


def test_the_store_is_scanned_when_something_says_so(desk: Desk) -> None:
    owe(desk.store, letter("page|1", "page"), now=NOW)
    desk.scan()
    desk.maintenance.scan_now = True
    assert desk.scan() == ["page"] and desk.scan() == []
    desk.config = replace(desk.config)
    assert desk.scan() == ["page"] and desk.scan() == [], "another configuration may know the endpoint"


@pytest.mark.parametrize(
    ("seconds", "pause"), [(0.001, MIN_SCAN_INTERVAL_SECONDS), (0.1, 5.0), (3.0, MAX_SCAN_INTERVAL_SECONDS)]
)
def test_scans_take_a_small_share_of_the_time(desk: Desk, seconds: float, pause: float) -> None:
    desk.scan_seconds = seconds
    desk.scan()
    assert desk.maintenance.scan_at == pytest.approx(desk.monotonic + pause)


def dues(store: Store) -> list[float]:
    with store.reader() as conn:
        found = conn.exec_driver_sql("SELECT due FROM deliveries WHERE due IS NOT NULL ORDER BY id")
        return [row[0] for row in found]


def test_a_clock_set_back_before_the_start_is_noticed_then(desk: Desk) -> None:
    owe(desk.store, letter("page|1", "page"), now=NOW + HOUR)
    desk.scan()
    with capture_logs() as logs:
        desk.check()
    assert [(line["event"], line["seconds"]) for line in logs] == [("deliveries_moved", -HOUR)]
    assert dues(desk.store) == [NOW] and desk.beats > 0 and desk.maintenance.scan_now
    with capture_logs() as logs:
        desk.check()
    assert logs == []


def test_a_clock_that_goes_on_is_nothing(desk: Desk) -> None:
    owe(desk.store, letter("page|1", "page"), now=NOW)
    desk.scan()
    with capture_logs() as logs:
        for seconds in (0.0, 1.0, 100.0, 10_000.0):
            desk.monotonic += seconds
            desk.check()
    assert logs == [] and not desk.maintenance.scan_now and desk.beats == 0


def test_a_clock_set_back_moves_what_is_to_come(desk: Desk) -> None:
    desk.check()
    owe(desk.store, letter("page|1", "page"), now=NOW)
    desk.scheduler.breakers.get_or_create("page", NOW)
    desk.scan()
    with capture_logs() as logs:
        desk.check(-HOUR)
    assert [(line["event"], line["seconds"]) for line in logs] == [
        ("clock_stepped", -HOUR),
        ("deliveries_moved", -HOUR),
    ]
    assert dues(desk.store) == [NOW - HOUR] and desk.maintenance.scan_now
    assert desk.scheduler.breakers.get_or_create("page", NOW).since == NOW - HOUR


def test_leases_of_others_are_moved_where_they_last_longer_than_any_attempt(desk: Desk) -> None:
    desk.check()
    longest = max(desk.config.carrierx.timeout, *(one.timeout for one in desk.config.endpoints.values()))
    owe(desk.store, letter("page|1", "page"), letter("app|1", "app"), now=NOW)
    claim(desk.store, "page", now=NOW, owner="another's")
    desk.store.writer.write(
        lambda conn: conn.exec_driver_sql(
            "UPDATE deliveries SET due = ? WHERE endpoint = 'page'",
            (NOW - HOUR + max(longest, 15.0) + LEASE_MARGIN_SECONDS,),
        )
    )
    desk.check(-HOUR)
    assert dues(desk.store) == [NOW - HOUR + max(longest, 15.0) + LEASE_MARGIN_SECONDS, NOW - HOUR]


def test_what_was_committed_late_is_caught_up_three_times(desk: Desk) -> None:
    desk.check()
    desk.check(-HOUR)
    found = []
    for at in (0.0, *CATCH_UP_SECONDS, 30.0):
        owe(desk.store, letter(f"page|{at}", "page"), now=NOW + at)
        desk.maintenance.scan_now = False
        desk.monotonic = desk.started_at + at
        desk.check(-HOUR)
        found.append(desk.maintenance.scan_now)
        assert max(dues(desk.store)) == (NOW - HOUR + at if found[-1] else NOW + at)
    assert found == [False, True, True, True, False]
    desk.monotonic += 1
    desk.maintenance.scan_now = False
    desk.check(-HOUR)
    assert not desk.maintenance.scan_now


def test_a_clock_set_forward_extends_the_leases_that_are_held(desk: Desk) -> None:
    desk.check()
    owe(desk.store, letter("page|1", "page"), letter("page|2", "page"), now=NOW)
    held, given_back = claim(desk.store, "page", now=NOW)
    desk.scan()
    with capture_logs() as logs:
        desk.check(HOUR, [held])
    assert [(line["event"], line["seconds"]) for line in logs] == [("clock_stepped", HOUR)]
    assert desk.maintenance.scan_now and dues(desk.store) == [NOW + 30 + HOUR, NOW + 30]
    desk.check(HOUR, [held, given_back])
    assert dues(desk.store) == [NOW + 30 + HOUR, NOW + 30], "once"


class Failing:
    """A store that is away for some calls of its writer, and then is there again."""

    def __init__(self, store: Store, times: int) -> None:
        self.store, self.times, self.writer = store, times, self
        self.name, self.reader = store.name, store.reader

    def write(self, work: Callable[..., Any], **more: Any) -> Any:
        self.times -= 1
        if self.times >= 0:
            raise StoreUnavailable("away")
        return self.store.writer.write(work, **more)


def test_leases_are_extended_when_the_store_is_back_by_all_that_the_clock_was_set(desk: Desk) -> None:
    desk.check()
    owe(desk.store, letter("page|1", "page"), now=NOW)
    (held,) = claim(desk.store, "page", now=NOW)
    desk.maintenance._store = Failing(desk.store, 2)  # type: ignore[assignment]
    for ahead in (HOUR, 2 * HOUR):
        with pytest.raises(StoreUnavailable):
            desk.check(ahead, [held])
    desk.check(2 * HOUR, [held])
    assert dues(desk.store) == [NOW + 30 + 2 * HOUR]


def test_deliveries_are_moved_when_the_store_is_back(desk: Desk) -> None:
    desk.check()
    owe(desk.store, letter("page|1", "page"), now=NOW)
    desk.maintenance._store = Failing(desk.store, 1)  # type: ignore[assignment]
    with pytest.raises(StoreUnavailable):
        desk.check(-HOUR)
    assert dues(desk.store) == [NOW]
    desk.check(-HOUR)
    assert dues(desk.store) == [NOW - HOUR]


RETENTION = Retention()


class Sweeps:
    """A store whose sweeps end when the test says so."""

    def __init__(self) -> None:
        self.writer, self.away = self, False
        self.asked: list[dict[str, Any]] = []
        self.future: Future[Any] = Future()

    def submit(self, work: partial[Any]) -> Future[Any]:
        if self.away:
            raise StoreUnavailable("away")
        self.asked.append(work.keywords)
        self.future = Future()
        return self.future


@pytest.fixture
def sweeps(desk: Desk) -> Sweeps:
    desk.maintenance._store = sweeps = Sweeps()  # type: ignore[assignment]
    return sweeps


def test_what_is_older_than_the_retention_is_deleted_step_by_step(desk: Desk, sweeps: Sweeps) -> None:
    def look() -> int:
        desk.maintenance.delete_old(NOW, RETENTION, desk.monotonic)
        return len(sweeps.asked)

    place = SweepPosition(NOW - 40 * DAY, 7)
    assert look() == 1 and look() == 1, "one at a time"
    assert sweeps.asked[-1] == {
        "before": NOW - 30 * DAY,
        "limit": MAX_DELETED_PER_STEP,
        "after": BEGINNING,
        "audit_before": NOW - 400 * DAY,
    }
    desk.monotonic += 10 * SWEEP_INTERVAL_SECONDS
    assert look() == 1
    sweeps.future.set_result(Swept(events=3, reached=place))
    assert look() == 1
    desk.monotonic += SWEEP_STEP_INTERVAL_SECONDS
    assert look() == 2 and sweeps.asked[-1]["after"] == place
    sweeps.future.set_result(Swept(reached=place))
    assert look() == 2, "nothing was deleted, but there is more to look at"
    desk.monotonic += SWEEP_STEP_INTERVAL_SECONDS
    assert look() == 3
    sweeps.future.set_result(Swept(events=4))
    look()
    desk.monotonic += SWEEP_STEP_INTERVAL_SECONDS
    assert look() == 4 and sweeps.asked[-1]["after"] == BEGINNING
    sweeps.future.set_result(Swept())
    with capture_logs() as logs:
        assert look() == 4
    assert [(line["event"], line["events"]) for line in logs] == [("swept", 7)]
    desk.monotonic += SWEEP_INTERVAL_SECONDS - 0.1
    assert look() == 4
    desk.monotonic += 0.1
    assert look() == 5
    sweeps.future.set_result(Swept())
    with capture_logs() as logs:
        look()
    assert logs == [], "there was nothing old"


def test_texts_are_blanked_after_each_round_where_they_are_kept_for_a_shorter_time(desk: Desk, sweeps: Sweeps) -> None:
    def look(seconds: float = SWEEP_STEP_INTERVAL_SECONDS) -> dict[str, Any]:
        desk.monotonic += seconds
        desk.maintenance.delete_old(NOW, Retention(texts=3, phones=40), desk.monotonic)
        return sweeps.asked[-1]

    def end(result: Swept | Blanked) -> None:
        sweeps.future.set_result(result)
        desk.maintenance.delete_old(NOW, Retention(texts=3, phones=40), desk.monotonic)

    assert look()["before"] == NOW - 40 * DAY
    end(Swept())
    assert look() == {"before": NOW - 3 * DAY, "now": NOW, "marked_to": None}
    end(Blanked(5, 17, True))
    assert look()["marked_to"] == 17
    with capture_logs() as logs:
        end(Blanked(2, None, False))
    assert [(line["event"], line["events"], line["blanked"]) for line in logs] == [("swept", 0, 7)]
    look(SWEEP_INTERVAL_SECONDS - 0.1)
    assert len(sweeps.asked) == 3
    assert look(0.1)["before"] == NOW - 40 * DAY


def test_a_sweep_of_a_store_that_is_away_is_made_later(desk: Desk, sweeps: Sweeps) -> None:
    sweeps.away = True
    desk.maintenance.delete_old(NOW, RETENTION, desk.monotonic)
    sweeps.away = False
    desk.maintenance.delete_old(NOW, RETENTION, desk.monotonic + SWEEP_INTERVAL_SECONDS - 0.1)
    assert sweeps.asked == []
    desk.maintenance.delete_old(NOW, RETENTION, desk.monotonic + SWEEP_INTERVAL_SECONDS)
    sweeps.future.set_exception(StoreUnavailable("away"))
    for seconds, asked in ((SWEEP_INTERVAL_SECONDS, 1), (2 * SWEEP_INTERVAL_SECONDS, 2)):
        desk.maintenance.delete_old(NOW, RETENTION, desk.monotonic + seconds)
        desk.maintenance.delete_old(NOW, RETENTION, desk.monotonic + seconds)
        assert len(sweeps.asked) == asked


def test_old_events_are_gone(desk: Desk) -> None:
    add(desk.store, received_at=NOW - 31 * DAY)
    add(desk.store, received_at=NOW - 29 * DAY)
    desk.maintenance.delete_old(NOW, RETENTION, desk.monotonic)
    sweeping = desk.maintenance._sweeping
    assert sweeping is not None and sweeping.result(20).events == 1
    assert count(desk.store) == 1
