"""Group commit, on both databases: what waits is committed together, and each answers for itself alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from gateway.store import Store, StoreUnavailable, events, outbox, writer
from gateway.store.outbox import MAX_KEYS_PER_TRANSACTION
from tests.store_samples import EVENT, NOW, claim, count, letter, owe, settle


def keep(conn: Connection) -> int:
    return events.add(conn, EVENT)


@contextmanager
def held_up(store: Store) -> Iterator[None]:
    """Everything handed in meanwhile waits, and makes one group (two where it is too large)."""
    begun, go_on = threading.Event(), threading.Event()

    def stand(conn: Connection) -> None:
        begun.set()
        assert go_on.wait(30)

    first = store.writer.submit(stand)
    assert begun.wait(30)
    try:
        yield
    finally:
        go_on.set()
        first.result(30)


@contextmanager
def commits(store: Store) -> Iterator[list[object]]:
    made: list[object] = []

    def commits(conn: Connection) -> None:
        made.append(conn)

    event.listen(store._database.writing, "commit", commits)
    yield made
    event.remove(store._database.writing, "commit", commits)


def results(futures: list[Future[int]]) -> list[object]:
    return [future.exception(30) or future.result() for future in futures]


def test_what_waits_shares_one_commit(store: Store) -> None:
    with commits(store) as made:
        with held_up(store):
            futures = [store.writer.submit(keep) for _ in range(50)]
            assert store.writer._queue.qsize() == 50
        assert len(set(results(futures))) == 50
        assert len(made) == 2
    assert count(store) == 50


def test_answers_come_after_the_commit_in_the_order_handed_in(store: Store, another: Callable[[], Store]) -> None:
    event_id = store.writer.write(keep)
    assert count(another()) == 1
    with held_up(store):
        futures = [store.writer.submit(keep) for _ in range(5)]
    assert results(futures) == list(range(event_id + 1, event_id + 6))


def test_a_group_has_a_limit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_OPERATIONS", 10)
    with commits(store) as made:
        with held_up(store):
            futures = [store.writer.submit(keep) for _ in range(25)]
        assert len(set(results(futures))) == 25
        assert len(made) == 1 + 3


def test_ordering_keys_limit_a_group_too(store: Store) -> None:
    with commits(store) as made:
        with held_up(store):
            futures = [
                store.writer.submit(
                    keep, ordering_keys=[f"{turn}|{ordering_key}" for ordering_key in range(MAX_KEYS_PER_TRANSACTION)]
                )
                for turn in range(3)
            ]
        assert len(set(results(futures))) == 3
        assert len(made) == 1 + 3


def wrong(conn: Connection) -> int:
    keep(conn)
    raise LookupError("mine alone")


def broken(conn: Connection) -> int:
    keep(conn)
    conn.execute(text("INSERT INTO deliveries (id) VALUES (1)"))
    return 0


@pytest.mark.parametrize("bad", [wrong, broken])
def test_one_that_is_wrong_spoils_nobody_elses_work(store: Store, bad: Callable[[Connection], int]) -> None:
    with held_up(store):
        before = [store.writer.submit(keep) for _ in range(3)]
        spoiler = store.writer.submit(bad)
        after = [store.writer.submit(keep) for _ in range(3)]
    assert all(isinstance(answer, int) for answer in results(before + after))
    error = spoiler.exception(30)
    assert error is not None
    assert not isinstance(error, StoreUnavailable)
    assert count(store) == 6


def test_all_of_them_wrong(store: Store) -> None:
    with held_up(store):
        futures = [store.writer.submit(wrong) for _ in range(5)]
    assert [type(error) for error in results(futures)] == [LookupError] * 5
    assert count(store) == 0


def test_wrong_work_alone_gets_its_own_error(store: Store) -> None:
    with pytest.raises(LookupError, match="mine alone"):
        store.writer.write(wrong)
    assert store.writer.write(keep) > 0
    assert count(store) == 1


def test_even_work_that_ends_a_thread_does_not_end_this_one(store: Store) -> None:
    def leave(conn: Connection) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        store.writer.write(leave)
    assert store.writer.write(keep) > 0


def test_who_gives_up_before_it_began_is_never_served(store: Store) -> None:
    with held_up(store), pytest.raises(StoreUnavailable, match="waited"):
        store.writer.write(keep, timeout=0.01)
    store.writer.write(lambda conn: None)
    assert count(store) == 0


@pytest.fixture
def begun(store: Store, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """To be set by the work; the time of whoever waits for it does not run before."""
    started, submit = threading.Event(), store.writer.submit

    def submit_and_begin(work: Callable[[Connection], Any], ordering_keys: Collection[str] = ()) -> Future[Any]:
        future = submit(work, ordering_keys)
        assert started.wait(30)
        return future

    monkeypatch.setattr(store.writer, "submit", submit_and_begin)
    return started


def test_who_gives_up_after_it_began_is_told_how_it_ended(
    store: Store, begun: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up, cancel = threading.Event(), Future.cancel

    def give_up(future: Future[int]) -> bool:
        given_up.set()
        return cancel(future)

    def slow(conn: Connection) -> int:
        begun.set()
        assert given_up.wait(30)
        return keep(conn)

    monkeypatch.setattr(Future, "cancel", give_up)
    assert store.writer.write(slow, timeout=0.01) > 0
    assert count(store) == 1


def test_not_even_grace_lasts_for_ever(store: Store, begun: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "GRACE_SECONDS", 0.01)
    go_on = threading.Event()

    def hang(conn: Connection) -> None:
        begun.set()
        go_on.wait(30)

    with pytest.raises(StoreUnavailable, match="not committed"):
        store.writer.write(hang, timeout=0.01)
    go_on.set()
    store.writer.write(lambda conn: None)


def test_a_writer_that_stands_still_gathers_no_more_than_so_much(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 3)
    with held_up(store):
        futures = [store.writer.submit(keep) for _ in range(3)]
        with pytest.raises(StoreUnavailable, match="wait"):
            store.writer.submit(keep)
    results(futures)
    assert store.writer.write(keep) > 0
    assert count(store) == 4


def test_a_future_that_was_cancelled_is_not_run(store: Store) -> None:
    with held_up(store):
        futures = [store.writer.submit(keep) for _ in range(3)]
        assert futures[1].cancel()
    store.writer.write(lambda conn: None)
    assert count(store) == 2
    with pytest.raises(CancelledError):
        futures[1].result()


def test_closing_finishes_what_was_handed_in(store: Store, another: Callable[[], Store]) -> None:
    futures = [store.writer.submit(keep) for _ in range(300)]
    store.close()
    assert len({future.result(0) for future in futures}) == 300
    assert count(another()) == 300
    with pytest.raises(StoreUnavailable, match="closed"):
        store.writer.submit(keep)


def test_closing_does_not_wait_for_ever_and_leaves_nobody_waiting(store: Store) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang(conn: Connection) -> None:
        begun.set()
        go_on.wait(30)

    stuck = store.writer.submit(hang)
    assert begun.wait(30)
    waiting = store.writer.submit(keep)
    store.writer.close(timeout=0.05)
    with pytest.raises(StoreUnavailable):
        waiting.result(0)
    go_on.set()
    stuck.result(30)


def test_many_threads_at_once_lose_nothing(store: Store) -> None:
    def each(number: int) -> None:
        for turn in range(25):
            kept.append(store.writer.write(partial(events.add, new=replace(EVENT, ticket=f"{number}-{turn}"))))

    kept: list[int] = []
    threads = [threading.Thread(target=each, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(kept)) == 400
    assert count(store) == 400


def test_a_delivery_and_its_event_are_kept_together_or_not_at_all(store: Store) -> None:
    def half(conn: Connection) -> None:
        outbox.owe(conn, events.add(conn, EVENT), [letter()], NOW)
        raise LookupError

    with pytest.raises(LookupError):
        store.writer.write(half)
    assert count(store) == 0
    assert claim(store) == []


@pytest.mark.parametrize("declared", [True, False])
def test_machines_that_owe_to_the_same_ordering_keys_crosswise_all_get_through(
    store: Store, another: Callable[[], Store], declared: bool
) -> None:
    """In opposite orders: a group whose ordering keys are known takes them in one order, another finds itself in a
    knot, and is undone and taken apart."""
    ordering_keys = [f"crm|{number}" for number in range(20)]

    def work(conn: Connection, names: list[str]) -> int:
        event_id = events.add(conn, EVENT)
        outbox.owe(conn, event_id, [letter(name) for name in names], NOW)
        return event_id

    orders = [(store, ordering_keys), (another(), ordering_keys[::-1])]
    futures = [
        machine.writer.submit(
            partial(work, names=names[first : first + 2]), ordering_keys=names[first : first + 2] * declared
        )
        for _ in range(3)
        for first in range(0, 20, 2)
        for machine, names in orders
    ]
    assert [error for error in results(futures) if not isinstance(error, int)] == []
    assert count(store) == 60
    assert drained(store) == 120


def drained(store: Store) -> int:
    """Delivers everything that is owed; how many that were. Never two of an ordering key at once."""
    seen = 0
    while claimed := claim(store):
        assert len({one.ordering_key for one in claimed}) == len(claimed)
        for one in claimed:
            settle(store, one)
        seen += len(claimed)
    return seen


def test_machines_that_owe_and_settle_at_once_never_leave_an_ordering_key_without_a_head(
    store: Store, another: Callable[[], Store]
) -> None:
    """Owing asks whether there is a head while settling takes it away: both must be right."""
    other, done = another(), threading.Event()

    def fill() -> None:
        for turn in range(60):
            owe(store, letter(f"crm|{turn % 3}"))
        done.set()

    filling = threading.Thread(target=fill)
    filling.start()
    seen = 0
    while not done.is_set():
        for one in claim(other):
            settle(other, one)
            seen += 1
    filling.join()
    assert seen + drained(other) == 60
