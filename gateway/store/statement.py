"""SQL that runs for every callback: compiled once for each database, then handed to the driver as it is.

An execution costs 22 µs through SQLAlchemy's cache of statements, 9 by `exec_driver_sql` and 3 by the bare driver
(measured with a row of 17 columns on SQLite): with three to five statements a callback that is half of what the store
takes. Transactions stay SQLAlchemy's; errors are the driver's own, and `gateway.store.errors` knows them.

Below are the encodings of columns. Columns are for finding; what came, byte for byte, is the event's body. So a column
may lose what no database takes (NUL, half a surrogate pair) and may be shortened where an index could not hold it: a
caller can send a ticket of a megabyte.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import ClauseElement, Connection, Dialect, text

Values = Mapping[str, object]
Parameters = Mapping[str, object] | Sequence[object]
NO_VALUES: Values = {}
Cursor = sqlite3.Cursor  # PostgreSQL's driver has the same methods, `rowcount` too, but no `lastrowid`
_Compiled = tuple[str, Callable[[Values], Parameters]]

MAX_KEY_BYTES = 200  # PostgreSQL's indices take 2,704 bytes a row, in which a URL may stand beside the key
_json_string = json.encoder.encode_basestring_ascii
_decode_json = json.JSONDecoder().raw_decode
_encode_json = json.JSONEncoder(separators=(",", ":")).encode


class Statement:
    """``Statement("SELECT … WHERE id = :id").run(conn, {"id": 1})``; also takes Core constructs with bind parameters.

    Constants that a partial index asks for must stand in the SQL itself: no planner can use the index for a parameter.
    """

    def __init__(self, clause: str | ClauseElement) -> None:
        self._clause = text(clause) if isinstance(clause, str) else clause
        self._compiled: dict[str, _Compiled] = {}

    def run(self, conn: Connection, values: Values = NO_VALUES) -> Cursor:
        """Returns the driver's cursor; its rows are tuples."""
        sql, parameters = self._compiled.get(conn.dialect.name) or self._compile(conn.dialect)
        driver: Any = conn.connection.dbapi_connection
        cursor: Cursor = driver.execute(sql, parameters(values))
        return cursor

    def run_many(self, conn: Connection, rows: Sequence[Values]) -> None:
        """Runs once for each row, in order; each run sees what those before it did."""
        if len(rows) == 1:
            self.run(conn, rows[0])
        elif rows:
            sql, parameters = self._compiled.get(conn.dialect.name) or self._compile(conn.dialect)
            driver: Any = conn.connection.dbapi_connection
            driver.cursor().executemany(sql, [parameters(row) for row in rows])

    def _compile(self, dialect: Dialect) -> _Compiled:
        compiled = self._clause.compile(dialect=dialect)
        sql, names = str(compiled), getattr(compiled, "positiontup", None)
        if names is None:  # PostgreSQL's driver takes parameters by name, SQLite's by position
            self._compiled[dialect.name] = sql, lambda values: values
        elif len(names) > 1:  # `itemgetter` makes a tuple of two or more, in a third of the time
            self._compiled[dialect.name] = sql, itemgetter(*names)
        else:
            self._compiled[dialect.name] = sql, lambda values: [values[name] for name in names]
        return self._compiled[dialect.name]


def storable(text: str) -> str:
    """Returns the text without what a database refuses."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def index_key(text: str) -> str:
    """Returns the text for an indexed column. Different texts stay different: a long one ends in its digest."""
    if len(text) <= MAX_KEY_BYTES and text.isascii() and "\0" not in text:
        return text
    text = storable(text)
    if len(text) * 4 <= MAX_KEY_BYTES or len(data := text.encode()) <= MAX_KEY_BYTES:
        return text
    return f"{data[: MAX_KEY_BYTES - 70].decode(errors='ignore')}…{hashlib.sha256(data).hexdigest()}"


def index_keys(**texts: str) -> dict[str, str]:
    """`index_key` of several columns, by name."""
    together = "".join(texts.values())
    # Nearly always all of them are short and plain, and one check will do.
    if len(together) <= MAX_KEY_BYTES and together.isascii() and "\0" not in together:
        return texts
    return {name: index_key(text) for name, text in texts.items()}


def to_json(value: Sequence[object] | Mapping[str, object]) -> str:
    """JSON in ASCII: escapes carry what text columns cannot."""
    if not value:
        return "{}" if isinstance(value, Mapping) else "[]"
    return _encode_json(value)


def texts_to_json(texts: Sequence[str]) -> str:
    """`to_json` for texts alone, in a fifth of the time: every callback has some."""
    return f"[{','.join(map(_json_string, texts))}]" if texts else "[]"


def pairs_to_json(pairs: Sequence[tuple[str, str]]) -> str:
    """`to_json` for headers, as fast as `texts_to_json`."""
    texts = [f"[{_json_string(name)},{_json_string(value)}]" for name, value in pairs]
    return f"[{','.join(texts)}]"


def pairs_from_json(text: str) -> tuple[tuple[str, str], ...]:
    """Headers from a column, in their order."""
    return tuple(map(tuple, _decode_json(text)[0])) if text != "[]" else ()
