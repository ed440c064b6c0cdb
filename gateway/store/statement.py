"""SQL that runs for every callback: spelled for each database once, then handed to the driver as it is.

An execution costs 22 µs by SQLAlchemy's cache of statements, 9 by `exec_driver_sql`, 3 by the bare driver (measured
with a row of 17 columns on SQLite): with three to five statements a callback that is half of what the store takes.
Transactions stay SQLAlchemy's; errors are the driver's own, and `gateway.store.failures` knows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import ClauseElement, Connection, Dialect, Row, text

Values = Mapping[str, object]
Parameters = Mapping[str, object] | Sequence[object]
NOTHING: Values = {}


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
        self._spelled: dict[str, tuple[str, tuple[str, ...] | None]] = {}

    def run(self, conn: Connection, values: Values = NOTHING) -> Cursor:
        """The driver's cursor: rows are tuples."""
        sql, order = self._spelled.get(conn.dialect.name) or self._spell(conn.dialect)
        cursor: Cursor = _driver(conn).execute(sql, _parameters(values, order))
        return cursor

    def run_many(self, conn: Connection, rows: Sequence[Values]) -> None:
        """One after another, in order; each sees what those before it did."""
        if len(rows) == 1:
            self.run(conn, rows[0])
        elif rows:
            sql, order = self._spelled.get(conn.dialect.name) or self._spell(conn.dialect)
            _driver(conn).cursor().executemany(sql, [_parameters(row, order) for row in rows])

    def rows(self, conn: Connection, values: Values = NOTHING) -> Sequence[Row[Any]]:
        """Rows with names, at SQLAlchemy's price."""
        sql, order = self._spelled.get(conn.dialect.name) or self._spell(conn.dialect)
        return conn.exec_driver_sql(sql, _parameters(values, order)).all()

    def _spell(self, dialect: Dialect) -> tuple[str, tuple[str, ...] | None]:
        compiled = self._clause.compile(dialect=dialect)
        order = getattr(compiled, "positiontup", None)
        spelled = str(compiled), None if order is None else tuple(order)
        self._spelled[dialect.name] = spelled
        return spelled


def _driver(conn: Connection) -> Any:
    return conn.connection.dbapi_connection


def _parameters(values: Values, order: tuple[str, ...] | None) -> Parameters:
    """By name for PostgreSQL's driver, by position for SQLite's."""
    return values if order is None else tuple([values[name] for name in order])
