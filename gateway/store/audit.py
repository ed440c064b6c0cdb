"""The audit trail: who did what, from where, and when. Only the sweep deletes from it, after its own retention."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog
from sqlalchemy import Connection

from gateway.config import ConfigError, Settings
from gateway.store.errors import StoreUnavailable
from gateway.store.statement import Statement, index_key, storable, to_json

if TYPE_CHECKING:
    from gateway.store import Store

T = TypeVar("T")

COMMAND = " (command)"  # behind the name of the system's user
CONFIGURATION = "(configuration)"  # who acts where a process reads a changed file; no operator can have the name
MAX_SUBJECT_CHARACTERS = 200
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
    who: str  # an operator's name; of a command, the system's user: ``root (command)``; `CONFIGURATION`
    action: str  # ``login``, ``replay``, …: a word or two that can be searched for
    subject: str = ""  # what it was done to: an endpoint, an event's id, a file
    remote: str = ""  # the caller's address; empty for commands
    details: Mapping[str, object] = field(default_factory=dict)
    id: int = 0


def record(conn: Connection, entry: AuditEntry, once: str | None = None) -> bool:
    """Adds an entry, and a line to the log.
    `once`: a name for what several processes see at the same time; only the first adds it."""
    line = {name: getattr(entry, name) for name in ("who", "remote", "action", "subject", "details")}
    texts = {"remote": storable(entry.remote), "subject": storable(entry.subject[:MAX_SUBJECT_CHARACTERS])}
    keys = {"at": entry.at, "who": index_key(entry.who), "details": to_json(entry.details), "once": once}
    is_new = RECORD.run(conn, line | texts | keys).rowcount == 1
    if is_new and not entry.who.endswith(COMMAND):  # a command has no log, only its user's terminal
        structlog.get_logger().info("audit", **line)
    return is_new


def audited(work: Callable[[Connection], T], entry: AuditEntry | None) -> Callable[[Connection], T]:
    """The operation `work`, with this entry in its transaction: both are kept, or neither."""

    def work_and_record(conn: Connection) -> T:
        answer = work(conn)
        if entry is not None:
            record(conn, entry)
        return answer

    return work_and_record


def follow_configuration(settings: Settings, store: Store) -> None:
    """Records the configuration as this process has read it, and each one that it reads, or refuses, from now on.
    Of several processes with one file the first one does. Nobody waits for that: the file counts already."""

    def submit(version: str, refused: ConfigError | None) -> None:
        faults = [f"{fault.path}:{fault.line}" for fault in refused.faults] if refused else []
        action, details = ("configuration refused", {"faults": faults}) if refused else ("configuration read", {})
        subject = str(settings.current.path)
        entry = AuditEntry(at=time.time(), who=CONFIGURATION, action=action, subject=subject, details=details)
        with suppress(StoreUnavailable):
            store.writer.submit(partial(record, entry=entry, once=f"configuration {version}"))

    settings.on_read = submit
    if settings.version:
        submit(settings.version, None)


def newest(conn: Connection, most: int, before: int = NEWEST_ID, who: str = "", action: str = "") -> list[AuditEntry]:
    """Reads. Returns entries with smaller ids than `before`, the newest first; an empty `who` or `action` is any."""
    values = {"before": before, "who": index_key(who), "action": action, "most": most}
    names, rows = ("id", *_COLUMNS.split(", ")), NEWEST.run(conn, values).fetchall()
    return [AuditEntry(**dict(zip(names, (*row[:-1], json.loads(row[-1])), strict=True))) for row in rows]


def sweep(conn: Connection, before: float, most: int) -> int:
    """Deletes up to `most` entries older than that. Returns how many."""
    return SWEEP.run(conn, {"before": before, "most": most}).rowcount
