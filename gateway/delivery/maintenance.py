"""What the worker does now and then, between its rounds: it looks everywhere, minds the clock, sweeps what is old."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any

from gateway.config import Config, Endpoint
from gateway.delivery.batch import LEASE_MARGIN_SECONDS
from gateway.delivery.drift import ClockJumpDetector
from gateway.delivery.scheduler import Scheduler
from gateway.store import Store, StoreUnavailable, clock, outbox
from gateway.store.leases import ClaimedDelivery
from gateway.store.retention import BEGINNING, Swept, sweep

SCAN = 0.25, 10.0
"""Seconds between two looks at all endpoints: at least, at most."""
SHARE = 50
"""A look is to take one part in so many of the time."""
SWEEP = 60.0
SWEEP_ON = 0.03
"""Seconds between two sweeps, and between the steps of one: a step is about a millisecond of deleting."""
SWEPT = 500
STORE_WAIT = 2.0
CATCH_UP = (1.0, 5.0, 20.0)
"""Seconds after the clock was set back: by the last of them every callback that came before it is committed."""


class Maintenance:
    """Steady times are those of the clock that nobody sets. All but `scan` and `mind_clock` never wait."""

    def __init__(self, store: Store, owner: str, dispatch: Scheduler, log: Any, now: float) -> None:
        self._store, self._owner, self._dispatch, self._log = store, owner, dispatch, log
        self._drift = ClockJumpDetector(now, time.monotonic())
        self._was: float | None = 0.0
        """The time that it was before the clock was set back; 0.0: that is to be found out. None: nothing is to do."""
        self._ahead = 0.0
        self._catch_up_at: list[float] = []
        self._config: Config | None = None
        self.everywhere = True
        """Somebody asks for a look at all endpoints."""
        self.scan_at = self._sweep_at = 0.0
        self._sweeping: Future[Swept] | None = None
        self._swept_to = BEGINNING
        self._count = 0

    def scan(self, config: Config, steady: float) -> None:
        """Looks at all endpoints if it is time. Raises `StoreUnavailable`."""
        if not (self.everywhere or steady >= self.scan_at or config is not self._config):
            return
        self.everywhere, self._config = False, config
        began = time.perf_counter()
        try:
            with self._store.reader() as conn:
                self._dispatch.agenda.scanned(outbox.due_endpoints(conn))
        except StoreUnavailable:
            self.everywhere = True
            raise
        least, most = SCAN
        self.scan_at = steady + min(most, max(least, SHARE * (time.perf_counter() - began)))

    def mind_clock(
        self, now: float, config: Config, held: Collection[ClaimedDelivery], pulse: Callable[[], None]
    ) -> None:
        """Sees to it that nothing stalls, or is claimed twice, because the clock was set. Raises `StoreUnavailable`."""
        step = self._drift.step(now, time.monotonic())
        if step:
            self._log.warning("clock_stepped", seconds=round(step, 3))
            self._dispatch.clock_was_set(step)
            self.everywhere = True
        if step < 0:
            self._was, self._ahead = now - step, 0.0
            self._catch_up_at = [time.monotonic() + wait for wait in CATCH_UP]
        elif step > 0:
            self._ahead += step
        if self._was is not None:
            self._set_back(now, config, pulse)
        if self._ahead:
            self._set_forward(held)
        if self._catch_up_at and time.monotonic() >= self._catch_up_at[0]:
            self._catch_up(now)

    def _catch_up(self, now: float) -> None:
        left = self._store.writer.write(lambda conn: clock.find_set_back(conn, now), timeout=STORE_WAIT)
        del self._catch_up_at[0]
        self.everywhere = self.everywhere or left > 0

    def _set_back(self, now: float, config: Config, pulse: Callable[[], None]) -> None:
        others = (Endpoint(name="", url="").timeout, config.carrierx.timeout)  # a status_url's, and the sender's
        lease = max(*others, *[one.timeout for one in config.endpoints.values()]) + LEASE_MARGIN_SECONDS
        moved = 0.0
        for step in clock.shift_back(self._store, self._owner, now, lease, self._was or 0.0):
            moved = step
            pulse()
        self._was = None
        if moved:
            self._log.warning("deliveries_moved", seconds=round(moved, 3))
            self.everywhere = True

    def _set_forward(self, held: Collection[ClaimedDelivery]) -> None:
        step, mine = self._ahead, list(held)
        if mine:
            self._store.writer.write(lambda conn: clock.extend(conn, self._owner, mine, step), timeout=STORE_WAIT)
        self._ahead = 0.0

    def sweep(self, now: float, retention_days: int, steady: float) -> None:
        """Retention, in small steps between the rounds."""
        if self._sweeping is not None:
            self._swept(self._sweeping, steady)
        elif steady >= self._sweep_at:
            self._sweep_at = steady + SWEEP
            before, after = now - retention_days * 86_400, self._swept_to
            try:
                self._sweeping = self._store.writer.submit(lambda conn: sweep(conn, before, SWEPT, after=after))
            except StoreUnavailable:
                return

    def _swept(self, sweeping: Future[Swept], steady: float) -> None:
        if not sweeping.done():
            return
        self._sweeping = None
        try:
            swept = sweeping.result()
        except StoreUnavailable:
            return
        self._count += swept.events
        self._swept_to = swept.reached or BEGINNING
        if swept or swept.reached is not None:
            self._sweep_at = steady + SWEEP_ON
        elif self._count:
            self._log.info("swept", events=self._count)
            self._count = 0
