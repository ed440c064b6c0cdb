"""Keep a callback and owe its deliveries: one transaction, committed and synced before anybody is answered."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.config import Config, Credentials, Endpoint
from gateway.routing import Route, kind, lane
from gateway.store import Connection, Store, StoreUnavailable, events, outbox, states, tickets
from gateway.translation import read
from schemas import FORMATS, BadCallback, Body, CannotSay, Message, Receipt, credentials, for_recipient

# The platform waits for its answer; what is not on disk by then is not accepted.
PATIENCE = 10.0

HOPS = "X-Gateway-Hops"
MOST_HOPS = 4
"""Gateways that point at each other would pass a text round for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One HTTP request of a platform, as it came."""

    format: str
    """A name of `FORMATS`."""
    body: bytes
    content_type: str | None
    remote: str
    now: datetime
    hops: int = 0
    """How many gateways like this one it came through."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a callback that is on disk."""

    state: str
    """``accepted``, ``duplicate``, ``stale``, ``unrouted`` or ``refused``."""
    event_id: int
    errors: dict[str, tuple[str, ...]] | None = None
    forbidden: bool = False
    endpoints: tuple[str, ...] = ()
    """To whom something is owed now, by their names."""
    orphan: str = ""
    """Of a status update that nobody hears of: ``number`` (it is not one of ours), ``endpoints`` (it has none)."""


@dataclass(frozen=True, slots=True)
class _Letter:
    """One body for one endpoint, and the recipients that it speaks of."""

    endpoint: Endpoint
    kind: str
    lane: str
    body: Body | CannotSay
    recipients: tuple[str, ...]

    def owed(self, hops: int) -> outbox.Owed:
        body = self.body
        if isinstance(body, Body):
            headers = (*body.headers, (HOPS, str(hops + 1)))
            body = Body(content_type=body.content_type, data=body.data, headers=headers, notes=body.notes)
        return outbox.Owed(endpoint=self.endpoint.name, kind=self.kind, lane=self.lane, body=body)


def accept(callback: Callback, config: Config, store: Store) -> Kept:
    """Read, route, translate and keep one callback. Raises `StoreUnavailable`; all else ends up on disk."""
    if not store.has_room():
        raise StoreUnavailable("the disk is nearly full")
    if not _is_known(callback, config.legacy):
        return _refuse(callback, store, BadCallback({"credentials": ("Not the configured ones.",)}), forbidden=True)
    if callback.hops > MOST_HOPS:
        return _refuse(callback, store, BadCallback({HOPS: ("It goes in circles between gateways.",)}))
    try:
        work = _prepared(callback, outbox.new_id(callback.now.timestamp()), config)
    except BadCallback as error:
        return _refuse(callback, store, error)
    return store.writer.write(work, timeout=PATIENCE, lanes=work.lanes)


def _is_known(callback: Callback, expected: Credentials | None) -> bool:
    """Keyword callbacks carry the trio where the company has one; status posts are documented without it."""
    if expected is None or callback.format == "carrierx":
        return True
    given = credentials.read(callback.body, callback.content_type)
    if callback.format == "legacy-status" and not given:
        return True
    pairs = [(getattr(expected, name), given.get(name, "")) for name in credentials.CREDENTIALS]
    # All of them are compared, so that the time does not tell which one is wrong.
    same = [hmac.compare_digest(want.encode(), got.encode()) for want, got in pairs if want]
    return all(same)


def _letters(message: Message, way: Route) -> tuple[_Letter, ...]:
    """Every body that the event owes, translated now: each attempt will send the same bytes."""
    return tuple(letter for endpoint in way.endpoints for letter in _for_endpoint(message, endpoint))


def _for_endpoint(message: Message, endpoint: Endpoint) -> list[_Letter]:
    how = kind(endpoint, message)
    if how != "legacy-status":
        return [_letter(message, endpoint, how, message.recipients)]
    # A status post has room for one recipient: a group gets one each.
    return [_letter(for_recipient(message, one), endpoint, how, (one,)) for one in message.recipients]


def _letter(message: Message, endpoint: Endpoint, how: str, recipients: tuple[str, ...]) -> _Letter:
    try:
        body: Body | CannotSay = FORMATS[how].dump(message, endpoint.manners)
    except CannotSay as error:
        body = error
    return _Letter(endpoint, how, lane(endpoint, message), body, recipients)


class _Work:
    """The transaction of one callback. The writer runs it, alone or among others, perhaps a second time."""

    def __init__(self, callback: Callback, message: Message, way: Route) -> None:
        self._callback, self._message, self._way = callback, message, way
        # Translated, and scrubbed, before the transaction: while it lasts, nobody else can write.
        self._letters = _letters(message, way)
        self._body = _kept_bytes(callback)
        self.lanes = tuple(letter.lane for letter in self._letters)

    @property
    def goes_somewhere(self) -> bool:
        return bool(self._way.endpoints)

    def __call__(self, connection: Connection) -> Kept:
        fresh, state = self._news(connection)
        orphan = self._orphan if state == "accepted" else ""
        if state == "accepted":
            self._put_in_ticket(connection)
        if state == "accepted" and not self.goes_somewhere and (self._message.inbound or self._way.number is None):
            state = "unrouted"
        event_id = self._add(connection, state)
        if state == "accepted":
            self._owe(connection, event_id, fresh)
            self._note_ticket(connection)
        owing = tuple(one.name for one in self._way.endpoints) if state == "accepted" else ()
        return Kept(state, event_id, endpoints=owing, orphan=orphan)

    @property
    def _orphan(self) -> str:
        if self._message.inbound or self.goes_somewhere:
            return ""
        return "number" if self._way.number is None else "endpoints"

    def again(self, connection: Connection, event_id: int) -> bool:
        """The same for an event that was kept without a route."""
        if not events.routed(connection, event_id, self._message.keyword, (*self._message.notes, self._way.why)):
            return False
        self._put_in_ticket(connection)
        self._owe(connection, event_id, frozenset(self._message.recipients))
        return True

    def _news(self, connection: Connection) -> tuple[frozenset[str], str]:
        """The recipients for whom this says something new, and the event's state."""
        message, at = self._message, self._callback.now.timestamp()
        if message.inbound and self._callback.format != "carrierx":
            # Each keyword callback is a text of its own: the platform gives them no id.
            return frozenset(message.recipients), "accepted"
        said = {
            one: states.note(connection, message.message_sid, one, message.status, at) for one in message.recipients
        }
        fresh = frozenset(one for one, news in said.items() if news == "new")
        if fresh:
            return fresh, "accepted"
        return fresh, "stale" if "stale" in said.values() else "duplicate"

    def _add(self, connection: Connection, state: str) -> int:
        message, callback = self._message, self._callback
        return events.add(
            connection,
            events.New(
                source=callback.format,
                state=state,
                received_at=callback.now.timestamp(),
                direction=message.direction,
                phone=message.phone,
                number=message.number,
                keyword=message.keyword,
                message_sid=message.message_sid,
                status=message.status,
                ticket=message.ticket,
                custom_ticket=message.custom_ticket,
                content_type=callback.content_type,
                body=self._body,
                notes=(*message.notes, self._way.why),
                remote=callback.remote,
            ),
        )

    def _owe(self, connection: Connection, event_id: int, fresh: frozenset[str]) -> None:
        owed = [letter.owed(self._callback.hops) for letter in self._letters if fresh.intersection(letter.recipients)]
        outbox.owe(connection, event_id, owed, self._callback.now.timestamp())

    def _put_in_ticket(self, connection: Connection) -> None:
        """The `custom_ticket` of the last message sent to that phone from that number. Most texts answer none."""
        message = self._message
        if not message.inbound or message.legacy is not None:
            return
        ticket = tickets.last(connection, message.number, message.phone)
        if ticket and ticket != message.custom_ticket:
            self._message = message.but(custom_ticket=ticket)
            self._letters = _letters(self._message, self._way)

    def _note_ticket(self, connection: Connection) -> None:
        message = self._message
        if not message.inbound and message.custom_ticket:
            sent = (message.date_created or self._callback.now).timestamp()
            for one in message.recipients:
                tickets.note(connection, message.number, one, message.custom_ticket, sent)


def _refuse(callback: Callback, store: Store, error: BadCallback, forbidden: bool = False) -> Kept:
    """Kept with the reasons, for the operator who will be asked."""
    new = events.New(
        source=callback.format,
        state="refused",
        received_at=callback.now.timestamp(),
        content_type=callback.content_type,
        body=credentials.scrub_refused(callback.body),
        errors=error.errors,
        remote=callback.remote,
    )
    event_id = store.writer.write(lambda connection: events.add(connection, new), timeout=PATIENCE)
    return Kept("refused", event_id, error.errors, forbidden)


def _kept_bytes(callback: Callback) -> bytes:
    """Every byte that came, but for credentials. A text that only looks like them is a text."""
    if callback.format == "carrierx":
        return credentials.scrub_object(callback.body)
    return credentials.scrub(callback.body, callback.content_type)


def reroute(event: events.Event, config: Config, store: Store) -> bool:
    """Take an unrouted event through the routes of today. False: it still goes nowhere, or somebody was quicker."""
    when = datetime.fromtimestamp(event.received_at, UTC)
    callback = Callback(
        format=event.source, body=event.body, content_type=event.content_type or None, remote=event.remote, now=when
    )
    work = _prepared(callback, event.message_sid, config)
    if not work.goes_somewhere:
        return False
    return store.writer.write(lambda connection: work.again(connection, event.id), timeout=PATIENCE, lanes=work.lanes)


def _prepared(callback: Callback, sid: str, config: Config) -> _Work:
    """What is to be done about a callback, all of it that needs no store. Raises `BadCallback`."""
    receipt = Receipt(now=callback.now, sid=sid, prefix=config.prefix)
    return _Work(callback, *read(callback.body, callback.content_type, callback.format, receipt, config))
