"""PostgreSQL: committed means on its disk, and nobody waits for ever."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

# A server may be set to say "committed" before it is so; one that is set to more than that stays as it is.
# The server, too, is to notice that we are gone, and sooner than others are tired of waiting for the locks of what we
# had begun. (Over its Unix socket it ignores what is said of TCP.)
ASK = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')
UNION ALL SELECT set_config('lock_timeout', %s, false)
UNION ALL SELECT set_config('statement_timeout', %s, false)
UNION ALL SELECT set_config('idle_in_transaction_session_timeout', '15s', false)
UNION ALL SELECT set_config('tcp_user_timeout', '4s', false)
UNION ALL SELECT set_config('tcp_keepalives_idle', '2', false)
UNION ALL SELECT set_config('tcp_keepalives_interval', '1', false)
UNION ALL SELECT set_config('tcp_keepalives_count', '2', false)
"""
# A cable that was pulled is noticed after seconds, not after the two hours of TCP's own patience.
NETWORK = {
    "application_name": "sms-gateway",
    "connect_timeout": "3",
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "2",
    "tcp_user_timeout": "4000",
}
HOST = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<name>[^:]+))(?::(?P<port>[0-9]+))?")
PORT = "5432"
# Two numbers: a space of their own, apart from the ordering keys' single ones.
MIGRATION = "SELECT pg_advisory_xact_lock(1936548711, 1)"
IDLE = 1.0
"""Seconds after which a connection is asked whether it still lives, before work is entrusted to it."""


def spelled(text: str) -> str:
    """Several hosts as libpq's users write them → as SQLAlchemy reads them; anything else stays as it is.

    ``//user@a:5432,b:5432/db`` → ``//user@/db?host=a,b&port=5432,5432``. ValueError for a port that is none.
    """
    if "," not in text:
        return text  # SQLAlchemy bears more in a password than `urlsplit` does
    parts = urlsplit(text)
    user, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return text
    # Of a host by its address the brackets are the URL's, not the host's.
    each = [HOST.fullmatch(host) for host in hosts.split(",")]
    if not all(each):
        raise ValueError("a host that is none")
    names = ",".join(one["v6"] or one["name"] for one in each if one)
    ports = ",".join(one["port"] or PORT for one in each if one)
    query = "&".join([f"host={names}&port={ports}", *filter(None, [parts.query])])
    return f"{parts.scheme}://{user}{at}{parts.path}?{query}"


class Replicated(psycopg.Connection[Any]):
    """Whose `commit` succeeds only when all that the server was to wait for has happened.

    A server whose wait for its standby is cancelled has the transaction on its own disk alone. It says so in a
    warning, and "committed" all the same.
    """

    warned = ""

    def warn(self, said: psycopg.errors.Diagnostic) -> None:
        if said.severity_nonlocalized == "WARNING":
            self.warned = said.message_primary or "a warning"

    def commit(self) -> None:
        self.warned = ""
        super().commit()
        if self.warned:
            raise psycopg.OperationalError(self.warned)


class HostConnector:
    """Makes connections; of several hosts the one that answered last is asked first.

    A host that is gone does not even refuse: asking it first would cost every new connection `connect_timeout`.
    """

    def __init__(self) -> None:
        self._last: tuple[str, str] | None = None

    def connect(self, _dialect: object, _entry: object, _args: object, given: dict[str, Any]) -> Replicated:
        """As SQLAlchemy's event ``do_connect`` has it."""
        made = Replicated.connect(**self.sorted(given))
        made.add_notice_handler(made.warn)
        self._last = made.info.host, str(made.info.port)
        return made

    def sorted(self, given: dict[str, Any]) -> dict[str, Any]:
        """The driver's arguments, with the hosts in the order in which they are asked."""
        hosts, ports = str(given.get("host", "")).split(","), str(given.get("port", "")).split(",")
        if len(hosts) < 2 or len(hosts) != len(ports):
            return given
        pairs = sorted(zip(hosts, ports, strict=True), key=lambda pair: pair != self._last)
        return given | {"host": ",".join(pair[0] for pair in pairs), "port": ",".join(pair[1] for pair in pairs)}


class PostgresqlDatabase:
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

    event.listen(made, "do_connect", HostConnector().connect)
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
