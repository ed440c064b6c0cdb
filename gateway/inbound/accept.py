"""Keeps a callback and owes its deliveries: one transaction, committed and synced before the platform is answered.

Refused ones are kept for the operator who will be asked. They are whatever a key's holder cares to post: without a
budget of each key and day, one holder would fill the disk for everybody.
"""

from __future__ import annotations

import dataclasses

import structlog

from gateway.config import Config
from gateway.config.known_secrets import BLANKED, known_secrets
from gateway.inbound.callback import Accepted, Callback
from gateway.inbound.status_update import AcceptStatusUpdate
from gateway.outbound.replies import Replies
from gateway.routing.route import HOPS, DeliveryDraft, Route, build_deliveries
from gateway.store import Connection, Store, StoreUnavailable, events, ledger, limits, message_status, outbox, search
from gateway.store.audit import AuditEntry, audited
from schemas import BadCallback, Message, credentials
from schemas.message import replace

MAX_HOPS = 4
"""Gateways that a callback may have come through: two that point at each other would pass a text round for ever."""
PAGE_ITEMS = 200
WHOLE_BYTES = 65_536  # up to so many a refused body is kept whole, beyond only its head
HEAD_BYTES = 4_096
BUDGET_BYTES = 16 * 1024 * 1024  # of one key in one day
MIN_EVENT_BYTES = 16_384  # of the budget, for each event: so there are 1,024 of them at most
DAY_SECONDS = 86_400.0


def accept(callback: Callback, config: Config, store: Store, budget: RefusedBudget | None = None) -> Accepted:
    """Reads, routes, translates and keeps one callback, also a refused one. Raises `StoreUnavailable`.
    `budget`: remembers from one call to the next which budgets of refused ones are used up."""
    if not store.has_room():
        raise StoreUnavailable("the disk is nearly full")
    body = known_secrets(config).blank(callback.body, callback.content_type)
    if body is not callback.body:
        callback = dataclasses.replace(callback, body=body, notes=(BLANKED,))
    forbidden = not _has_credentials(callback, config)
    try:
        if forbidden:
            raise BadCallback({"credentials": ("Not the configured ones.",)})
        if callback.hops > MAX_HOPS:
            raise BadCallback({HOPS: ("It goes in circles between gateways.",)})
        message, route = callback.read(outbox.new_id(callback.now.timestamp()), config)
    except BadCallback as error:
        return _refuse(callback, store, budget or RefusedBudget(), error, forbidden)
    operation = (AcceptMessage if message.inbound else AcceptStatusUpdate)(callback, message, route, config)
    return store.writer.write(operation, ordering_keys=operation.ordering_keys)


def reroute_all(config: Config, store: Store, since: float | None = None) -> tuple[int, int, int]:
    """Routes all unrouted events received since then, the oldest first: how many go somewhere now, how many do not, and
    how many cannot, as their texts are not kept any more."""
    found: list[tuple[int, bool]] = []
    has_more = True
    while has_more:
        with store.reader() as conn:
            unrouted = search.EventSearch(state="unrouted", since=since)
            page = search.search_events(conn, unrouted, limit=PAGE_ITEMS, offset=len(found))
        found += [(each.event.id, bool(each.event.blanked_at)) for each in page.found]
        has_more = page.more
    # The search begins with the newest.
    routed = [reroute(event_id, config, store) for event_id, is_blanked in reversed(found) if not is_blanked]
    return routed.count(True), routed.count(False), len(found) - len(routed)


def reroute(event_id: int, config: Config, store: Store, entry: AuditEntry | None = None) -> bool:
    """Routes an unrouted event by the present configuration; `entry` says in the audit trail who does.
    False: it still goes nowhere, is blanked, is not unrouted (any more), or does not exist."""
    with store.reader() as conn:
        found = search.load_event(conn, event_id)
    if found is None or found.event.state != "unrouted" or found.event.blanked_at:
        return False
    return reroute_event(found.event, config, store, entry)


def reroute_event(event: events.Event, config: Config, store: Store, entry: AuditEntry | None = None) -> bool:
    """Routes this unrouted event. False: it still goes nowhere, or another thread or process was quicker."""
    callback = Callback.from_event(event)
    message, route = callback.read(event.message_sid, config)
    if not route.endpoints:
        return False
    operation = (AcceptMessage if message.inbound else AcceptStatusUpdate)(callback, message, route, config)
    work = audited(lambda conn: operation.reroute(conn, event.id), entry)
    return store.writer.write(work, ordering_keys=operation.ordering_keys)


def _has_credentials(callback: Callback, config: Config) -> bool:
    """Keyword callbacks carry the trio where the company has one; status posts are documented without it.
    The sandbox requires it only for sending texts, so that its user need not know it."""
    expected = config.legacy
    if expected is None or callback.format == "carrierx":
        return True
    given = credentials.read(callback.body, callback.content_type)
    if not given and (callback.format == "legacy-status" or config.sandbox):
        return True
    return expected.match(**{name: given.get(name, "") for name in credentials.CREDENTIALS})


def _refuse(callback: Callback, store: Store, budget: RefusedBudget, error: BadCallback, forbidden: bool) -> Accepted:
    """Keeps the callback with the reasons."""
    body, notes = callback.body, tuple[str, ...]()
    if len(body) > WHOLE_BYTES:
        notes = (f"Of its {len(body):,} bytes the first {HEAD_BYTES:,} are kept.",)
        body = credentials.scrub_head(body, HEAD_BYTES)
    else:
        body = credentials.scrub_refused(body)
    new = callback.event("refused", body, notes, errors=error.errors)
    return Accepted("refused", budget.keep(store, new), error.errors, forbidden)


class RefusedBudget:
    """Counts in the store, for all processes together. Remembers which budgets are used up: what comes then costs no
    transaction."""

    def __init__(self) -> None:
        self._used_up: dict[str, float] = {}  # by key: the end of the day, in epoch seconds

    def keep(self, store: Store, new: events.NewEvent) -> int | None:
        """Returns the event's id; None if the budget of its key is used up, and nothing was kept."""
        now = new.received_at
        # A day that ends later than one that begins now was begun before the clock was set back.
        if now < self._used_up.get(new.key, now) <= now + DAY_SECONDS:
            return None

        def add(conn: Connection) -> tuple[int | None, float]:
            weight = max(len(new.body), MIN_EVENT_BYTES)
            window = limits.count(conn, _counted(new.key), now, DAY_SECONDS, weight)
            return (events.add(conn, new) if window.hits <= BUDGET_BYTES else None), window.until

        # Held as an ordering key, so that groups of two machines count several keys in one order.
        event_id, until = store.writer.write(add, ordering_keys=[_counted(new.key)])
        if event_id is None:
            self._used_up[new.key] = until
            structlog.get_logger().warning("refused_not_kept", key=new.key, until=until)
        return event_id


def keys_used_up(conn: Connection, config: Config, now: float) -> list[str]:
    """Reads. Returns the names of the keys whose budget of today is used up."""
    windows = {key.name: limits.look(conn, _counted(key.name), now, DAY_SECONDS) for key in config.all_keys}
    return [name for name, window in windows.items() if window.hits > BUDGET_BYTES]


def _counted(key: str) -> str:
    return f"refused callbacks of {key}"


class AcceptMessage:
    """The transaction of an inbound text: kept, owed to its endpoints, replied to where the configuration says so.
    The writer runs it, alone or among others, perhaps a second time."""

    def __init__(self, callback: Callback, message: Message, route: Route, config: Config) -> None:
        self._callback, self._message, self._route = callback, message, route
        self._now = callback.now.timestamp()
        # Translated, and scrubbed, before the transaction: while it lasts, nobody else can write.
        self._drafts = build_deliveries(message, route.endpoints, callback.hops)
        self._body = callback.kept_bytes()
        self._replies = Replies(message, route, config)
        self.ordering_keys = (*(draft.owed.ordering_key for draft in self._drafts), *self._replies.ordering_keys)

    def __call__(self, conn: Connection) -> Accepted:
        message, route, drafts = self._message, self._route, self._drafts
        # Each keyword callback is a text of its own: the platform gives them no id.
        is_new = self._callback.format != "carrierx" or (
            message_status.record_status(conn, message.message_sid, message.to, message.status, self._now) == "new"
        )
        state = "duplicate"
        if is_new:
            message, drafts = self._with_custom_ticket(conn)
            state = "accepted" if route.endpoints or self._replies.text else "unrouted"
        event_id = events.add(conn, self._callback.event(state, self._body, (*message.notes, route.why), message))
        endpoints: tuple[str, ...] = ()
        if state == "accepted":
            owed = [draft.owed for draft in drafts]
            if self._replies.wants_answer and owed:
                # The answer of the keyword's first endpoint is texted back, the others only get the text.
                owed[0] = dataclasses.replace(owed[0], replies=True)
            outbox.owe(conn, event_id, owed, self._now)
            endpoints = tuple([endpoint.name for endpoint in route.endpoints])
        if is_new and self._replies.owe(conn, event_id, self._now):
            endpoints = (*endpoints, ledger.ENDPOINT)
        return Accepted(state, event_id, endpoints=endpoints)

    def reroute(self, conn: Connection, event_id: int) -> bool:
        """Owes the deliveries of an event that was kept without a route. It is too late for replies."""
        if not events.mark_routed(conn, event_id, self._message.keyword, (*self._message.notes, self._route.why)):
            return False
        _, drafts = self._with_custom_ticket(conn)
        outbox.owe(conn, event_id, [draft.owed for draft in drafts], self._now)
        return True

    def _with_custom_ticket(self, conn: Connection) -> tuple[Message, tuple[DeliveryDraft, ...]]:
        """Adds the `custom_ticket` of the last message sent to that phone from that number. Most texts have none."""
        message = self._message
        ticket = message_status.last_custom_ticket(conn, message.to, message.from_) if message.legacy is None else ""
        if not ticket or ticket == message.custom_ticket:
            return message, self._drafts
        message = replace(message, custom_ticket=ticket)
        return message, build_deliveries(message, self._route.endpoints, self._callback.hops)
