"""Answers legacy calls: keeps a call and owes its texts, or gives the status of an earlier call's texts.

A call and its texts are one transaction, committed and synced before the caller gets the ticket.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.config import Config, Number
from gateway.outbound import enqueue, status_posts, validate
from gateway.outbound.model import CallAnswer, ErrorCode, SendCall, StatusQuery, StatusRow
from gateway.outbound.validate import CallRefused, CheckedCall
from gateway.store import Connection, Store, StoreUnavailable, events, ledger, message_status
from schemas.fields import number as normalised
from schemas.status import NUMERIC

OPERATOR = "command"  # the source of calls from the shell of this machine: an operator needs no credentials
OPTED_OUT_STATUS_CODE = 110
"""The `status_code` of a recipient who has opted out. Legacy applications read 110 to 116 as failed."""
UNKNOWN_STATUS_CODE = 102  # the `status_code` of a text that may or may not have been sent: it is not known yet
_NEVER_ARRIVED = frozenset(("undelivered", "timed_out", "sending_failed", "failed"))


@dataclass(frozen=True, slots=True)
class AcceptedCall:
    """The answer to a call, and what is on disk for it."""

    answer: CallAnswer
    endpoints: tuple[str, ...] = ()  # the names of those that something is owed to now
    event_id: int = 0


def accept(call: SendCall, config: Config, store: Store, may_keep: Callable[[], bool] = lambda: True) -> AcceptedCall:
    """Checks the call, keeps it and owes its texts. Raises `StoreUnavailable`; every other fault is an answer.
    `may_keep` is called where the credentials are wrong: anybody can make such a call, and must not fill the disk."""
    if not store.has_room():
        raise StoreUnavailable("the disk is nearly full")
    try:
        if call.source != OPERATOR:
            validate.authenticate(call.auth, config)
        work = _AcceptCall(call, validate.check(call, config), config)
    except CallRefused as error:
        answer = error.answer(call.custom_ticket)
        if error.code is ErrorCode.CREDENTIALS and not may_keep():
            return AcceptedCall(answer)
        number = config.number_for(call.auth.code)
        new = _event(call, number, "refused", error=error)
        event_id = store.writer.write(lambda conn: events.add(conn, new))
        return AcceptedCall(answer, event_id=event_id)
    return store.writer.write(work, ordering_keys=work.ordering_keys)


def malformed(
    name: str,
    faults: Mapping[str, Sequence[str]],
    body: bytes,
    content_type: str,
    remote: str,
    now: datetime,
    store: Store,
) -> None:
    """Keeps a call that cannot be read; `body` is without credentials. Raises `StoreUnavailable`."""
    new = events.NewEvent(
        source="legacy-send",
        state="refused",
        received_at=now.timestamp(),
        direction="outbound",
        content_type=content_type,
        body=body,
        errors=faults,
        notes=(f"The call {name} could not be read.",) if name else (),
        remote=remote,
    )
    store.writer.write(lambda conn: events.add(conn, new))


class _AcceptCall:
    """The transaction of one call. The writer runs it, alone or among others, perhaps a second time."""

    def __init__(self, call: SendCall, checked: CheckedCall, config: Config) -> None:
        self._call, self._checked, self._config = call, checked, config
        self._ticket, self._now = str(uuid.uuid4()), call.now.timestamp()
        self._number = checked.number.number
        self.ordering_keys = tuple(enqueue.conversation_key(self._number, phone) for phone in checked.texts)

    def __call__(self, conn: Connection) -> AcceptedCall:
        call, checked, config, now = self._call, self._checked, self._config, self._now
        refused = {
            phone: ErrorCode.OPTED_OUT.sentence
            for phone in checked.texts
            if message_status.has_opted_out(conn, self._number, phone)
        }
        if len(refused) == len(checked.texts):
            error = CallRefused(ErrorCode.OPTED_OUT)
            event_id = events.add(conn, _event(call, checked.number, "refused", error=error))
            return AcceptedCall(error.answer(call.custom_ticket), event_id=event_id)
        event_id = events.add(conn, _event(call, checked.number, "accepted", self._ticket))
        for phone, text in checked.texts.items():
            if phone not in refused:
                enqueue.enqueue(conn, self._new_send(phone, event_id), text, now, call.media_urls)
                message_status.remember_custom_ticket(conn, self._number, phone, call.custom_ticket, now)
        # These recipients have a final status at once, the others get their texts all the same.
        refused |= dict.fromkeys(checked.bad, "This is no phone number.")
        endpoints = {ledger.ENDPOINT}
        for phone, reason in refused.items():
            new = self._new_send(phone, event_id, state="refused", status="failed", reason=reason)
            ledger.add_send(conn, new, now)
            entry = ledger.of_send(conn, new.send_id)
            assert entry is not None, "it was added just now"  # noqa: S101
            endpoints |= status_posts.mark_failed(conn, entry, config, now)
        answer = CallAnswer(
            result=True,
            message=f"Left out: {len(refused)} of the recipients; their status tells." if refused else "",
            custom_ticket=call.custom_ticket,
            ticket=enqueue.ticket_for_caller(self._ticket, event_id, config),
        )
        return AcceptedCall(answer, tuple(endpoints), event_id)

    def _new_send(self, phone: str, event_id: int, **refusal: str) -> ledger.NewSend:
        return enqueue.new_send(
            self._checked.number,
            phone,
            self._ticket,
            event_id,
            self._config,
            self._now,
            origin="command" if self._call.source == OPERATOR else "legacy",
            custom_ticket=self._call.custom_ticket,
            status_url=self._call.status_url,
            **refusal,
        )


def _event(
    call: SendCall, number: Number | None, state: str, ticket: str = "", error: CallRefused | None = None
) -> events.NewEvent:
    errors: dict[str, tuple[str, ...]] = {}
    if error is not None:
        # The names of the codes are those of the fields, in capitals, but for this one.
        name = "recipients" if error.code is ErrorCode.OPTED_OUT else error.code.name.lower()
        errors = {name: (error.detail,)}
    return events.NewEvent(
        source=call.source,
        state=state,
        received_at=call.now.timestamp(),
        direction="outbound",
        phone=call.recipients[0].phone if len(call.recipients) == 1 else "",
        number=number.number if number else "",
        keyword=call.auth.keyword,
        ticket=ticket,
        custom_ticket=call.custom_ticket,
        content_type=call.content_type,
        body=b"" if "credentials" in errors else call.body,
        errors=errors,
        notes=(f"The call {call.name}; recipients: {len(call.recipients)}.",),
        remote=call.remote,
    )


def statuses(query: StatusQuery, config: Config, store: Store) -> list[StatusRow] | CallAnswer:
    """One row for each recipient, or a `CallAnswer` that says why there is none. Raises `StoreUnavailable`."""
    try:
        validate.authenticate(query.auth, config)
    except CallRefused as error:
        return error.answer()
    phone = normalised(query.phone, config.prefix)
    with store.reader() as conn:
        if query.ticket.strip():
            entries = ledger.of_ticket(conn, query.ticket)
        else:
            entries = ledger.of_custom_ticket(conn, query.custom_ticket)
    rows = [_row(entry) for entry in entries if phone in ("", entry.phone)]
    return rows or CallRefused(ErrorCode.UNKNOWN_TICKET).answer(query.custom_ticket, query.ticket)


def _row(entry: ledger.LedgerEntry) -> StatusRow:
    if entry.state == "refused":
        is_out = entry.reason == ErrorCode.OPTED_OUT.sentence
        code, word = (OPTED_OUT_STATUS_CODE, "opted out") if is_out else (int(NUMERIC["failed"]), "failed")
    elif entry.state == "undecided":
        code, word = UNKNOWN_STATUS_CODE, "unknown"
    else:
        code, word = int(NUMERIC.get(entry.status, NUMERIC["queued"])), entry.status or "queued"
    result = entry.status not in _NEVER_ARRIVED
    return StatusRow(phone=entry.phone, status_code=code, status_message=word, result=result)
