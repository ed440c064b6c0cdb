"""`getTransactionStatus` and `getCustomTransactionStatus`: the statuses of a call's messages, from the ledger."""

from __future__ import annotations

from gateway.config import Config
from gateway.outbound import validate
from gateway.outbound.model import CallAnswer, ErrorCode, StatusQuery, StatusRow
from gateway.store import Store, ledger
from gateway.store.ledger import LedgerEntry
from schemas.fields import number as normalised
from schemas.status import NUMERIC

OPTED_OUT = 110
"""The `status_code` of a recipient who has opted out. Legacy applications read 110 to 116 as failed."""
UNKNOWN = 102
"""The `status_code` of a text of which nobody can tell yet whether it was sent."""
_NEVER_ARRIVED = frozenset(("undelivered", "timed_out", "sending_failed", "failed"))


def statuses(query: StatusQuery, config: Config, store: Store) -> list[StatusRow] | CallAnswer:
    """One row for each recipient, or a `CallAnswer` that says why there is none. Raises `StoreUnavailable`."""
    try:
        validate.authenticate(query.auth, config)
    except validate.CallRefused as error:
        return error.answer()
    phone = normalised(query.phone, config.prefix) if query.phone.strip() else ""
    entries: list[LedgerEntry] = []
    with store.reader() as conn:
        if query.ticket.strip():
            entries = ledger.of_ticket(conn, query.ticket)
        elif query.custom_ticket:
            entries = ledger.of_custom_ticket(conn, query.custom_ticket)
    rows = [_row(entry) for entry in entries if phone in ("", entry.phone)]
    return rows or CallAnswer(
        result=False,
        error_code=ErrorCode.UNKNOWN_TICKET.value,
        message=ErrorCode.UNKNOWN_TICKET.sentence,
        custom_ticket=query.custom_ticket,
        ticket=query.ticket,
    )


def _row(entry: LedgerEntry) -> StatusRow:
    if entry.state == "refused":
        is_out = entry.reason == ErrorCode.OPTED_OUT.sentence
        code, word = (OPTED_OUT, "opted out") if is_out else (int(NUMERIC["failed"]), entry.status or "failed")
    elif entry.state == "undecided":
        code, word = UNKNOWN, "unknown"
    else:
        code, word = int(NUMERIC.get(entry.status, NUMERIC["queued"])), entry.status or "queued"
    result = entry.status not in _NEVER_ARRIVED
    return StatusRow(phone=entry.phone, status_code=code, status_message=word, result=result)
