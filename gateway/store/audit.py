"""The audit trail: who did what, from where, and when. Only the sweep deletes from it, after its own retention."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection

from gateway.store.statement import Statement, index_key, storable, to_json

_COLUMNS = "at, who, remote, action, subject, details"
RECORD = Statement(f"""
    INSERT INTO audit ({_COLUMNS}, once) VALUES (:at, :who, :remote, :action, :subject, :details, :once)
    ON CONFLICT (once) DO NOTHING
""")  # noqa: S608
NEWEST = Statement(f"""
    SELECT id, {_COLUMNS} FROM audit
     WHERE id < :before AND (:who = '' OR who = :who) AND (:action = '' OR action = :action)
     ORDER BY id DESC LIMIT :most
""")  # noqa: S608
SWEEP = Statement("""
    DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < :before ORDER BY at LIMIT :most)
""")
NEWEST_ID = 2**62  # larger than any id


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One thing that somebody did. No text of a message and no whole phone number stands in it."""

    at: float  # epoch seconds
    who: str  # an operator's name; of a command, the system's user: ``root (command)``; ``configuration``
    action: str  # ``login``, ``replay``, …: a word or two that can be searched for
    subject: str = ""  # what it was done to: an endpoint, an event's id, a file
    remote: str = ""  # the caller's address; empty for commands
    details: Mapping[str, object] = field(default_factory=dict)
    id: int = 0


def record(conn: Connection, entry: AuditEntry, once: str | None = None) -> bool:
    """Adds an entry, and a line to the log of a process that has one.
    `once`: a name for what several processes see at the same time; only the first adds it."""
    values = {
        "at": entry.at,
        "who": index_key(entry.who),
        "remote": storable(entry.remote),
        "action": entry.action,
        "subject": storable(entry.subject),
        "details": to_json(entry.details),
        "once": once,
    }
    is_new = RECORD.run(conn, values).rowcount == 1
    if is_new and structlog.is_configured():  # a command has no log, only its user's terminal
        line = {name: getattr(entry, name) for name in ("who", "remote", "action", "subject", "details")}
        structlog.get_logger().info("audit", **line)
    return is_new


def newest(
    conn: Connection, most: int, *, before: int = NEWEST_ID, who: str = "", action: str = ""
) -> list[AuditEntry]:
    """Reads. Returns entries with smaller ids than `before`, the newest first; an empty `who` or `action` is any."""
    values = {"before": before, "who": index_key(who), "action": action, "most": most}
    return [
        AuditEntry(
            id=row[0], at=row[1], who=row[2], remote=row[3], action=row[4], subject=row[5], details=json.loads(row[6])
        )
        for row in NEWEST.run(conn, values).fetchall()
    ]


def sweep(conn: Connection, before: float, most: int) -> int:
    """Deletes up to `most` entries older than that. Returns how many."""
    return SWEEP.run(conn, {"before": before, "most": most}).rowcount
