"""The last status of every message, so that nothing is passed on twice or backwards; the last custom_ticket between a
number and a phone, which a keyword callback hands back; and opt-outs, which are never deleted: they hold until the
phone opts in again.

The status of a message has one row for each (message, recipient), with every status that was ever recorded: a single
insert for the first, which is all that most messages ever need. That insert is also the lock between two machines that
receive the same status at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, bindparam, select

from gateway.store import schema
from gateway.store.statement import Cursor, Statement, index_key, index_keys, storable, texts_to_json
from schemas.status import supersedes

Verdict = Literal["new", "duplicate", "stale"]

MAX_STATUSES = 64  # statuses remembered for one message: the flow has nine, a caller may make up any number

_COLUMN = schema.states.c
FIRST_STATUS = Statement("""
    INSERT INTO states (message_sid, recipient, status, seen, updated_at)
    VALUES (:message_sid, :recipient, :status, :seen, :now)
    ON CONFLICT (message_sid, recipient) DO NOTHING
""")
KNOWN_STATUS = Statement(
    select(_COLUMN.status, _COLUMN.seen)
    .where(_COLUMN.message_sid == bindparam("message_sid"), _COLUMN.recipient == bindparam("recipient"))
    .with_for_update()
)
NEXT_STATUS = Statement("""
    UPDATE states SET status = :status, seen = :seen, updated_at = :now
     WHERE message_sid = :message_sid AND recipient = :recipient
""")

# "Last" is by the time of sending, not of recording: two machines may record in either order.
REMEMBER_TICKET = Statement("""
    INSERT INTO tickets (number, phone, custom_ticket, sent_at) VALUES (:number, :phone, :custom_ticket, :sent_at)
    ON CONFLICT (number, phone) DO UPDATE SET custom_ticket = excluded.custom_ticket, sent_at = excluded.sent_at
     WHERE excluded.sent_at >= tickets.sent_at
""")
LAST_TICKET = Statement("SELECT custom_ticket FROM tickets WHERE number = :number AND phone = :phone")

# The latest counts, by the time at which the phone sent it: an import may bring older ones.
RECORD_OPT_OUT = Statement("""
    INSERT INTO opt_outs (number, phone, out, word, at) VALUES (:number, :phone, :out, :word, :at)
    ON CONFLICT (number, phone) DO UPDATE SET out = excluded.out, word = excluded.word, at = excluded.at
     WHERE excluded.at >= opt_outs.at
""")
_OPT_OUTS = "SELECT number, phone, out, word, at FROM opt_outs WHERE"
OPT_OUT = Statement(f"{_OPT_OUTS} number = :number AND phone = :phone")
OPT_OUTS_OF_NUMBER = Statement(f"{_OPT_OUTS} number = :number AND phone > :phone ORDER BY phone LIMIT :most")
OPT_OUTS_AFTER = Statement(
    f"{_OPT_OUTS} number > :number OR (number = :number AND phone > :phone) ORDER BY number, phone LIMIT :most"
)
# From number to number along the primary key, with one look-up of the phone at each.
OPT_OUTS_OF_PHONE = Statement("""
    WITH RECURSIVE each (number) AS (
        SELECT (SELECT min(number) FROM opt_outs)
        UNION ALL
        SELECT (SELECT min(o.number) FROM opt_outs o WHERE o.number > each.number)
          FROM each WHERE each.number IS NOT NULL
    )
    SELECT o.number, o.phone, o.out, o.word, o.at
      FROM each JOIN opt_outs o ON o.number = each.number AND o.phone = :phone
""")
COUNT_OPT_OUTS = Statement("SELECT count(*) FROM opt_outs WHERE out")


@dataclass(frozen=True, slots=True)
class OptOut:
    number: str
    phone: str
    out: bool  # False: it was out, and came back
    word: str
    at: float  # epoch seconds


def record_status(conn: Connection, message_sid: str, recipient: str, status: str, now: float) -> Verdict:
    """Records that the message has reached this status at this recipient; the answer is whether to pass it on.
    ``duplicate``: the very same was recorded before. ``stale``: a recorded one is newer in the flow, or final where
    this one is not. Between machines the row stays locked until the commit."""
    keys = index_keys(message_sid=message_sid, recipient=recipient, status=status)
    status = keys["status"]
    values = keys | {"seen": texts_to_json((status,)), "now": now}
    while not FIRST_STATUS.run(conn, values).rowcount:
        known = KNOWN_STATUS.run(conn, values).fetchone()
        if known is None:  # the sweep deleted it this very moment
            continue
        newest, seen = known[0], json.loads(known[1])
        if status in seen:
            return "duplicate"
        # Compared with all of them, not with the newest alone: a word that nobody knows would hide what came before.
        is_new = all(supersedes(earlier, status) for earlier in (newest, *seen))
        kept = {} if is_new else {"status": newest}
        NEXT_STATUS.run(conn, values | kept | {"seen": texts_to_json([*seen[-(MAX_STATUSES - 1) :], status])})
        return "new" if is_new else "stale"
    return "new"


def remember_custom_ticket(conn: Connection, number: str, phone: str, custom_ticket: str, sent_at: float) -> None:
    """Remembers the custom_ticket of a message that was sent; one older than the one known changes nothing."""
    values = {"custom_ticket": storable(custom_ticket), "sent_at": sent_at}
    REMEMBER_TICKET.run(conn, index_keys(number=number, phone=phone) | values)


def last_custom_ticket(conn: Connection, number: str, phone: str) -> str:
    """Reads. Returns the custom_ticket of the last message sent; empty if there was none, or it had none."""
    row = LAST_TICKET.run(conn, index_keys(number=number, phone=phone)).fetchone()
    return str(row[0]) if row else ""


def record_opt_out(conn: Connection, number: str, phone: str, word: str, at: float, *, out: bool) -> bool:
    """Records that the phone has said this word to the number. False: a later one is known."""
    values = {"out": out, "word": storable(word), "at": at}
    return RECORD_OPT_OUT.run(conn, index_keys(number=number, phone=phone) | values).rowcount == 1


def opt_out_of(conn: Connection, number: str, phone: str) -> OptOut | None:
    """Reads. Returns what was said last."""
    return next(iter(_opt_outs(OPT_OUT.run(conn, index_keys(number=number, phone=phone)))), None)


def has_opted_out(conn: Connection, number: str, phone: str) -> bool:
    """Reads. True: nothing may be sent there."""
    found = opt_out_of(conn, number, phone)
    return found is not None and found.out


def opt_outs_after(conn: Connection, after: tuple[str, str] = ("", ""), most: int = 500) -> list[OptOut]:
    """Reads. Returns those that come after this number and phone, in their order."""
    return _opt_outs(OPT_OUTS_AFTER.run(conn, {"number": after[0], "phone": after[1], "most": most}))


def opt_outs_of_phone(conn: Connection, phone: str) -> list[OptOut]:
    """Reads. Returns what a phone has said to any number, in the order of the numbers."""
    found = _opt_outs(OPT_OUTS_OF_PHONE.run(conn, {"phone": index_key(phone)}))
    return sorted(found, key=lambda opt_out: opt_out.number)


def opt_outs_of_number(conn: Connection, number: str, after: str = "", most: int = 500) -> list[OptOut]:
    """Reads. Returns what was said to a number by phones that come after this one, in their order."""
    return _opt_outs(OPT_OUTS_OF_NUMBER.run(conn, {"number": index_key(number), "phone": after, "most": most}))


def count_opt_outs(conn: Connection) -> int:
    """Reads. Returns the pairs of number and phone between which nothing may be sent."""
    return int(COUNT_OPT_OUTS.run(conn).fetchone()[0])


def _opt_outs(cursor: Cursor) -> list[OptOut]:
    return [OptOut(row[0], row[1], bool(row[2]), row[3], row[4]) for row in cursor.fetchall()]
