"""SQL that runs for every callback: spelled for each database once, then handed to the driver as it is.

An execution costs 22 µs by SQLAlchemy's cache of statements, 9 by `exec_driver_sql`, 3 by the bare driver (measured
with a row of 17 columns on SQLite): with three to five statements a callback that is half of what the store takes.
Transactions stay SQLAlchemy's; errors are the driver's own, and `gateway.store.errors` knows them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import ClauseElement, Connection, Dialect, text

Values = Mapping[str, object]
Parameters = Mapping[str, object] | Sequence[object]
NOTHING: Values = {}
_Spelled = tuple[str, Callable[[Values], Parameters]]


class Cursor(Protocol):
    """What both drivers' cursors have."""

    rowcount: int

    @property
    def lastrowid(self) -> int:
        """SQLite's only."""

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def executemany(self, sql: str, rows: Sequence[Parameters], /) -> Any: ...


class Statement:
    """``Statement("SELECT … WHERE id = :id").run(conn, {"id": 1})``; also takes Core constructs with bind parameters.

    Constants that a partial index asks for must stand in the SQL itself: no planner can use the index for a parameter.
    """

    def __init__(self, clause: str | ClauseElement) -> None:
        self._clause = text(clause) if isinstance(clause, str) else clause
        self._spelled: dict[str, _Spelled] = {}

    def run(self, conn: Connection, values: Values = NOTHING) -> Cursor:
        """The driver's cursor: rows are tuples."""
        sql, take = self._spelled.get(conn.dialect.name) or self._spell(conn.dialect)
        cursor: Cursor = _driver(conn).execute(sql, take(values))
        return cursor

    def run_many(self, conn: Connection, rows: Sequence[Values]) -> None:
        """One after another, in order; each sees what those before it did."""
        if len(rows) == 1:
            self.run(conn, rows[0])
        elif rows:
            sql, take = self._spelled.get(conn.dialect.name) or self._spell(conn.dialect)
            _driver(conn).cursor().executemany(sql, [take(row) for row in rows])

    def _spell(self, dialect: Dialect) -> _Spelled:
        compiled = self._clause.compile(dialect=dialect)
        order = getattr(compiled, "positiontup", None)
        spelled = str(compiled), _by_name if order is None else _by_position(tuple(order))
        self._spelled[dialect.name] = spelled
        return spelled


def _driver(conn: Connection) -> Any:
    return conn.connection.dbapi_connection


def _by_name(values: Values) -> Parameters:
    """As PostgreSQL's driver takes them."""
    return values


def _by_position(order: tuple[str, ...]) -> Callable[[Values], Parameters]:
    """As SQLite's driver takes them. Two or more come as a tuple by themselves, in a third of the time."""
    if len(order) > 1:
        return itemgetter(*order)
    return lambda values: [values[name] for name in order]
