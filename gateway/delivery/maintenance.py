"""Tasks of the worker between its batches: scanning for due deliveries, watching the clock, deleting what is old."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from gateway.config import Config, Endpoint
from gateway.config.model import Retention
from gateway.delivery.batch import LEASE_MARGIN_SECONDS
from gateway.delivery.scheduler import Scheduler
from gateway.store import Connection, Store, StoreUnavailable, clock, outbox
from gateway.store.leases import ClaimedDelivery
from gateway.store.retention import BEGINNING, Blanked, Swept, blank, sweep

MIN_SCAN_INTERVAL_SECONDS, MAX_SCAN_INTERVAL_SECONDS = 0.25, 10.0
MAX_SCAN_SHARE = 0.02  # of the time; where a scan takes longer, the next one comes later
DAY_SECONDS = 86_400
SWEEP_INTERVAL_SECONDS = 60.0
SWEEP_STEP_INTERVAL_SECONDS = 0.03  # one step deletes for about a millisecond
MAX_DELETED_PER_STEP = 500
WRITE_TIMEOUT_SECONDS = 2.0
CATCH_UP_SECONDS = (1.0, 5.0, 20.0)
"""Times after the clock was set back: by the last one, every callback that came before it is committed."""
CLOCK_TOLERANCE_SECONDS = 2.0  # between two looks; slower corrections do no harm


class ClockJumpDetector:
    """Detects that the wall clock was set, by the monotonic clock, which nobody can set."""

    def __init__(self, wall: float, monotonic: float) -> None:
        self._wall, self._monotonic = wall, monotonic

    def jump(self, wall: float, monotonic: float) -> float:
        """Seconds by which the clock was set since the last call: forward, negative backward, 0.0 not at all."""
        expected = self._wall + (monotonic - self._monotonic)
        self._wall, self._monotonic = wall, monotonic
        return wall - expected if abs(wall - expected) > CLOCK_TOLERANCE_SECONDS else 0.0


class Maintenance:
    """Runs these tasks. `now`: epoch seconds; `monotonic`: monotonic ones. Only `find_due` and `check_clock` wait."""

    def __init__(self, store: Store, owner: str, scheduler: Scheduler, log: Any, now: float) -> None:
        self._store, self._owner, self._scheduler, self._log = store, owner, scheduler, log
        self._clock = ClockJumpDetector(now, time.monotonic())
        self._set_back_from: float | None = 0.0
        """The time before the clock was set back; 0.0: only the store knows; None: it was not, or all is moved."""
        self._set_forward = 0.0  # seconds by which leases are still to be extended
        self._catch_up_at: list[float] = []
        self._config: Config | None = None
        self.scan_now = True  # something is due, and nobody knows for which endpoint
        self.scan_at = self._sweep_at = 0.0
        self._sweeping: Future[Swept | Blanked] | None = None
        self._swept_to = BEGINNING
        self._marked_to: int | None = None
        self._is_blanking = False  # after each round of deletions
        self._deleted = self._blanked = 0

    def find_due(self, config: Config, monotonic: float) -> None:
        """Scans the store for all endpoints with deliveries, if it is time. Raises `StoreUnavailable`."""
        if not (self.scan_now or monotonic >= self.scan_at or config is not self._config):
            return
        started = time.perf_counter()
        with self._store.reader() as conn:
            found = outbox.due_endpoints(conn)
        for endpoint, at in found.items():
            self._scheduler.due.mark_due_at(endpoint, at)
        self.scan_now, self._config = False, config
        seconds = (time.perf_counter() - started) / MAX_SCAN_SHARE
        self.scan_at = monotonic + min(MAX_SCAN_INTERVAL_SECONDS, max(MIN_SCAN_INTERVAL_SECONDS, seconds))

    def check_clock(
        self, now: float, config: Config, held: Collection[ClaimedDelivery], heartbeat: Callable[[], None]
    ) -> None:
        """Keeps deliveries from stalling, or being claimed twice, because the clock was set.
        `held`: those with an attempt in flight. Raises `StoreUnavailable`; the next call goes on."""
        jump = self._clock.jump(now, time.monotonic())
        if jump:
            self._log.warning("clock_stepped", seconds=round(jump, 3))
            self._scheduler.clock_changed(jump)
            self.scan_now = True
        if jump < 0:
            self._set_back_from, self._set_forward = now - jump, 0.0
            self._catch_up_at = [time.monotonic() + seconds for seconds in CATCH_UP_SECONDS]
        elif jump > 0:
            self._set_forward += jump
        if self._set_back_from is not None:
            self._move_deliveries(now, config, heartbeat, self._set_back_from)
            self._set_back_from = None
        if self._set_forward:
            seconds, leases = self._set_forward, list(held)
            if leases:
                extend = partial(clock.extend_leases, owner=self._owner, claimed=leases, step=seconds)
                self._store.writer.write(extend, timeout=WRITE_TIMEOUT_SECONDS)
            self._set_forward = 0.0
        if self._catch_up_at and time.monotonic() >= self._catch_up_at[0]:
            left = self._store.writer.write(partial(clock.recover_left_behind, now=now), timeout=WRITE_TIMEOUT_SECONDS)
            del self._catch_up_at[0]
            self.scan_now = self.scan_now or left > 0

    def _move_deliveries(self, now: float, config: Config, heartbeat: Callable[[], None], was: float) -> None:
        status_url = Endpoint(name="", url="")
        timeouts = (config.carrierx.timeout, *(one.timeout for one in (status_url, *config.endpoints.values())))
        moved = 0.0
        for seconds in clock.shift_back(self._store, self._owner, now, max(timeouts) + LEASE_MARGIN_SECONDS, was):
            moved = seconds
            heartbeat()
        if moved:
            self._log.warning("deliveries_moved", seconds=round(-moved, 3))
            self.scan_now = True

    def delete_old(self, now: float, retention: Retention, monotonic: float) -> None:
        """Blanks and deletes what is older than its retention, in small steps between the batches."""
        sweeping = self._sweeping
        if sweeping is None and monotonic >= self._sweep_at:
            self._sweep_at = monotonic + SWEEP_INTERVAL_SECONDS
            days = (retention.texts, retention.phones, retention.audit)
            texts, phones, audit = (now - each * DAY_SECONDS for each in days)
            work: Callable[[Connection], Swept | Blanked] = partial(
                sweep, before=phones, limit=MAX_DELETED_PER_STEP, after=self._swept_to, audit_before=audit
            )
            if self._is_blanking:
                work = partial(blank, before=texts, now=now, marked_to=self._marked_to)
            with suppress(StoreUnavailable):
                self._sweeping = self._store.writer.submit(work)
        if sweeping is None or not sweeping.done():
            return
        self._sweeping = None
        try:
            done = sweeping.result()
        except StoreUnavailable:
            return
        if isinstance(done, Blanked):
            self._blanked += done.events
            self._marked_to = done.marked_to
            self._is_blanking = has_more = done.more
        else:
            self._deleted += done.events
            self._swept_to = done.reached or BEGINNING
            has_more = bool(done) or done.reached is not None
            if not has_more and retention.texts < retention.phones:
                self._is_blanking = has_more = True
        if has_more:
            self._sweep_at = monotonic + SWEEP_STEP_INTERVAL_SECONDS
        elif self._deleted or self._blanked:
            self._log.info("swept", events=self._deleted, blanked=self._blanked)
            self._deleted = self._blanked = 0
