"""Keep a callback and owe its deliveries: one transaction, committed and synced before anybody is answered."""

from __future__ import annotations

import hmac

from gateway.config import Config
from gateway.inbound.callback import Accepted, Callback
from gateway.inbound.message import AcceptMessage
from gateway.inbound.status_update import AcceptStatusUpdate
from gateway.routing.deliveries import HOPS
from gateway.store import Store, StoreUnavailable, events, outbox
from schemas import BadCallback, credentials

# The platform waits for its answer; what is not on disk by then is not accepted.
PATIENCE = 10.0
MAX_HOPS = 4
"""Gateways that a callback may have come through: two that point at each other would pass a text round for ever."""


def accept(callback: Callback, config: Config, store: Store) -> Accepted:
    """Read, route, translate and keep one callback. Raises `StoreUnavailable`; all else ends up on disk."""
    if not store.has_room():
        raise StoreUnavailable("the disk is nearly full")
    if not _is_known(callback, config):
        return _refuse(callback, store, BadCallback({"credentials": ("Not the configured ones.",)}), forbidden=True)
    if callback.hops > MAX_HOPS:
        return _refuse(callback, store, BadCallback({HOPS: ("It goes in circles between gateways.",)}))
    try:
        work = _work(callback, outbox.new_id(callback.at), config)
    except BadCallback as error:
        return _refuse(callback, store, error)
    return store.writer.write(work, timeout=PATIENCE, ordering_keys=work.ordering_keys)


def reroute(event: events.Event, config: Config, store: Store) -> bool:
    """Take an unrouted event through the routes of today. False: it still goes nowhere, or somebody was quicker."""
    work = _work(Callback.of(event), event.message_sid, config)
    if not work.goes_somewhere:
        return False
    return store.writer.write(
        lambda connection: work.again(connection, event.id), timeout=PATIENCE, ordering_keys=work.ordering_keys
    )


def _work(callback: Callback, sid: str, config: Config) -> AcceptMessage | AcceptStatusUpdate:
    """What is to be done about a callback, all of it that needs no store. Raises `BadCallback`."""
    message, way = callback.read(sid, config)
    return (AcceptMessage if message.inbound else AcceptStatusUpdate)(callback, message, way, config)


def _is_known(callback: Callback, config: Config) -> bool:
    """Keyword callbacks carry the trio where the company has one; status posts are documented without it.

    In the sandbox nobody has to know what it is: there it is for sending alone.
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
    """Kept with the reasons, for the operator who will be asked."""
    new = events.NewEvent(
        source=callback.format,
        state="refused",
        received_at=callback.now.timestamp(),
        content_type=callback.content_type,
        body=credentials.scrub_refused(callback.body),
        errors=error.errors,
        remote=callback.remote,
    )
    event_id = store.writer.write(lambda connection: events.add(connection, new), timeout=PATIENCE)
    return Accepted("refused", event_id, error.errors, forbidden)
