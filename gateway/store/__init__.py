"""The store: what was accepted, and what is still owed. SQLite, or PostgreSQL for several machines.

    store = Store("sqlite:////srv/gateway/data/gateway.db")
    store.migrate()
    event_id = store.writer.write(lambda conn: events.add(conn, event))
    with store.reader() as conn:
        search.overview(conn, …)

Functions of this package's modules take the connection of a write operation (`Writer`) or of a reader. A store belongs
to one process: make it after a fork.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from gateway.store import health, migrations
from gateway.store.errors import Blame, StoreUnavailable, WrongDatabase, classify, reason
from gateway.store.group_commit import GroupCommitter, ImmediateCommitter
from gateway.store.sqlite import SqliteDatabase
from gateway.store.wakeup import PgListener, PgNotifier
from gateway.store.writer import Writer

if TYPE_CHECKING:
    from gateway.store.postgresql import PostgresqlDatabase

__all__ = ["Connection", "Store", "StoreUnavailable", "Writer", "WrongDatabase"]


class Store(AbstractContextManager["Store"]):
    """A database. `url`: ``sqlite:///file`` or ``postgresql://user@host/db``; anything else is a `WrongDatabase`.
    `lock_timeout`: seconds to wait for a lock that another connection holds. Nothing is opened before it is needed."""

    def __init__(self, url: str, *, lock_timeout: float = 5.0) -> None:
        self.url = url  # as given, with its password: not for any log
        self._was_ready = True
        self._database = database = _database(url, lock_timeout)
        self.has_room = database.has_room
        """False when the disk is nearly full: take in nothing more, but settle what was taken in."""
        if isinstance(database, SqliteDatabase):
            group = GroupCommitter(database.writing, database.is_current)
            immediate = GroupCommitter(database.immediate, database.is_current)
            self.writer = Writer(group, database.lock(), ImmediateCommitter(immediate, database.lock()))
        else:  # another machine is asked, and no event loop may wait for it
            group = GroupCommitter(database.writing, database.is_current, PgNotifier(database.writing))
            self.writer = Writer(group, nullcontext())

    @property
    def name(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._database.writing.dialect.name

    def migrate(self) -> None:
        """Makes the tables, or brings them up to date; several processes may do so at once, it is done once."""
        with _translated_errors(), self._database.migrating() as conn:
            migrations.upgrade(conn)

    def is_current(self) -> bool:
        """Tells quickly whether its tables are those of this version; false, too, where the database cannot tell."""
        try:
            with self.reader() as conn:
                return migrations.is_current(conn)
        except (StoreUnavailable, SQLAlchemyError):
            return False

    @contextmanager
    def reader(self) -> Iterator[Connection]:
        """A connection that can only read, in one transaction. Keep it short: a log cannot shrink while it is read."""
        with _translated_errors(), self._database.reading.connect() as conn, conn.begin():
            yield conn

    def listen(self, notify: Callable[[Iterable[str]], object]) -> PgListener | None:
        """Calls `notify` with endpoints that something is owed to on any machine. None: SQLite is on one machine."""
        return PgListener(self._database.reading, notify) if self.name == "postgresql" else None

    def ready(self, timeout: float = 2.0) -> bool:
        """True if something was committed just now, and there is room for more. If not, the log says why.
        It answers within `timeout` seconds, also where the writer hangs during a commit."""
        try:
            if not self.has_room():
                raise StoreUnavailable("the disk is nearly full")
            future = self.writer.submit(health.beat)
            try:
                future.result(timeout)
            except FutureTimeout:
                future.cancel()
                raise StoreUnavailable(f"nothing was committed within {timeout:g} s") from None
        except StoreUnavailable as error:
            self._was_ready = False
            structlog.get_logger().warning("store_not_ready", reason=str(error))
            return False
        if not self._was_ready:
            self._was_ready = True
            structlog.get_logger().info("store_back")
        return True

    def close(self, timeout: float = 10.0) -> None:
        """Finishes what was handed in, and closes every connection."""
        self.writer.close(timeout)
        self._database.close()

    def __exit__(self, *_error: object) -> None:
        self.close()


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raises the database's own errors about itself as `StoreUnavailable`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, StoreUnavailable) or classify(error) is Blame.WORK:
            raise
        raise StoreUnavailable(reason(error)) from None


def _database(url: str, lock_timeout: float) -> SqliteDatabase | PostgresqlDatabase:
    scheme, _colon, rest = url.partition(":")
    try:
        if scheme in ("postgres", "postgresql", "postgresql+psycopg"):
            # Its driver takes a tenth of the time of a start, and most have no use for it.
            from gateway.store import postgresql

            parsed = make_url(postgresql.sqlalchemy_url(f"postgresql+psycopg:{rest}"))
        else:
            parsed = make_url(url)
    except (ArgumentError, ValueError):  # which would quote the URL with its password
        raise WrongDatabase("the database's URL cannot be read") from None
    if parsed.drivername == "postgresql+psycopg":
        return postgresql.PostgresqlDatabase(parsed, lock_timeout)
    if parsed.drivername == "sqlite":
        return SqliteDatabase(parsed, lock_timeout)
    raise WrongDatabase(f"{parsed.drivername} is not supported: use sqlite:///file or postgresql://user@host/db")
