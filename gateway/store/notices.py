"""On PostgreSQL: what is owed on one machine is heard at once by the workers of all others.

Who owes notes it on the connection; once that is committed, it is said (``pg_notify``) over a connection apart. Within
the transaction PostgreSQL would let commits that say something pass one by one, each with its sync and its wait for
the standby: 200 a second instead of 800, measured. Nothing depends on it: a notice that is lost costs one look of the
worker's own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from typing import Any

import structlog
from sqlalchemy import Connection, Engine

CHANNEL = "sms_gateway_owed"
LONGEST = 7000
"""Bytes; PostgreSQL takes no 8,000."""
PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before the first, second … attempt to be connected again."""
NOTED = "endpoints that something is owed to"
LOOK = 1.0
"""Seconds between two looks whether it is to end."""

NOTIFY = f"SELECT pg_notify('{CHANNEL}', %s)"
Heard = Callable[[Iterable[str]], object]


def mark_due(conn: Connection, endpoints: Iterable[str]) -> None:
    """To be called where something becomes due for these; SQLite has one machine, and the worker's bell."""
    if conn.dialect.name == "postgresql":
        conn.info.setdefault(NOTED, set()).update(endpoints)


def take_marked(conn: Connection) -> set[str]:
    """What was noted since the last time: to be said after a commit, to be forgotten after anything else."""
    found: set[str] = conn.info.pop(NOTED, set())
    return found


class PgNotifier:
    """Says what was noted. For one thread; what it cannot say is left unsaid."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._conn: Any = None

    def __call__(self, endpoints: Iterable[str]) -> None:
        said = "\n".join(sorted(endpoints))
        try:
            if self._conn is None:
                self._conn = self._connected()
            self._conn.execute(NOTIFY, (said if len(said.encode()) <= LONGEST else "",))
        except Exception as error:  # whatever it is, the workers look by themselves
            structlog.get_logger(__name__).warning("notice_not_given", reason=type(error).__name__)
            self.close()

    def _connected(self) -> Any:
        pooled = self._engine.raw_connection()
        raw: Any = pooled.dbapi_connection
        pooled.detach()
        raw.autocommit = True
        raw.execute("SET synchronous_commit = off")  # there is nothing of it on any disk
        return raw

    def close(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with suppress(Exception):
                conn.close()


class PgListener:
    """A thread with a connection of its own. `heard`: called there, with names; the empty one stands for all."""

    def __init__(self, engine: Engine, heard: Heard) -> None:
        self._engine, self._heard = engine, heard
        self._end = threading.Event()
        self._log = structlog.get_logger(__name__)
        self._thread = threading.Thread(target=self._run, name="store-notices", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 0.0) -> None:
        """Asks it to end. It is not waited for, unless one asks: nothing depends on it."""
        self._end.set()
        if timeout:
            self._thread.join(timeout)

    def _run(self) -> None:
        failed = 0
        while not self._end.is_set():
            try:
                for _ in self._listen():
                    failed = 0
            except Exception as error:  # whatever it is, the worker looks by itself
                self._log.warning("notices_interrupted", reason=type(error).__name__)
            self._end.wait(PAUSES[min(failed, len(PAUSES) - 1)])
            failed += 1

    def _listen(self) -> Iterator[None]:
        pooled = self._engine.raw_connection()
        raw: Any = pooled.dbapi_connection
        pooled.detach()  # with what it listens to it is no connection for others any more
        with closing(raw):
            raw.autocommit = True
            raw.execute(f"LISTEN {CHANNEL}")
            # What was owed while nobody listened.
            self._heard(("",))
            yield
            while not self._end.is_set():
                for notice in raw.notifies(timeout=LOOK):
                    self._heard(notice.payload.split("\n"))
                    yield


def listen(engine: Engine, heard: Heard) -> PgListener | None:
    """`engine`: `Store.apart`. None where there is nothing to listen to."""
    return PgListener(engine, heard) if engine.dialect.name == "postgresql" else None
