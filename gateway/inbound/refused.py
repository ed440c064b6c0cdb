"""Keeps refused callbacks for the operator who will be asked, within a budget of each key and day.

They are whatever a key's holder cares to post: without an end to them, one holder would fill the disk for everybody.
"""

from __future__ import annotations

import structlog

from gateway.config import Config
from gateway.store import Connection, Store, events, limits

WHOLE_BYTES = 65_536  # up to so many a body is kept whole, beyond only its head
HEAD_BYTES = 4_096
BUDGET_BYTES = 16 * 1024 * 1024  # of one key in one day
MIN_EVENT_BYTES = 16_384  # of the budget, for each event: so there are 1,024 of them at most
DAY_SECONDS = 86_400.0
WRITE_TIMEOUT_SECONDS = 10.0


class RefusedBudget:
    """Counts in the store, for all processes together. Remembers which budgets are used up: what comes then costs no
    transaction."""

    def __init__(self) -> None:
        self._used_up: dict[str, float] = {}  # by key: the end of the day, in epoch seconds

    def keep(self, store: Store, new: events.NewEvent) -> int | None:
        """Returns the event's id; None if the budget of its key is used up, and nothing was kept."""
        now = new.received_at
        # A day that ends later than one that begins now was begun before the clock was set back.
        if now < self._used_up.get(new.key, now) <= now + DAY_SECONDS:
            return None

        def add(conn: Connection) -> tuple[int | None, float]:
            weight = max(len(new.body), MIN_EVENT_BYTES)
            window = limits.count(conn, _counted(new.key), now, DAY_SECONDS, weight)
            return (events.add(conn, new) if window.hits <= BUDGET_BYTES else None), window.until

        # Held as an ordering key, so that groups of two machines count several keys in one order.
        event_id, until = store.writer.write(add, timeout=WRITE_TIMEOUT_SECONDS, ordering_keys=[_counted(new.key)])
        if event_id is None:
            self._used_up[new.key] = until
            structlog.get_logger().warning("refused_not_kept", key=new.key, until=until)
        return event_id


def keys_used_up(conn: Connection, config: Config, now: float) -> list[str]:
    """Reads. Returns the names of the keys whose budget of today is used up."""
    windows = {key.name: limits.look(conn, _counted(key.name), now, DAY_SECONDS) for key in config.all_keys}
    return [name for name, window in windows.items() if window.hits > BUDGET_BYTES]


def _counted(key: str) -> str:
    return f"refused callbacks of {key}"
