"""Unrouted events through the routes of today: one, or all of them."""

from __future__ import annotations

from gateway.config import Config
from gateway.inbound import accept
from gateway.store import Store, search

PAGE = 200


def reroute(event_id: int, config: Config, store: Store) -> bool:
    """True if it goes somewhere now. False: it still does not, is not unrouted (any more), or is not there."""
    with store.reader() as connection:
        whole = search.load_event(connection, event_id)
    if whole is None or whole.event.state != "unrouted":
        return False
    return accept.reroute(whole.event, config, store)


def reroute_all(config: Config, store: Store, since: float | None = None) -> tuple[int, int]:
    """How many of those received since then go somewhere now, and how many still do not. The oldest first."""
    outcomes = [reroute(event_id, config, store) for event_id in reversed(_unrouted(store, since))]
    return outcomes.count(True), outcomes.count(False)


def _unrouted(store: Store, since: float | None) -> list[int]:
    """The newest first."""
    ids: list[int] = []
    more = True
    while more:
        with store.reader() as connection:
            what = search.EventSearch(state="unrouted", since=since)
            page = search.search_events(connection, what, limit=PAGE, offset=len(ids))
        ids += [found.event.id for found in page.found]
        more = page.more
    return ids
