"""PostgreSQL: committed means on its disk, and nothing waits for ever."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from gateway.store.schema import metadata

# A server may be set to say "committed" before it is so; one that is set to more than that stays as it is.
# The server, too, is to notice that we are gone, and sooner than others give up waiting for the locks of what we had
# begun. (On its Unix socket it ignores the settings for TCP.)
SESSION_SETTINGS = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')
UNION ALL SELECT set_config('lock_timeout', %s, false)
UNION ALL SELECT set_config('statement_timeout', %s, false)
UNION ALL SELECT set_config('idle_in_transaction_session_timeout', '15s', false)
UNION ALL SELECT set_config('tcp_user_timeout', '4s', false)
UNION ALL SELECT set_config('tcp_keepalives_idle', '2', false)
UNION ALL SELECT set_config('tcp_keepalives_interval', '1', false)
UNION ALL SELECT set_config('tcp_keepalives_count', '2', false)
"""
# A cable that was pulled is noticed after seconds, not after the two hours of TCP's own timeouts.
NETWORK_SETTINGS = {
    "application_name": "sms-gateway",
    "connect_timeout": "3",
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "2",
    "tcp_user_timeout": "4000",
}
HOST = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<name>[^:]+))(?::(?P<port>[0-9]+))?")
DEFAULT_PORT = "5432"
# Two numbers: a key space of its own, apart from the single numbers of the ordering keys.
MIGRATION_LOCK = "SELECT pg_advisory_xact_lock(1936548711, 1)"
MAX_IDLE_SECONDS = 1.0
"""A connection that was idle for longer is asked whether it still lives, before an operation is entrusted to it."""

for _index in [index for table in metadata.tables.values() for index in table.indexes]:
    _index.dialect_options["postgresql"]["where"] = _index.dialect_options["sqlite"]["where"]


def sqlalchemy_url(text: str) -> str:
    """Several hosts as libpq's users write them → as SQLAlchemy reads them; anything else stays as it is.
    ``//user@a:5432,b:5432/db`` → ``//user@/db?host=a,b&port=5432,5432``. ValueError for a port that is none."""
    if "," not in text:
        return text  # SQLAlchemy takes more in a password than `urlsplit` does
    parts = urlsplit(text)
    user, at, netloc = parts.netloc.rpartition("@")
    if "," not in netloc:
        return text
    hosts = [HOST.fullmatch(host) for host in netloc.split(",")]
    if not all(hosts):
        raise ValueError("a host that is none")
    # The brackets around an address of IPv6 are the URL's, not the host's.
    names = ",".join(host["v6"] or host["name"] for host in hosts if host)
    ports = ",".join(host["port"] or DEFAULT_PORT for host in hosts if host)
    query = "&".join([f"host={names}&port={ports}", *filter(None, [parts.query])])
    return f"{parts.scheme}://{user}{at}{parts.path}?{query}"


class ReplicatedConnection(psycopg.Connection[Any]):
    """A connection whose `commit` succeeds only when all that the server was to wait for has happened.
    A server whose wait for its standby is cancelled has the transaction on its own disk alone. It says so in a warning,
    and "committed" all the same."""

    warning = ""

    def keep_warning(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self.warning = notice.message_primary or "a warning"

    def commit(self) -> None:
        self.warning = ""
        super().commit()
        if self.warning:
            raise psycopg.OperationalError(self.warning)


class HostConnector:
    """Makes connections; of several hosts the one that answered last is asked first.
    A host that is gone does not even refuse: asking it first would cost every new connection `connect_timeout`."""

    def __init__(self) -> None:
        self._last: tuple[str, str] | None = None

    def connect(self, _dialect: object, _entry: object, _args: object, given: dict[str, Any]) -> ReplicatedConnection:
        """Handles SQLAlchemy's event ``do_connect``."""
        conn = ReplicatedConnection.connect(**self.in_order(given))
        conn.add_notice_handler(conn.keep_warning)
        self._last = conn.info.host, str(conn.info.port)
        return conn

    def in_order(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Returns the driver's arguments, with the hosts in the order in which they are asked."""
        hosts, ports = str(arguments.get("host", "")).split(","), str(arguments.get("port", "")).split(",")
        if len(hosts) < 2 or len(hosts) != len(ports):
            return arguments
        pairs = sorted(zip(hosts, ports, strict=True), key=lambda pair: pair != self._last)
        return arguments | {"host": ",".join(pair[0] for pair in pairs), "port": ",".join(pair[1] for pair in pairs)}


class PostgresqlDatabase:
    """As `gateway.store.sqlite.SqliteDatabase`. A whole statement gets six times as long as `lock_timeout`."""

    def __init__(self, url: URL, lock_timeout: float) -> None:
        url = url.set(query=NETWORK_SETTINGS | dict(url.query))
        self.writing = _engine(url, lock_timeout, max_connections=2)  # the writer's, and one to migrate
        # Ten people look at the console: fifteen connections will do.
        reading = _engine(url, lock_timeout, max_connections=15)
        self.reading: Engine = reading.execution_options(postgresql_readonly=True)

    def is_current(self, conn: Connection) -> bool:
        now = time.monotonic()
        idle, conn.info["used"] = now - conn.info.get("used", now), now
        if idle < MAX_IDLE_SECONDS:
            return True
        raw = conn.connection.dbapi_connection
        try:
            return raw is not None and conn.dialect.do_ping(raw)
        except Exception:
            return False

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        with self.writing.begin() as conn:
            conn.exec_driver_sql("SET LOCAL lock_timeout = 0")  # as long as another machine's migration takes
            conn.exec_driver_sql("SET LOCAL statement_timeout = 0")
            conn.exec_driver_sql(MIGRATION_LOCK)
            yield conn

    def has_room(self) -> bool:
        return True  # only the server knows its disk

    def close(self) -> None:
        self.writing.dispose()
        self.reading.dispose()


def _engine(url: URL, lock_timeout: float, max_connections: int) -> Engine:
    engine = create_engine(
        url,
        pool_size=min(max_connections, 5),
        max_overflow=max(max_connections - 5, 0),
        pool_timeout=lock_timeout,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",  # a statement behind a lock must see what was committed before it was had
        hide_parameters=True,
    )

    def on_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(SESSION_SETTINGS, (f"{int(lock_timeout * 1000)}ms", f"{int(lock_timeout * 6000)}ms"))
        cursor.close()
        connection.commit()

    event.listen(engine, "do_connect", HostConnector().connect)
    event.listen(engine, "connect", on_connect)
    return engine
