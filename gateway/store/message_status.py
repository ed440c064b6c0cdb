"""What is known of a message's way, so that nothing goes out twice, and nothing goes backwards.

One row for each (message, recipient), with every status that was ever noted: a single insert for the first, which is
all that most messages ever need. That insert is also the lock between two machines that are told the same at once.
"""

from __future__ import annotations

import json
from typing import Literal

from sqlalchemy import Connection, bindparam, select

from gateway.store import schema
from gateway.store.statement import Statement, index_key, texts_to_json
from schemas.status import is_final, supersedes

Verdict = Literal["new", "duplicate", "stale"]

MOST_SEEN = 64
"""Statuses remembered for one message: the flow has nine, a caller may make up any number."""

_COLUMN = schema.states.c
FIRST = Statement(
    """
    INSERT INTO states (message_sid, recipient, status, final, seen, updated_at)
    VALUES (:message_sid, :recipient, :status, :final, :seen, :now)
    ON CONFLICT (message_sid, recipient) DO NOTHING
    """
)
KNOWN = Statement(
    select(_COLUMN.status, _COLUMN.final, _COLUMN.seen)
    .where(_COLUMN.message_sid == bindparam("message_sid"), _COLUMN.recipient == bindparam("recipient"))
    .with_for_update()
)
AGAIN = Statement(
    """
    UPDATE states SET status = :status, final = :final, seen = :seen, updated_at = :now
     WHERE message_sid = :message_sid AND recipient = :recipient
    """
)


def record_status(conn: Connection, message_sid: str, recipient: str, status: str, now: float) -> Verdict:
    """Notes that the message reached this status at this recipient; the answer is whether that is to go out.

    ``duplicate``: the very same was noted before. ``stale``: one that was noted is newer in the flow, or final and
    this is not. Between machines the row stays locked until the commit.
    """
    status = index_key(status)
    noted = {
        "message_sid": index_key(message_sid),
        "recipient": index_key(recipient),
        "status": status,
        "final": is_final(status),
        "seen": texts_to_json((status,)),
        "now": now,
    }
    while not FIRST.run(conn, noted).rowcount:
        known = KNOWN.run(conn, noted).fetchone()
        if known is None:  # the sweep took it away this very moment
            continue
        newest, final, seen = known[0], bool(known[1]), json.loads(known[2])
        if status in seen:
            return "duplicate"
        # All of them are asked, not the newest alone: a word that nobody knows would hide what came before it.
        new = all(supersedes(one, status) for one in (newest, *seen))
        same = {} if new else {"status": newest, "final": final}
        AGAIN.run(conn, noted | same | {"seen": texts_to_json([*seen[-(MOST_SEEN - 1) :], status])})
        return "new" if new else "stale"
    return "new"
