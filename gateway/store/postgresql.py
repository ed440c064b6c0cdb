"""PostgreSQL: committed means on its disk, and nobody waits for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

# A server may be set to say "committed" before it is so; one that is set to more than that stays as it is.
ASK = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')
UNION ALL SELECT set_config('lock_timeout', %s, false)
UNION ALL SELECT set_config('statement_timeout', %s, false)
UNION ALL SELECT set_config('idle_in_transaction_session_timeout', '60s', false)
"""
# A cable that was pulled is noticed after seconds, not after the two hours of TCP's own patience.
NETWORK = {
    "application_name": "sms-gateway",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
# Two numbers: a space of their own, apart from the lanes' single ones.
MIGRATION = "SELECT pg_advisory_xact_lock(1936548711, 1)"
IDLE = 1.0
"""Seconds after which a connection is asked whether it still lives, before work is entrusted to it."""


class Postgresql:
    """See `gateway.store.database`. `patience` is for one lock; a whole statement gets six times as long."""

    def __init__(self, url: URL, patience: float) -> None:
        url = url.set(query=NETWORK | dict(url.query))
        self.writing = _engine(url, patience, most=2)  # the writer's, and one to migrate
        # Ten people look at the console: fifteen connections will do.
        self.reading: Engine = _engine(url, patience, most=15).execution_options(postgresql_readonly=True)

    def guard(self) -> AbstractContextManager[None]:
        return nullcontext()

    def is_current(self, conn: Connection) -> bool:
        now = time.monotonic()
        idle, conn.info["used"] = now - conn.info.get("used", now), now
        return idle < IDLE or _lives(conn)

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        with self.writing.begin() as conn:
            conn.exec_driver_sql("SET LOCAL lock_timeout = 0")  # as long as another machine's migration takes
            conn.exec_driver_sql("SET LOCAL statement_timeout = 0")
            conn.exec_driver_sql(MIGRATION)
            yield conn

    def has_room(self) -> bool:
        return True  # of its disk only the server knows

    def close(self) -> None:
        self.writing.dispose()
        self.reading.dispose()


def _engine(url: URL, patience: float, most: int) -> Engine:
    made = create_engine(
        url,
        pool_size=min(most, 5),
        max_overflow=max(most - 5, 0),
        pool_timeout=patience,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",  # a statement behind a lock must see what was committed before it was had
        hide_parameters=True,
    )

    def connects(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(ASK, (f"{int(patience * 1000)}ms", f"{int(patience * 6000)}ms"))
        cursor.close()
        connection.commit()

    event.listen(made, "connect", connects)
    return made


def _lives(conn: Connection) -> bool:
    raw = conn.connection.dbapi_connection
    try:
        if raw is not None:
            raw.cursor().execute("SELECT 1")
            raw.rollback()
    except Exception:
        return False
    return raw is not None
