"""The console's sessions. One that is not here has ended, on every machine at once.

A session is known by the SHA-256 of the random id in its cookie: who reads the database cannot use any of them.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection

from gateway.store.statement import Statement, index_key, storable

_COLUMNS = "id, operator, password_mark, remote, began_at, seen_at"
BEGIN = Statement(f"""
    INSERT INTO sessions ({_COLUMNS}) VALUES (:id, :operator, :password_mark, :remote, :began_at, :seen_at)
""")  # noqa: S608
FIND = Statement(f"SELECT {_COLUMNS} FROM sessions WHERE id = :id")  # noqa: S608
OF_OPERATOR = Statement(f"SELECT {_COLUMNS} FROM sessions WHERE operator = :operator ORDER BY seen_at DESC")  # noqa: S608
SEEN = Statement("UPDATE sessions SET seen_at = :now WHERE id = :id AND seen_at < :now")
END = Statement("DELETE FROM sessions WHERE id = :id")
END_ALL = Statement("DELETE FROM sessions WHERE operator = :operator")
SWEEP = Statement("DELETE FROM sessions WHERE began_at < :began_before OR seen_at < :seen_before")


class Session(NamedTuple):
    """One login. Times are epoch seconds."""

    id: str
    operator: str
    password_mark: str  # changes with the operator's password
    remote: str  # the address of the login
    began_at: float
    seen_at: float


def begin(conn: Connection, session: Session, began_before: float, seen_before: float) -> None:
    """Keeps a new session, and deletes those that began, or were seen last, before these times."""
    SWEEP.run(conn, {"began_before": began_before, "seen_before": seen_before})
    texts = {"operator": index_key(session.operator), "remote": storable(session.remote)}
    BEGIN.run(conn, session._asdict() | texts)


def find(conn: Connection, session_id: str) -> Session | None:
    """Reads. Returns None after its end."""
    row = FIND.run(conn, {"id": session_id}).fetchone()
    return None if row is None else Session(*row)


def of_operator(conn: Connection, operator: str) -> list[Session]:
    """Reads. Returns the operator's sessions, the last seen first."""
    return [Session(*row) for row in OF_OPERATOR.run(conn, {"operator": index_key(operator)}).fetchall()]


def mark_seen(conn: Connection, session_id: str, now: float) -> None:
    SEEN.run(conn, {"id": session_id, "now": now})


def end(conn: Connection, session_id: str) -> None:
    END.run(conn, {"id": session_id})


def end_all(conn: Connection, operator: str) -> int:
    """Ends all sessions of an operator. Returns how many."""
    return END_ALL.run(conn, {"operator": index_key(operator)}).rowcount
