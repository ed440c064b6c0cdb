"""Breakers as they are written down for people, on both databases."""

from __future__ import annotations

from functools import partial

from gateway.store import Store, health
from gateway.store.health import BREAKER_STALE_SECONDS, BreakerState
from tests.store_samples import NOW, count


def state(endpoint: str = "crm", state: str = "open", until: float = NOW + 5, failures: int = 5) -> BreakerState:
    return BreakerState(
        endpoint=endpoint, state=state, since=NOW, until=until, reason="no answer within 15 s", failures=failures
    )


def note(store: Store, *states: BreakerState, owner: str = "worker", now: float = NOW) -> None:
    store.writer.write(partial(health.record_breakers, owner=owner, states=states, now=now))


def current(store: Store, now: float = NOW) -> dict[str, BreakerState]:
    with store.reader() as conn:
        return health.current_breakers(conn, now)


def test_what_is_noted_is_seen(store: Store) -> None:
    note(store, state(), state("other", "ramp"))
    assert current(store) == {"crm": state(), "other": state("other", "ramp")}
    note(store, state(until=NOW + 20, failures=6))
    assert current(store)["crm"] == state(until=NOW + 20, failures=6)


def test_what_is_closed_is_gone(store: Store) -> None:
    note(store, state(), state("other"))
    note(store, state(state="closed"))
    assert list(current(store)) == ["other"] and count(store, "breakers") == 1


def test_of_several_workers_the_gravest_counts(store: Store) -> None:
    note(store, state(state="ramp", until=NOW + 99), owner="a")
    note(store, state(state="open", until=NOW + 5), owner="b")
    note(store, state(state="open", until=NOW + 7), owner="c")
    assert current(store) == {"crm": state(state="open", until=NOW + 7)}


def test_a_worker_that_is_gone_counts_no_more(store: Store) -> None:
    note(store, state(), owner="dead")
    later = NOW + BREAKER_STALE_SECONDS + 1
    assert not current(store, later)
    note(store, state("other"), owner="alive", now=later)
    assert list(current(store, later)) == ["other"] and count(store, "breakers") == 1


def test_rows_of_before_the_clock_was_set_back_count_no_more(store: Store) -> None:
    note(store, state(), now=NOW + 3600)
    assert not current(store)


def test_a_worker_that_ends_takes_its_rows_with_it(store: Store) -> None:
    note(store, state(), owner="a")
    note(store, state("other"), owner="b")
    store.writer.write(partial(health.forget_worker, owner="a", now=NOW))
    assert list(current(store)) == ["other"]
