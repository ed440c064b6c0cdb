"""How often something was done, by whom, counted for all processes together; and which callers were right before.

A window begins with the first count of its name and lasts as long as that count says. One statement counts, so that two
processes never let one more through than one process would.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection

from gateway.store.statement import Statement, index_key

SWEPT_ROWS = 16
"""Windows that are over and deleted with each new one: strangers can make new names, but no table that only grows."""

# A window that ends later than one that begins now was begun before the clock was set back.
COUNT = Statement("""
    INSERT INTO limits (name, until, count) VALUES (:name, :until, :weight)
    ON CONFLICT (name) DO UPDATE
       SET count = CASE WHEN limits.until > :now AND limits.until <= :until THEN limits.count ELSE 0 END + :weight,
           until = CASE WHEN limits.until > :now AND limits.until <= :until THEN limits.until ELSE excluded.until END
    RETURNING count, until
""")
LOOK = Statement("SELECT count, until FROM limits WHERE name = :name AND until > :now AND until <= :until")
# Rows that another process is counting are passed over: two that wait for each other's rows would hold up callbacks.
_OVER = "SELECT name FROM limits WHERE until <= :now ORDER BY until LIMIT :most"
SWEEP = {
    "sqlite": Statement(f"DELETE FROM limits WHERE name IN ({_OVER})"),  # noqa: S608
    "postgresql": Statement(f"DELETE FROM limits WHERE name IN ({_OVER} FOR UPDATE SKIP LOCKED)"),  # noqa: S608
}
# A caller who is known is a window that begins anew with each call.
REMEMBER_CALLER = Statement("""
    INSERT INTO limits (name, until, count) VALUES (:name, :until, 1)
    ON CONFLICT (name) DO UPDATE SET until = excluded.until
""")
KNOWN_CALLER = Statement("SELECT 1 FROM limits WHERE name = :name")


class Window(NamedTuple):
    hits: int
    until: float  # epoch seconds; the next count begins a new window


def count(conn: Connection, name: str, now: float, seconds: float, weight: int = 1) -> Window:
    """Counts it `weight` times more. Returns the window with this count in it."""
    values = {"name": index_key(name), "now": now, "until": now + seconds, "weight": weight}
    row = COUNT.run(conn, values).fetchone()
    if row[0] == weight:
        SWEEP[conn.dialect.name].run(conn, {"now": now, "most": SWEPT_ROWS})
    return Window(*row)


def look(conn: Connection, name: str, now: float, seconds: float) -> Window:
    """Reads. Returns the window as it is; a count of 0 where there is none."""
    row = LOOK.run(conn, {"name": index_key(name), "now": now, "until": now + seconds}).fetchone()
    return Window(*row) if row else Window(0, now)


def remember_caller(conn: Connection, address: str, credential: str, now: float, days: float) -> None:
    """Notes that right credentials came from there; who was not seen for so many days is forgotten.
    `credential`: a name or a digest of it, never the secret itself."""
    REMEMBER_CALLER.run(conn, {"name": _known(address, credential), "until": now + days * 86_400})
    SWEEP[conn.dialect.name].run(conn, {"now": now, "most": SWEPT_ROWS})


def is_known_caller(conn: Connection, address: str, credential: str) -> bool:
    """Reads. True: right credentials came from there before."""
    return KNOWN_CALLER.run(conn, {"name": _known(address, credential)}).fetchone() is not None


def _known(address: str, credential: str) -> str:
    return index_key(f"known {address} {credential}")
