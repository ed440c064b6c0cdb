"""Keep a legacy call and owe its messages: one transaction, committed and synced before the caller has his ticket."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.config import Config, Number
from gateway.outbound import codes, enqueue, status_posts, validate
from gateway.outbound.model import CallAnswer, SendCall
from gateway.outbound.validate import CallRefused, CheckedCall
from gateway.store import Connection, Store, StoreUnavailable, events, ledger, opt_outs, tickets

PATIENCE = 10.0
_GENERAL = frozenset((codes.CREDENTIALS, codes.STATUS_URL))
"""What a caller is told in one general sentence; the event has the reason."""
OPERATOR = "command"
"""The source of calls from the shell of this machine: whoever is there needs no credentials."""


@dataclass(frozen=True, slots=True)
class AcceptedCall:
    """What became of a call that is on disk."""

    answer: CallAnswer
    endpoints: tuple[str, ...] = ()
    """To whom something is owed now."""
    event_id: int = 0


def accept(call: SendCall, config: Config, store: Store, may_keep: Callable[[], bool] = lambda: True) -> AcceptedCall:
    """Checks, keeps and owes. Raises `StoreUnavailable`; every other fault is an answer.

    `may_keep` is asked where the credentials are wrong: anybody can call, and must not fill the disk.
    """
    if not store.has_room():
        raise StoreUnavailable("the disk is nearly full")
    try:
        if call.source != OPERATOR:
            validate.authenticate(call.auth, config)
        work = _AcceptCall(call, validate.check(call, config), config)
    except CallRefused as error:
        if error.code == codes.CREDENTIALS and not may_keep():
            return AcceptedCall(_refusal(call, error))
        return _refuse(call, error, config, store)
    return store.writer.write(work, timeout=PATIENCE, ordering_keys=work.ordering_keys)


def malformed(
    name: str,
    faults: Mapping[str, Sequence[str]],
    body: bytes,
    content_type: str,
    remote: str,
    now: datetime,
    store: Store,
) -> None:
    """Keeps a call that cannot be read; `body` without credentials. Raises `StoreUnavailable`."""
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
    store.writer.write(lambda conn: events.add(conn, new), timeout=PATIENCE)


def _refuse(call: SendCall, error: CallRefused, config: Config, store: Store) -> AcceptedCall:
    number = config.number_for(call.auth.code) if call.auth.code.strip() else None
    new = _event(call, number, "refused", "", error)
    event_id = store.writer.write(lambda conn: events.add(conn, new), timeout=PATIENCE)
    return AcceptedCall(_refusal(call, error), event_id=event_id)


def _refusal(call: SendCall, error: CallRefused) -> CallAnswer:
    return CallAnswer(
        result=False,
        error_code=error.code,
        message=codes.SENTENCES[error.code] if error.code in _GENERAL else error.detail,
        custom_ticket=call.custom_ticket,
        is_forbidden=error.code == codes.CREDENTIALS,
    )


class _AcceptCall:
    """The transaction of one call. The writer runs it, alone or among others, perhaps a second time."""

    def __init__(self, call: SendCall, checked: CheckedCall, config: Config) -> None:
        self._call, self._checked, self._config = call, checked, config
        self._ticket, self._now = enqueue.new_ticket(), call.now.timestamp()
        self._number = checked.number.number
        self.ordering_keys = tuple(enqueue.conversation_key(self._number, one.phone) for one in checked.texts)

    def __call__(self, conn: Connection) -> AcceptedCall:
        out = {one.phone for one in self._checked.texts if opt_outs.has_opted_out(conn, self._number, one.phone)}
        if len(out) == len(self._checked.texts):
            error = CallRefused(codes.OPTED_OUT)
            event_id = events.add(conn, _event(self._call, self._checked.number, "refused", "", error))
            return AcceptedCall(_refusal(self._call, error), event_id=event_id)
        return self._accept(conn, out)

    def _accept(self, conn: Connection, out: set[str]) -> AcceptedCall:
        event_id = events.add(conn, _event(self._call, self._checked.number, "accepted", self._ticket))
        told = enqueue.ticket_for_caller(self._ticket, event_id, self._config)
        for one in self._checked.texts:
            if one.phone not in out:
                enqueue.enqueue(conn, event_id, self._outgoing(one.phone, one.text), self._config, self._now)
                tickets.remember_custom_ticket(conn, self._number, one.phone, self._call.custom_ticket, self._now)
        reasons = dict.fromkeys(out, codes.SENTENCES[codes.OPTED_OUT])
        reasons |= dict.fromkeys(self._checked.bad, "This is no phone number.")
        endpoints = {ledger.ENDPOINT, *self._refuse_some(conn, event_id, reasons)}
        answer = CallAnswer(
            result=True, message=_left_out(len(reasons)), custom_ticket=self._call.custom_ticket, ticket=told
        )
        return AcceptedCall(answer, tuple(endpoints), event_id)

    def _refuse_some(self, conn: Connection, event_id: int, reasons: Mapping[str, str]) -> set[str]:
        """Others of the same call get theirs; these have a final status at once."""
        told: set[str] = set()
        for phone, reason in reasons.items():
            send_id = enqueue.record_refused(conn, event_id, self._outgoing(phone, ""), reason, self._config, self._now)
            entry = ledger.of_send(conn, send_id)
            assert entry is not None, "it was added just now"  # noqa: S101
            told |= status_posts.mark_failed(conn, entry, self._config, self._now)
        return told

    def _outgoing(self, phone: str, text: str) -> enqueue.OutgoingText:
        call = self._call
        return enqueue.OutgoingText(
            number=self._number,
            code=self._checked.number.shortcode,
            phone=phone,
            text=text,
            origin="command" if call.source == OPERATOR else "legacy",
            ticket=self._ticket,
            custom_ticket=call.custom_ticket,
            status_url=call.status_url,
            media_urls=call.media_urls,
        )


def _left_out(count: int) -> str:
    return f"Left out: {count} of the recipients; their status tells." if count else ""


def _event(
    call: SendCall, number: Number | None, state: str, ticket: str, error: CallRefused | None = None
) -> events.NewEvent:
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
        body=b"" if error is not None and error.code == codes.CREDENTIALS else call.body,
        errors={} if error is None else {_FIELDS[error.code]: (error.detail,)},
        notes=(f"The call {call.name}; recipients: {len(call.recipients)}.",),
        remote=call.remote,
    )


_FIELDS: Mapping[int, str] = {
    codes.CREDENTIALS: "credentials",
    codes.CODE: "code",
    codes.RECIPIENTS: "recipients",
    codes.OPTED_OUT: "recipients",
    codes.MESSAGE: "message",
    codes.TEMPLATE: "template",
    codes.STATUS_URL: "status_url",
    codes.CUSTOM_TICKET: "custom_ticket",
}
