"""Sessions, limits and the audit trail, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Barrier, Thread

import pytest

from gateway.store import Store, audit, limits, sessions
from gateway.store.audit import AuditEntry
from gateway.store.limits import Window
from gateway.store.sessions import Session
from tests.store_samples import NOW, count

MINUTE = 60.0


def hit(store: Store, name: str = "login", now: float = NOW, weight: int = 1) -> Window:
    return store.writer.write(partial(limits.count, name=name, now=now, seconds=MINUTE, weight=weight))


def look(store: Store, name: str = "login", now: float = NOW) -> Window:
    with store.reader() as conn:
        return limits.look(conn, name, now, MINUTE)


def test_a_window_begins_with_the_first_count_and_ends_by_itself(store: Store) -> None:
    assert look(store) == (0, NOW)
    assert hit(store) == (1, NOW + MINUTE)
    assert hit(store, now=NOW + 59) == (2, NOW + MINUTE)
    assert look(store, now=NOW + 59) == (2, NOW + MINUTE)
    assert look(store, now=NOW + MINUTE) == (0, NOW + MINUTE)
    assert hit(store, now=NOW + MINUTE) == (1, NOW + 2 * MINUTE)


def test_names_are_counted_apart_and_weights_add_up(store: Store) -> None:
    hit(store, "a", weight=700)
    assert hit(store, "a", weight=300).hits == 1_000 and hit(store, "b").hits == 1


def test_a_window_of_before_the_clock_was_set_back_does_not_last_for_ever(store: Store) -> None:
    hit(store, now=NOW + 86_400)
    assert look(store) == (0, NOW)
    assert hit(store) == (1, NOW + MINUTE)


def test_windows_that_are_over_are_deleted_with_new_ones(store: Store) -> None:
    for number in range(40):
        hit(store, f"caller {number}")
    for number in range(4):
        hit(store, f"later {number}", now=NOW + 2 * MINUTE)
    assert count(store, "limits") == 4


def test_of_counts_side_by_side_none_is_lost(store: Store) -> None:
    ready, found = Barrier(8), list[int]()

    def many() -> None:
        ready.wait()
        found.extend(hit(store).hits for _ in range(10))

    threads = [Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 81))


def test_two_processes_count_each_others_names_and_sweep_and_none_waits_for_ever(
    store: Store, another: Callable[[], Store]
) -> None:
    stores, ready, failed = [store, another()], Barrier(8), list[Exception]()

    def many(place: int) -> None:
        ready.wait()
        for number in range(30):
            name = f"caller {(number + place) % 5}"
            try:
                hit(stores[place % 2], name, now=NOW + number * 40)
            except Exception as error:
                failed.append(error)

    threads = [Thread(target=many, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_a_caller_is_known_by_address_and_credential(store: Store) -> None:
    remember = partial(limits.remember_caller, address="192.0.2.1", credential="key 1", days=30)
    store.writer.write(partial(remember, now=NOW))
    with store.reader() as conn:
        assert limits.is_known_caller(conn, "192.0.2.1", "key 1")
        assert not limits.is_known_caller(conn, "192.0.2.1", "key 2")
        assert not limits.is_known_caller(conn, "192.0.2.2", "key 1")
    store.writer.write(partial(remember, address="192.0.2.3", now=NOW + 31 * 86_400))
    with store.reader() as conn:
        assert not limits.is_known_caller(conn, "192.0.2.1", "key 1")


def login(store: Store, session_id: str, operator: str = "alice", at: float = NOW) -> Session:
    session = Session(id=session_id, operator=operator, password_mark="m", remote="192.0.2.1", began_at=at, seen_at=at)
    store.writer.write(lambda conn: sessions.begin(conn, session, at - 1_000, at - 100))
    return session


def test_a_session_is_found_until_its_end(store: Store) -> None:
    session = login(store, "a")
    with store.reader() as conn:
        assert sessions.find(conn, "a") == session and sessions.find(conn, "b") is None
    store.writer.write(lambda conn: sessions.end(conn, "a"))
    with store.reader() as conn:
        assert sessions.find(conn, "a") is None


def test_all_sessions_of_one_operator_end(store: Store) -> None:
    for name in "abc":
        login(store, name)
    other = login(store, "d", "bob")
    assert store.writer.write(lambda conn: sessions.end_all(conn, "alice")) == 3
    with store.reader() as conn:
        assert sessions.of_operator(conn, "alice") == [] and sessions.of_operator(conn, "bob") == [other]


def test_a_session_that_was_seen_is_only_ever_seen_later(store: Store) -> None:
    login(store, "a")
    for at in (NOW + 60, NOW + 30):
        store.writer.write(partial(sessions.mark_seen, session_id="a", now=at))
    with store.reader() as conn:
        found = sessions.find(conn, "a")
    assert found is not None and (found.began_at, found.seen_at) == (NOW, NOW + 60)


@pytest.mark.parametrize(("seen", "left"), [(NOW + 950, 2), (NOW + 800, 1)], ids=["seen", "idle"])
def test_old_sessions_go_with_the_next_login(store: Store, seen: float, left: int) -> None:
    login(store, "old")
    store.writer.write(partial(sessions.mark_seen, session_id="old", now=seen))
    login(store, "new", at=NOW + 1_000)
    assert count(store, "sessions") == left


def entry(number: int, who: str = "alice", action: str = "replay") -> AuditEntry:
    return AuditEntry(
        at=NOW + number, who=who, action=action, subject=f"event {number}", remote="192.0.2.1", details={"n": number}
    )


def test_the_trail_is_read_from_its_newest_entry_on(store: Store) -> None:
    for each in (entry(1), entry(2, who="bob"), entry(3, action="login"), entry(4)):
        assert store.writer.write(partial(audit.record, entry=each))
    with store.reader() as conn:
        whole = audit.newest(conn, 10)
        assert [each.subject for each in whole] == ["event 4", "event 3", "event 2", "event 1"]
        assert (whole[0].who, whole[0].remote, whole[0].details) == ("alice", "192.0.2.1", {"n": 4})
        assert [each.subject for each in audit.newest(conn, 1, before=whole[0].id)] == ["event 3"]
        assert [each.subject for each in audit.newest(conn, 9, who="bob")] == ["event 2"]
        assert [each.subject for each in audit.newest(conn, 9, action="login")] == ["event 3"]


def test_what_several_processes_see_is_recorded_once(store: Store) -> None:
    once = partial(audit.record, entry=entry(1, action="configuration"), once="configuration abc")
    assert store.writer.write(once) and not store.writer.write(once)
    assert count(store, "audit") == 1


def test_the_sweep_deletes_the_oldest_entries_alone(store: Store) -> None:
    for number in range(5):
        store.writer.write(partial(audit.record, entry=entry(number)))
    assert store.writer.write(lambda conn: audit.sweep(conn, NOW + 3, 2)) == 2
    assert store.writer.write(lambda conn: audit.sweep(conn, NOW + 3, 9)) == 1
    with store.reader() as conn:
        assert [each.subject for each in audit.newest(conn, 9)] == ["event 4", "event 3"]
