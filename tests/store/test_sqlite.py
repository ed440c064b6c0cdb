"""What goes wrong with a file, and what is promised of it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from gateway.store import Store, StoreUnavailable, events, sqlite
from tests.store_samples import EVENT, add, claim, letter, owe, until

WRITES_UNTIL_KILLED = """
import sys
from tests.store_samples import letter, owe
from gateway.store import Store
store = Store(sys.argv[1])
while True:
    print(owe(store, letter())[0], flush=True)
"""


@pytest.fixture
def path(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.fixture
def store(sqlite_url: str) -> Iterator[Store]:
    with Store(sqlite_url, lock_timeout=0.05) as made:
        made.migrate()
        yield made


def modes(folder: Path) -> dict[str, str]:
    return {file.name: oct(file.stat().st_mode & 0o777) for file in folder.iterdir()}


def test_all_files_are_the_owners_alone(store: Store, path: Path) -> None:
    add(store)
    names = ["gateway.db", "gateway.db-shm", "gateway.db-wal", "gateway.db.lock", "gateway.db.turn"]
    assert modes(path.parent) == dict.fromkeys(names, "0o600")
    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"


def test_files_that_were_open_to_others_are_closed_to_them(sqlite_url: str, path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    path.chmod(0o664)
    with Store(sqlite_url) as store:
        store.migrate()
        assert modes(path.parent)["gateway.db"] == "0o600"


def test_a_commit_is_synced(store: Store) -> None:
    def settings(conn: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [conn.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]

    full = 2
    assert store.writer.write(settings) == ["wal", full, 1]


def folded(path: Path) -> int:
    """Events in the file itself, without its log."""
    conn = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)
    with contextlib.closing(conn):
        return int(conn.execute("SELECT count(*) FROM events").fetchone()[0])


def test_the_log_is_folded_into_the_file_while_the_store_is_open(store: Store, path: Path) -> None:
    add(store)
    until(lambda: folded(path) == 1)
    add(store)
    until(lambda: folded(path) == 2)


def test_the_log_of_another_file_in_its_place_is_folded_too(store: Store, path: Path) -> None:
    add(store)
    until(lambda: folded(path) == 1)
    store.migrate()
    with contextlib.closing(sqlite3.connect(path)) as conn:
        conn.execute("VACUUM INTO ?", [str(path.with_name("copy.db"))])
    path.with_name("copy.db").replace(path)
    for log in ("-wal", "-shm"):
        path.with_name(path.name + log).unlink()
    add(store)
    until(lambda: folded(path) == 2)


def test_folding_that_fails_is_tried_again(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [sqlite3.OperationalError("disk I/O error")]
    connect = sqlite._connect

    def sometimes(*arguments: Any) -> sqlite3.Connection:
        if threading.current_thread().name == "store-checkpoints" and failures:
            raise failures.pop()
        return connect(*arguments)

    monkeypatch.setattr(sqlite, "_connect", sometimes)
    add(store)
    until(lambda: not failures)
    add(store)
    until(lambda: folded(path) == 2)


def test_a_write_transaction_is_one_from_its_beginning(store: Store, path: Path) -> None:
    """Not only from its first write on, when somebody else may have written in between."""

    def others(conn: Connection) -> str:
        with (
            contextlib.closing(sqlite3.connect(path, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError) as no,
        ):
            other.execute("BEGIN IMMEDIATE")
        return str(no.value)

    assert store.writer.write(others) == "database is locked"


def test_a_locked_database_is_unavailable_and_comes_back(store: Store, path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            add(store)
        assert store.ready() is False
        other.rollback()
    assert store.ready() is True
    assert add(store) == 1


def test_a_full_disk_is_unavailable_and_comes_back(store: Store) -> None:
    def fill(conn: Connection) -> None:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    kept = add(store)
    store.writer.write(fill)
    with pytest.raises(StoreUnavailable, match="full"):
        add(store, body=b"x" * 100_000)
    assert add(store, body=b"x" * 100_000) > kept  # the next connection has no such limit
    with store.reader() as conn:
        assert conn.execute(text("SELECT count(*) FROM events")).scalar_one() == 2


def test_a_full_disk_spoils_a_whole_group_and_is_no_ones_fault(store: Store) -> None:
    def full(conn: Connection) -> None:
        conn.exec_driver_sql(f"PRAGMA max_page_count = {conn.exec_driver_sql('PRAGMA page_count').scalar_one()}")
        futures.extend(store.writer.submit(large) for _ in range(5))

    def large(conn: Connection) -> int:
        return events.add(conn, new)

    new = type(EVENT)(source="carrierx", state="accepted", received_at=1.0, body=b"x" * 100_000)
    futures: list[object] = []
    store.writer.write(full)
    assert [type(future.exception(20)) for future in futures] == [StoreUnavailable] * 5  # type: ignore[attr-defined]


def test_a_database_that_went_away_is_unavailable_and_no_empty_one_takes_its_place(store: Store, path: Path) -> None:
    """An open file that was moved would go on taking writes, and nobody would ever see them again."""
    delivery_ids = owe(store, letter())
    away = path.parent.rename(path.parent.with_name("away"))
    with pytest.raises(StoreUnavailable):
        add(store)
    assert store.ready() is False
    with pytest.raises(StoreUnavailable), store.reader():
        pass
    assert not path.exists()
    away.rename(path.parent)
    assert store.ready() is True
    assert [one.delivery_id for one in claim(store)] == delivery_ids


def test_another_file_in_its_place_is_what_counts(store: Store, path: Path) -> None:
    add(store)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    for name in ("-wal", "-shm"):
        path.with_name(path.name + name).unlink()
    copy.replace(path)
    assert add(store) == 2
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM events").fetchone() == (2,)


def test_a_database_that_may_not_be_written_is_unavailable(store: Store) -> None:
    store.writer.write(lambda conn: conn.exec_driver_sql("PRAGMA query_only = ON") and None)
    with pytest.raises(StoreUnavailable, match="readonly"):
        add(store)
    assert add(store) == 1


def test_no_database_at_all_is_unavailable(store: Store, path: Path) -> None:
    store.close()
    path.write_bytes(b"This is not a database. " * 1000)
    with Store(store.url) as another:
        with pytest.raises(StoreUnavailable, match="not a database"):
            add(another)
        with pytest.raises(StoreUnavailable, match="not a database"):
            another.migrate()


def test_a_lock_file_that_cannot_be_made_is_unavailable(sqlite_url: str, path: Path) -> None:
    path.parent.mkdir()
    path.with_name(path.name + ".lock").mkdir()
    with Store(sqlite_url) as store, pytest.raises(StoreUnavailable, match="lock"):
        add(store)


def test_room_is_free_space(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    assert store.has_room()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, sqlite.MIN_FREE_BYTES - 1))
    monkeypatch.setattr(sqlite, "DISK_CHECK_SECONDS", 0.0)
    assert not store.has_room()
    assert store.ready() is False
    assert add(store) == 1  # what was taken in can still be settled


def test_what_was_answered_is_there_after_kill_9(store: Store, another: Callable[[], Store]) -> None:
    command = [sys.executable, "-c", WRITES_UNTIL_KILLED, store.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().strip() for _ in range(50)]
        process.kill()
        told += process.stdout.read().split("\n")[:-1]
    with another().reader() as conn:
        kept = set(conn.scalars(text("SELECT delivery_id FROM deliveries")))
        assert conn.scalar(text("SELECT count(*) FROM deliveries WHERE queue_position = 'head'")) == 1
        assert conn.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
    assert set(told) <= kept
    assert len(kept) <= len(told) + 1  # the last may be on disk without anybody having heard of it
    assert add(store) > 0


def test_two_processes_on_one_file_lose_nothing(store: Store) -> None:
    command = [sys.executable, "-c", WRITES_UNTIL_KILLED, store.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().strip()]
        told += [owe(store, letter())[0] for _ in range(50)]
        process.kill()
        told += process.stdout.read().split("\n")[:-1]
    with store.reader() as conn:
        assert set(told) <= set(conn.scalars(text("SELECT delivery_id FROM deliveries")))


def test_a_folder_with_odd_characters(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/a b#c?d%20é/gateway.db".replace("?", "%3F")) as store:
        store.migrate()
        assert add(store) == 1
