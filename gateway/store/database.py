"""What the store asks of a database, beyond SQL."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection, Engine


class Database(Protocol):
    writing: Engine
    reading: Engine

    def guard(self) -> AbstractContextManager[object]:
        """A new lock to be held around each write transaction of one thread."""

    def is_current(self, conn: Connection) -> bool:
        """Is this connection, kept since the last transaction, still good for the next?"""

    def migrating(self) -> AbstractContextManager[Connection]:
        """A transaction in which tables are made, by one process at a time; makes the database's file if need be."""

    def has_room(self) -> bool:
        """Is there disk for more callbacks?"""

    def close(self) -> None: ...
