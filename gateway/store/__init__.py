"""The store: what was accepted, and what is still owed. SQLite, or PostgreSQL for several machines.

    store = Store("sqlite:////srv/gateway/data/gateway.db")
    store.migrate()
    event_id = store.writer.write(lambda conn: events.add(conn, event))
    with store.reader() as conn:
        records.overview(conn, …)

Functions of the modules beside take the connection of a piece of work (`Writer`) or of a reader. A store belongs to
one process: make it after a fork.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as TooLate
from contextlib import contextmanager
from types import TracebackType

import structlog
from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from gateway.store import health, migrations
from gateway.store.database import Database
from gateway.store.errors import Blame, StoreUnavailable, WrongDatabase, classify, reason
from gateway.store.group_commit import GroupCommitter, ImmediateCommitter
from gateway.store.sqlite import SqliteDatabase
from gateway.store.wakeup import PgListener, PgNotifier
from gateway.store.writer import Writer

__all__ = ["Connection", "Store", "StoreUnavailable", "Writer", "WrongDatabase"]


class Store:
    """`url`: ``sqlite:///file`` or ``postgresql://user@host/db``; anything else is a `WrongDatabase`.

    `patience`: seconds to wait for a lock that somebody else holds. Nothing is opened before it is needed.
    """

    def __init__(self, url: str, *, patience: float = 5.0) -> None:
        self._url = url
        self._database = _database(url, patience)
        database = self._database
        self._was_ready = True
        group = GroupCommitter(database.writing, database.is_current, _announcer(database))
        self.writer = Writer(group, database.guard(), _quick(database))

    @property
    def url(self) -> str:
        """As given, with its password: not for any log."""
        return self._url

    @property
    def name(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._database.writing.dialect.name

    def listen(self, heard: Callable[[Iterable[str]], object]) -> PgListener | None:
        """Calls `heard` with endpoints that something is owed to on any machine. None: SQLite is on one machine."""
        return PgListener(self._database.reading, heard) if self.name == "postgresql" else None

    def migrate(self) -> None:
        """Makes the tables, or brings them up to date; several processes may do so at once, it is done once."""
        with _translated(), self._database.migrating() as conn:
            migrations.upgrade(conn)

    def is_current(self) -> bool:
        """Quickly: are its tables those of this version? Also false where nobody can tell."""
        try:
            with self.reader() as conn:
                return migrations.is_current(conn)
        except (StoreUnavailable, SQLAlchemyError):
            return False

    @contextmanager
    def reader(self) -> Iterator[Connection]:
        """A connection that can only read, in one transaction. Keep it short: a log cannot shrink while it is read."""
        with _translated(), self._database.reading.connect() as conn, conn.begin():
            yield conn

    def has_room(self) -> bool:
        """False when the disk is nearly full: take in nothing more, but settle what was taken in."""
        return self._database.has_room()

    def ready(self, timeout: float = 2.0) -> bool:
        """Something was committed just now, and there is room for more. If not, the log says why.

        It answers within `timeout` seconds, also where the writer hangs in the midst of a commit.
        """
        try:
            if not self.has_room():
                raise StoreUnavailable("the disk is nearly full")
            self._beat(timeout)
        except StoreUnavailable as error:
            self._was_ready = False
            structlog.get_logger().warning("store_not_ready", reason=error.reason)
            return False
        if not self._was_ready:
            self._was_ready = True
            structlog.get_logger().info("store_back")
        return True

    def _beat(self, timeout: float) -> None:
        future = self.writer.submit(health.beat)
        try:
            future.result(timeout)
        except TooLate:
            future.cancel()
            raise StoreUnavailable(f"nothing was committed within {timeout:g} s") from None

    def close(self, timeout: float = 10.0) -> None:
        """Finishes what was handed in, and closes every connection."""
        self.writer.close(timeout)
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _quick(database: Database) -> ImmediateCommitter | None:
    """Where another machine is asked, somebody must be left waiting for it."""
    if not isinstance(database, SqliteDatabase):
        return None
    return ImmediateCommitter(GroupCommitter(database.quick, database.is_current), database.guard())


def _announcer(database: Database) -> PgNotifier | None:
    return None if isinstance(database, SqliteDatabase) else PgNotifier(database.writing)


@contextmanager
def _translated() -> Iterator[None]:
    """The database's own complaints about itself as `StoreUnavailable`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, StoreUnavailable) or classify(error) is Blame.WORK:
            raise
        raise StoreUnavailable(reason(error)) from None


def _database(text: str, patience: float) -> Database:
    scheme, _colon, rest = text.partition(":")
    if scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        # Its driver takes a tenth of the time of a start, and most have no use for it.
        from gateway.store.postgresql import PostgresqlDatabase, spelled

        return PostgresqlDatabase(_url(f"postgresql+psycopg:{rest}", spelled), patience)
    url = _url(text, str)
    if url.drivername == "sqlite":
        return SqliteDatabase(url, patience)
    raise WrongDatabase(f"{url.drivername} is not supported: use sqlite:///file or postgresql://user@host/db")


def _url(text: str, spelled: Callable[[str], str]) -> URL:
    try:
        return make_url(spelled(text))
    except (ArgumentError, ValueError):  # which would quote the URL, password and all
        raise WrongDatabase("the database's URL cannot be read") from None
