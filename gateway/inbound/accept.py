"""Keeps a callback and owes its deliveries: one transaction, committed and synced before the platform is answered."""

from __future__ import annotations

import hmac

from gateway.config import Config
from gateway.inbound.callback import Accepted, Callback
from gateway.inbound.message import AcceptMessage
from gateway.inbound.status_update import AcceptStatusUpdate
from gateway.routing.deliveries import HOPS
from gateway.store import Store, StoreUnavailable, events, outbox, search
from schemas import BadCallback, credentials

WRITE_TIMEOUT_SECONDS = 10.0
"""The platform waits for its answer: a callback that is not on disk by then is not accepted."""
MAX_HOPS = 4
"""Gateways that a callback may have come through: two that point at each other would pass a text round for ever."""
PAGE_ITEMS = 200


def accept(callback: Callback, config: Config, store: Store) -> Accepted:
    """Reads, routes, translates and keeps one callback. Raises `StoreUnavailable`; all else ends up on disk."""
    if not store.has_room():
        raise StoreUnavailable("the disk is nearly full")
    if not _has_credentials(callback, config):
        return _refuse(callback, store, BadCallback({"credentials": ("Not the configured ones.",)}), forbidden=True)
    if callback.hops > MAX_HOPS:
        return _refuse(callback, store, BadCallback({HOPS: ("It goes in circles between gateways.",)}))
    try:
        message, route = callback.read(outbox.new_id(callback.now.timestamp()), config)
    except BadCallback as error:
        return _refuse(callback, store, error)
    operation = (AcceptMessage if message.inbound else AcceptStatusUpdate)(callback, message, route, config)
    return store.writer.write(operation, timeout=WRITE_TIMEOUT_SECONDS, ordering_keys=operation.ordering_keys)


def reroute_all(config: Config, store: Store, since: float | None = None) -> tuple[int, int]:
    """Routes all unrouted events received since then, the oldest first: how many go somewhere now, how many do not."""
    ids: list[int] = []
    has_more = True
    while has_more:
        with store.reader() as conn:
            unrouted = search.EventSearch(state="unrouted", since=since)
            page = search.search_events(conn, unrouted, limit=PAGE_ITEMS, offset=len(ids))
        ids += [found.event.id for found in page.found]
        has_more = page.more
    # The search begins with the newest.
    routed = [reroute(event_id, config, store) for event_id in reversed(ids)]
    return routed.count(True), routed.count(False)


def reroute(event_id: int, config: Config, store: Store) -> bool:
    """Routes an unrouted event by the present configuration.

    False: it still goes nowhere, is not unrouted (any more), or does not exist.
    """
    with store.reader() as conn:
        found = search.load_event(conn, event_id)
    return found is not None and found.event.state == "unrouted" and reroute_event(found.event, config, store)


def reroute_event(event: events.Event, config: Config, store: Store) -> bool:
    """Routes this unrouted event. False: it still goes nowhere, or another thread or process was quicker."""
    callback = Callback.from_event(event)
    message, route = callback.read(event.message_sid, config)
    if not route.endpoints:
        return False
    operation = (AcceptMessage if message.inbound else AcceptStatusUpdate)(callback, message, route, config)
    return store.writer.write(
        lambda conn: operation.reroute(conn, event.id),
        timeout=WRITE_TIMEOUT_SECONDS,
        ordering_keys=operation.ordering_keys,
    )


def _has_credentials(callback: Callback, config: Config) -> bool:
    """Keyword callbacks carry the trio where the company has one; status posts are documented without it.

    In the sandbox it is needed for sending alone, so that nobody has to know it.
    """
    expected = config.legacy
    if expected is None or callback.format == "carrierx":
        return True
    given = credentials.read(callback.body, callback.content_type)
    if not given and (callback.format == "legacy-status" or config.sandbox):
        return True
    pairs = [(getattr(expected, name), given.get(name, "")) for name in credentials.CREDENTIALS]
    # All of them are compared, so that the time does not tell which one is wrong.
    same = [hmac.compare_digest(want.encode(), got.encode()) for want, got in pairs if want]
    return all(same)


def _refuse(callback: Callback, store: Store, error: BadCallback, forbidden: bool = False) -> Accepted:
    """Keeps the callback with the reasons, for the operator who will be asked."""
    new = events.NewEvent(
        source=callback.format,
        state="refused",
        received_at=callback.now.timestamp(),
        content_type=callback.content_type or "",
        body=credentials.scrub_refused(callback.body),
        errors=error.errors,
        remote=callback.remote,
    )
    event_id = store.writer.write(lambda conn: events.add(conn, new), timeout=WRITE_TIMEOUT_SECONDS)
    return Accepted("refused", event_id, error.errors, forbidden)
