"""SQLite: a file for its owner alone, synced at every commit, one writer at a time on the whole machine.

A thread beside the writer folds SQLite's log into the file (a checkpoint): where the writer did it, that commit took a
tenth of a second. Both may do it, and in several processes; SQLite lets one at a time. The writer still does it where
the log has grown long: only at its commits is there always a moment at which the log can begin anew, which the thread
may never meet under load.

SQLite itself waits for a lock by polling: of two busy processes one waits for more than a second. A lock of the
operating system (`FileLock`) wakes the one that waits. But its holder could take it again before the one that was woken
runs, so there is a second lock in front of it, the turn: whoever wants the lock first takes the turn, and gives it back
as soon as it has the lock.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from gateway.store.errors import WrongDatabase

if sys.platform == "win32":
    import msvcrt

    def _acquire(file: int) -> None:
        while not _try_acquire(file):  # Windows' own waiting sleeps a whole second between two looks
            time.sleep(0.002)

    def _try_acquire(file: int) -> bool:
        os.lseek(file, 0, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _release(file: int) -> None:
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _acquire(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _try_acquire(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _release(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


MIN_FREE_BYTES = 64 * 2**20  # with less free disk no callback is taken: those that were taken must still be settled
DISK_CHECK_SECONDS = 1.0  # between two checks of the disk: it does not fill up in less, and each callback asks
CHECKPOINT_SECONDS = 0.25
"""From a commit to the checkpoint: pages that change all the time are folded once for many commits."""

# In WAL mode FULL syncs the log at each commit; with NORMAL commits would be lost with the power.
# The log is folded into the file by `Checkpoints`; where that does not come to an end, by the writer, at 32 MB.
WRITING = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # as most builds have it: what is deleted is overwritten with zeros
    "PRAGMA wal_autocheckpoint = 8000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA cache_size = -16000",
)
READING = ("PRAGMA query_only = ON",)
# A table that is altered is copied and dropped: its children must not notice, and within a transaction it is too late.
MIGRATING = tuple(pragma for pragma in WRITING if "foreign_keys" not in pragma)
MIN_VERSION = (3, 35)


class SqliteDatabase:
    """The engines of one file. `lock_timeout` is for those who do not know of our lock: a backup, a shell."""

    def __init__(self, url: URL, lock_timeout: float) -> None:
        if not url.database or url.database == ":memory:":
            raise WrongDatabase("SQLite in memory keeps nothing: name a file, as in sqlite:///data/gateway.db")
        if sqlite3.sqlite_version_info < MIN_VERSION:
            oldest = ".".join(map(str, MIN_VERSION))
            raise WrongDatabase(f"SQLite {sqlite3.sqlite_version} is too old: it must be {oldest} or later")
        self._path = Path(url.database).absolute()
        self._lock_timeout = lock_timeout
        self._locks: list[FileLock] = []
        self._checked_at, self._has_room = -DISK_CHECK_SECONDS, True
        self.writing = _engine(self._path, WRITING, "BEGIN IMMEDIATE", lock_timeout, max_connections=1)
        self.immediate = _engine(self._path, WRITING, "BEGIN IMMEDIATE", 0.0, max_connections=1)
        self.reading = _engine(self._path, READING, "BEGIN", lock_timeout, max_connections=15)
        self._checkpoints = Checkpoints(self._path, lock_timeout)
        for engine in (self.writing, self.immediate):
            event.listen(engine, "commit", self._checkpoints.committed)

    def lock(self) -> FileLock:
        """Returns a new lock, to be held around each write transaction of one thread."""
        self._locks.append(FileLock(self._path))
        return self._locks[-1]

    def is_current(self, conn: Connection) -> bool:
        """True if this connection, kept since the last transaction, is good for the next. A file that was moved away
        takes writes without a word, and they are lost."""
        return _identity(self._path) == conn.info.get("file")

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A transaction in which tables are made, by one process at a time. The file, and its folder, are made if there
        are none, for the owner alone; SQLite gives its log the same permissions."""
        path = self._path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        for file in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            # There may be no log yet; and a file of another user is for that user to guard.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                if file.stat().st_mode & 0o077:
                    file.chmod(0o600)
        engine = _engine(self._path, MIGRATING, "BEGIN IMMEDIATE", self._lock_timeout, max_connections=1)
        try:
            with contextlib.closing(FileLock(self._path)) as lock, lock, engine.begin() as conn:
                yield conn
        finally:
            engine.dispose()

    def has_room(self) -> bool:
        """True if the disk has room for more callbacks."""
        now = time.monotonic()
        if now - self._checked_at >= DISK_CHECK_SECONDS:
            self._checked_at = now
            try:
                self._has_room = shutil.disk_usage(self._path.parent).free >= MIN_FREE_BYTES
            except OSError:  # there is not even a folder: the next write will say so
                self._has_room = True
        return self._has_room

    def close(self) -> None:
        self._checkpoints.close()
        for engine in (self.writing, self.immediate, self.reading):
            engine.dispose()
        for lock in self._locks:
            lock.close()


class FileLock:
    """The lock around a write transaction. ``with`` blocks without limit; the system releases it if its holder dies.
    One thread at a time may use one `FileLock`; several of the same path exclude each other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: tuple[int, int] | None = None  # the turn and the lock
        self._has_turn = False

    def __enter__(self) -> FileLock:
        turn, lock = self._files or self._open()
        _acquire(turn)
        try:
            _acquire(lock)
        finally:
            _release(turn)
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()

    def try_acquire(self) -> bool:
        """Takes the lock without blocking. False: somebody has it. Ask again, soon and often: meanwhile this one keeps
        its turn, so that it is the next."""
        turn, lock = self._files or self._open()
        if not self._has_turn:
            self._has_turn = _try_acquire(turn)
        if not self._has_turn or not _try_acquire(lock):
            return False
        self._has_turn = False
        _release(turn)
        return True

    def give_up_turn(self) -> None:
        """Lets others go first, after a `try_acquire` that will not be repeated."""
        if self._files and self._has_turn:
            self._has_turn = False
            _release(self._files[0])

    def release(self) -> None:
        if self._files:
            _release(self._files[1])

    def close(self) -> None:
        files, self._files = self._files or (), None
        self._has_turn = False
        for file in files:
            with contextlib.suppress(OSError):
                os.close(file)

    def _open(self) -> tuple[int, int]:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        turn = os.open(self._path.with_name(self._path.name + ".turn"), flags, 0o600)
        self._files = turn, os.open(self._path.with_name(self._path.name + ".lock"), flags, 0o600)
        return self._files


class Checkpoints:
    """The thread that folds the log into the file, with its own connection. It starts with the first commit."""

    def __init__(self, path: Path, lock_timeout: float) -> None:
        self._path, self._lock_timeout = path, lock_timeout
        self._file: tuple[int, int] | None = None
        self._conn: sqlite3.Connection | None = None
        self._committed = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def committed(self, _conn: object = None) -> None:
        """Notes that the log has grown."""
        if self._thread is None and not self._closing.is_set():
            self._thread = threading.Thread(target=self._run, name="store-checkpoints", daemon=True)
            self._thread.start()
        self._committed.set()

    def close(self) -> None:
        self._closing.set()
        self._committed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._committed.wait()
            self._closing.wait(CHECKPOINT_SECONDS)
            self._committed.clear()
            if self._closing.is_set():
                break
            try:
                if self._conn is None or _identity(self._path) != self._file:  # another file may have taken its place
                    self._disconnect()
                    self._file, self._conn = _identity(self._path), _connect(self._path, WRITING, self._lock_timeout)
                self._conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except sqlite3.Error:  # what hinders it hinders the writer, too, and is reported there
                self._disconnect()
        self._disconnect()

    def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(sqlite3.Error):
                conn.close()


def _engine(path: Path, pragmas: tuple[str, ...], begin: str, lock_timeout: float, max_connections: int) -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(path, pragmas, lock_timeout),
        poolclass=QueuePool,
        # All of them are kept: connections of the overflow are closed when they come back, and opening a file again
        # costs more than the reading.
        pool_size=max_connections,
        max_overflow=0,
        pool_timeout=lock_timeout,
        hide_parameters=True,
    )

    def on_begin(conn: Connection) -> None:
        conn.connection.cursor().execute(begin)  # at a fifth of SQLAlchemy's price

    def on_connect(_connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        entry.info["file"] = _identity(path)

    def on_checkout(_connection: DBAPIConnection, entry: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        if _identity(path) != entry.info["file"]:
            raise DisconnectionError("there is another file in its place")

    event.listen(engine, "begin", on_begin)  # the driver's own BEGIN is off: it comes too late, and takes no lock
    event.listen(engine, "connect", on_connect)
    event.listen(engine, "checkout", on_checkout)
    return engine


def _connect(path: Path, pragmas: tuple[str, ...], lock_timeout: float) -> sqlite3.Connection:
    """Never makes the file: an empty one in the place of one that was moved away would look like a lost outbox."""
    conn = sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=lock_timeout, isolation_level=None, check_same_thread=False
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
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
