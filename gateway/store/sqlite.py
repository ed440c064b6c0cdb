"""SQLite: a file for its owner alone, synced at every commit, one writer at a time on the whole machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from gateway.store.checkpoints import Checkpoints
from gateway.store.errors import WrongDatabase
from gateway.store.filelock import FileLock

ROOM = 64 * 2**20
"""Bytes of free disk below which no callback is taken: those that were taken must still be settled."""
LOOK_EVERY = 1.0
"""Seconds between two looks at the disk: it does not fill up in less, and each callback asks."""

# WAL syncs its log at each commit when FULL is asked for; with NORMAL commits would go with the power.
# The log is folded into the file by `Checkpoints`; where that does not come to an end, by the writer, at 32 MB.
WRITING = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA wal_autocheckpoint = 8000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA cache_size = -16000",
)
READING = ("PRAGMA query_only = ON",)
# A table that is altered is copied and dropped: its children must not notice, and within a transaction it is too late.
MIGRATING = tuple(pragma for pragma in WRITING if "foreign_keys" not in pragma)
OLDEST = (3, 35)


class SqliteDatabase:
    """See `gateway.store.database`. `patience` is for those who do not know of our lock: a backup, a shell."""

    def __init__(self, url: URL, patience: float) -> None:
        if not url.database or url.database == ":memory:":
            raise WrongDatabase("SQLite in memory keeps nothing: name a file, as in sqlite:///data/gateway.db")
        if sqlite3.sqlite_version_info < OLDEST:
            raise WrongDatabase(f"SQLite {sqlite3.sqlite_version} is too old: {OLDEST[0]}.{OLDEST[1]} is the least")
        self._path = Path(url.database).absolute()
        self._patience = patience
        self._locks: list[FileLock] = []
        self._looked, self._has_room = -LOOK_EVERY, True
        self.writing = _engine(self._path, WRITING, "BEGIN IMMEDIATE", patience, most=1)
        self.quick = _engine(self._path, WRITING, "BEGIN IMMEDIATE", 0.0, most=1)
        self.reading = _engine(self._path, READING, "BEGIN", patience, most=15)
        self._checkpoints = Checkpoints(lambda: _connect(self._path, WRITING, patience), lambda: _identity(self._path))
        for engine in (self.writing, self.quick):
            event.listen(engine, "commit", self._checkpoints.committed)

    def guard(self) -> FileLock:
        self._locks.append(FileLock(self._path))
        return self._locks[-1]

    def is_current(self, conn: Connection) -> bool:
        """A file that was moved away takes writes without a word, and they are lost."""
        return _identity(self._path) == conn.info.get("file")

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        _create(self._path)
        engine = _engine(self._path, MIGRATING, "BEGIN IMMEDIATE", self._patience, most=1)
        try:
            with contextlib.closing(FileLock(self._path)) as lock, lock, engine.begin() as conn:
                yield conn
        finally:
            engine.dispose()

    def has_room(self) -> bool:
        now = time.monotonic()
        if now - self._looked >= LOOK_EVERY:
            self._looked, self._has_room = now, self._look()
        return self._has_room

    def _look(self) -> bool:
        try:
            return shutil.disk_usage(self._path.parent).free >= ROOM
        except OSError:  # there is no folder even: that is not about room, and the next write will say it
            return True

    def close(self) -> None:
        self._checkpoints.close()
        self.writing.dispose()
        self.quick.dispose()
        self.reading.dispose()
        for lock in self._locks:
            lock.close()


def _create(path: Path) -> None:
    """The file, and its folder if there is none, for the owner alone; SQLite gives its log the same permissions."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for file in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        # There may be no log yet; and what is another user's is his to guard.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)


def _engine(path: Path, pragmas: tuple[str, ...], begin: str, patience: float, most: int) -> Engine:
    made = create_engine(
        "sqlite://",
        creator=lambda: _connect(path, pragmas, patience),
        poolclass=QueuePool,
        # All of them are kept: those of the overflow are closed when they come back, and opening a file again costs
        # more than the reading.
        pool_size=most,
        max_overflow=0,
        pool_timeout=patience,
        hide_parameters=True,
    )

    def begins(conn: Connection) -> None:
        conn.connection.cursor().execute(begin)  # at a fifth of SQLAlchemy's price

    def connects(_connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        entry.info["file"] = _identity(path)

    def checks_out(_connection: DBAPIConnection, entry: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        if _identity(path) != entry.info["file"]:
            raise DisconnectionError("there is another file in its place")

    event.listen(made, "begin", begins)  # the driver's own beginning is off: it comes too late, and takes no lock
    event.listen(made, "connect", connects)
    event.listen(made, "checkout", checks_out)
    return made


def _connect(path: Path, pragmas: tuple[str, ...], patience: float) -> sqlite3.Connection:
    """Never makes the file: an empty one in the place of one that was moved away would look like a lost outbox."""
    conn = sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=patience, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in pragmas:
            conn.execute(pragma).fetchall()
    except BaseException:
        conn.close()
        raise
    return conn


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
