"""Workers are told that something is owed: by datagrams on one machine, by PostgreSQL between several."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from gateway.store import Connection, Store, wakeup
from gateway.store.wakeup import FOLDER_NAME, GONE_SECONDS, TOUCH_SECONDS, WakeupSocket, WorkerNotifier
from tests.running import until
from tests.store_samples import letter, owe


def is_notified(wakeup_socket: WakeupSocket, seconds: float = 2.0) -> bool:
    return bool(select.select([wakeup_socket.socket], [], [], seconds)[0])


def test_a_notification_arrives_and_is_drained(tmp_path: Path) -> None:
    wakeup_socket, notifier = WakeupSocket(tmp_path), WorkerNotifier(tmp_path)
    try:
        notifier.notify()
        notifier.notify()
        assert is_notified(wakeup_socket)
        wakeup_socket.drain()
        assert not is_notified(wakeup_socket, 0)
    finally:
        wakeup_socket.close()
        notifier.close()


def look_again(notifier: WorkerNotifier) -> None:
    """Looks which workers listen, as it does once a second."""
    notifier._looked_at = -10.0


def files(data: Path) -> list[str]:
    return sorted(path.name for path in (data / FOLDER_NAME).iterdir())


def test_nobody_need_be_there(tmp_path: Path) -> None:
    notifier = WorkerNotifier(tmp_path)
    try:
        notifier.notify()
        (tmp_path / FOLDER_NAME).mkdir()
        for name in ("what?", "70000", "0", "٣", ".tmp", "123456"):
            (tmp_path / FOLDER_NAME / name).touch()
        look_again(notifier)
        notifier.notify()
        assert notifier._ports == []
    finally:
        notifier.close()


def test_a_worker_that_moved_is_found_again(tmp_path: Path) -> None:
    notifier = WorkerNotifier(tmp_path)
    first = WakeupSocket(tmp_path)
    notifier.notify()
    assert is_notified(first)
    first.close()
    second = WakeupSocket(tmp_path)
    try:
        look_again(notifier)
        notifier.notify()
        assert is_notified(second)
    finally:
        second.close()
        notifier.close()


def test_every_worker_is_notified_whoever_comes_and_goes(tmp_path: Path) -> None:
    notifier, wakeups = WorkerNotifier(tmp_path), [WakeupSocket(tmp_path) for _ in range(3)]
    try:
        notifier.notify(["crm"])
        assert [is_notified(each) and each.drain() for each in wakeups] == [{"crm"}] * 3
        wakeups.pop().close()
        look_again(notifier)
        notifier.notify(["crm"])
        assert [is_notified(each) and each.drain() for each in wakeups] == [{"crm"}] * 2
    finally:
        for each in wakeups:
            each.close()
        notifier.close()
    assert files(tmp_path) == []


def test_one_that_was_killed_is_forgotten(tmp_path: Path) -> None:
    """Nothing was heard of it for some time; one that only slept, or whose file somebody took away, comes again."""
    notifier, wakeup_socket = WorkerNotifier(tmp_path), WakeupSocket(tmp_path)
    file = tmp_path / FOLDER_NAME / str(wakeup_socket.socket.getsockname()[1])
    try:
        for wrong in (-GONE_SECONDS - 1, GONE_SECONDS + 3600):  # it was killed; the clock was set back
            os.utime(file, (time.time() + wrong,) * 2)
            look_again(notifier)
            notifier.notify()
            assert notifier._ports == []
        other = WakeupSocket(tmp_path)
        other.close()
        assert files(tmp_path) == []
        wakeup_socket.refresh(time.monotonic())
        assert files(tmp_path) == [], "not at every turn"
        wakeup_socket.refresh(time.monotonic() + TOUCH_SECONDS)
        look_again(notifier)
        notifier.notify()
        assert is_notified(wakeup_socket)
    finally:
        wakeup_socket.close()
        notifier.close()


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    wakeup_socket = WakeupSocket(tmp_path)
    (tmp_path / FOLDER_NAME).rename(tmp_path / "away")
    wakeup_socket.refresh(time.monotonic() + TOUCH_SECONDS)
    wakeup_socket.close()
    assert not (tmp_path / FOLDER_NAME).exists()


def test_the_folder_is_made_where_there_is_none(tmp_path: Path) -> None:
    wakeup_socket = WakeupSocket(tmp_path / "data")
    try:
        (file,) = files(tmp_path / "data")
        folder = tmp_path / "data" / FOLDER_NAME
        assert [path.stat().st_mode & 0o777 for path in (folder.parent, folder, folder / file)] == [0o700, 0o700, 0o600]
    finally:
        wakeup_socket.close()


@contextmanager
def hearing(store: Store) -> Iterator[list[str]]:
    """All that was heard so far. The first is always the empty name: what was owed before anybody listened."""
    heard: list[str] = []
    listener = store.listen(heard.extend)
    assert listener
    try:
        until(lambda: heard == [""], "listens")
        yield heard
    finally:
        listener.close(10)


def tell(store: Store, endpoints: Iterable[str]) -> None:
    store.writer.write(partial(wakeup.mark_due, endpoints=endpoints))


def test_another_machine_hears_of_it(postgresql_store: Store) -> None:
    with Store(postgresql_store.url) as other, hearing(other) as heard:
        tell(postgresql_store, ["crm", "signup", "crm"])
        until(lambda: heard == ["", "crm", "signup"], "heard")


def test_what_was_not_committed_is_not_heard(postgresql_store: Store) -> None:
    def fails(conn: Connection) -> None:
        wakeup.mark_due(conn, ["never"])
        raise ValueError("no")

    with hearing(postgresql_store) as heard:
        with pytest.raises(ValueError, match="no"):
            postgresql_store.writer.write(fails)
        tell(postgresql_store, ["after"])
        until(lambda: "after" in heard, "heard")
    assert "never" not in heard


def test_too_many_names_are_all_of_them(postgresql_store: Store) -> None:
    with hearing(postgresql_store) as heard:
        tell(postgresql_store, [f"https://application.test/{nth:0200}" for nth in range(100)])
        until(lambda: heard == ["", ""], "heard")


def test_it_listens_again_after_the_connection_is_lost(postgresql_store: Store) -> None:
    end = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with hearing(postgresql_store) as heard:
        with postgresql_store.reader() as conn:
            assert conn.execute(end).all()
        until(lambda: heard == ["", ""], "listens again")
        tell(postgresql_store, ["crm"])
        until(lambda: heard[-1] == "crm", "heard")


def test_a_database_that_is_away_holds_up_nobody(postgresql_store: Store) -> None:
    heard: list[str] = []
    with Store("postgresql://nobody@127.0.0.1:1/nowhere") as away:
        listener = away.listen(heard.extend)
        assert listener
        listener.close(10)
    assert not heard


def test_sqlite_has_none(sqlite_store: Store) -> None:
    heard: Callable[[Iterable[str]], object] = list
    assert sqlite_store.listen(heard) is None
    tell(sqlite_store, ["crm"])


def test_who_owes_tells_once_for_each_endpoint(postgresql_store: Store) -> None:
    long = "https://application.test/" + "q" * wakeup.MAX_NOTICE_BYTES
    with hearing(postgresql_store) as heard:
        owe(postgresql_store, letter("crm|1"), letter("crm|1"), letter("crm|2"), letter("a|1", "signup"))
        until(lambda: len(heard) == 3, "heard")
        owe(postgresql_store, letter("x|1", long))
        until(lambda: len(heard) == 4, "heard")
    assert heard == ["", "crm", "signup", ""]
