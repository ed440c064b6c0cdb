"""`getTransactionStatus` and `getCustomTransactionStatus`: what became of a call's messages, from the ledger."""

from __future__ import annotations

from gateway.config import Config
from gateway.outbound import codes, validate
from gateway.outbound.model import CallAnswer, StatusQuery, StatusRow
from gateway.outbound.validate import CallRefused
from gateway.store import Connection, Store, ledger
from gateway.store.ledger import LedgerEntry
from schemas.fields import number as normalised
from schemas.status import NUMERIC

_UNDER_WAY = int(NUMERIC["queued"])
_FAILED = int(NUMERIC["failed"])
_NEVER_ARRIVED = frozenset(("undelivered", "timed_out", "sending_failed", "failed"))


def statuses(query: StatusQuery, config: Config, store: Store) -> list[StatusRow] | CallAnswer:
    """One row for each recipient; an `CallAnswer` says why there is none. Raises `StoreUnavailable`."""
    try:
        validate.authenticate(query.auth, config)
    except CallRefused as error:
        return CallAnswer(result=False, error_code=error.code, message=codes.SENTENCES[error.code], is_forbidden=True)
    phone = normalised(query.phone, config.prefix) if query.phone.strip() else ""
    with store.reader() as conn:
        found = [_row(entry) for entry in _entries(conn, query) if phone in ("", entry.phone)]
    return found or _unknown(query)


def _entries(conn: Connection, query: StatusQuery) -> list[LedgerEntry]:
    if query.ticket.strip():
        return ledger.of_ticket(conn, query.ticket)
    return ledger.of_custom_ticket(conn, query.custom_ticket) if query.custom_ticket else []


def _unknown(query: StatusQuery) -> CallAnswer:
    return CallAnswer(
        result=False,
        error_code=codes.UNKNOWN_TICKET,
        message=codes.SENTENCES[codes.UNKNOWN_TICKET],
        custom_ticket=query.custom_ticket,
        ticket=query.ticket,
    )


def _row(entry: LedgerEntry) -> StatusRow:
    code, words = _said(entry)
    return StatusRow(
        phone=entry.phone, status_code=code, status_message=words, result=entry.status not in _NEVER_ARRIVED
    )


def _said(entry: LedgerEntry) -> tuple[int, str]:
    if entry.state == "refused":
        out = entry.reason == codes.SENTENCES[codes.OPTED_OUT]
        return (codes.STATUS_OPTED_OUT, "opted out") if out else (_FAILED, entry.status or "failed")
    if entry.state == "undecided":
        return codes.STATUS_UNKNOWN, "unknown"
    return int(NUMERIC.get(entry.status, _UNDER_WAY)), entry.status or "queued"
