"""Writes of one turn of the loop are committed together, on a real SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.store import Connection, Store, StoreUnavailable
from gateway.store.greenlets import MAX_OPERATIONS, GreenletPool
from gateway.store.group_commit import GroupCommitter, OutcomeUnknown, WriteOperation
from gateway.store.sqlite import FileLock

Outcome = int | BaseException


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "gateway.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{path}", lock_timeout=0.2) as made:
        made.migrate()
        made.writer.write(lambda connection: connection.exec_driver_sql("CREATE TABLE t (n INTEGER UNIQUE)"))
        yield made


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The thread and the size of every group that is committed."""
    seen: list[tuple[str, int]] = []
    real = GroupCommitter.commit

    def commit(group: GroupCommitter, works: list[WriteOperation]) -> object:
        seen.append((threading.current_thread().name, len(works)))
        return real(group, works)

    monkeypatch.setattr(GroupCommitter, "commit", commit)
    return seen


def insert(number: int) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        connection.exec_driver_sql("INSERT INTO t VALUES (?)", (number,))
        return number

    return work


def written(store: Store, numbers: list[int], timeout: float = 5.0) -> list[Outcome]:
    """Each by an errand of its own, all within one turn; what became of each."""

    async def run() -> list[Outcome]:
        loop = asyncio.get_running_loop()
        errands, left = GreenletPool(loop), {at: loop.create_future() for at in range(len(numbers))}

        def errand(at: int) -> None:
            try:
                left[at].set_result(store.writer.write(insert(numbers[at]), timeout))
            except Exception as error:
                left[at].set_result(error)

        for at in left:
            errands.run(lambda at=at: errand(at))  # type: ignore[misc]
        return list(await asyncio.gather(*left.values()))

    return asyncio.run(run())


def rows(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT n FROM t ORDER BY n")]


def test_one_turn_is_one_commit(store: Store, path: Path, commits: list[tuple[str, int]]) -> None:
    assert written(store, list(range(40))) == list(range(40))
    assert rows(path) == list(range(40))
    assert commits == [("MainThread", 40)]


def test_a_large_turn_is_cut(store: Store, path: Path, commits: list[tuple[str, int]]) -> None:
    assert written(store, list(range(2 * MAX_OPERATIONS + 1))) == list(range(2 * MAX_OPERATIONS + 1))
    assert [size for _, size in commits] == [MAX_OPERATIONS, MAX_OPERATIONS, 1]
    assert rows(path) == list(range(2 * MAX_OPERATIONS + 1))


def test_what_is_wrong_spoils_nobody_else(store: Store, path: Path) -> None:
    outcomes = written(store, [1, 2, 2, 3])
    assert [outcomes[at] for at in (0, 1, 3)] == [1, 2, 3]
    assert "UNIQUE constraint failed" in str(outcomes[2])
    assert rows(path) == [1, 2, 3]


def test_while_another_writes_it_looks_again(store: Store, path: Path, commits: list[tuple[str, int]]) -> None:
    with closing(FileLock(path)) as lock:
        lock.__enter__()
        threading.Timer(0.005, lock.release).start()
        assert written(store, [1, 2]) == [1, 2]
    assert rows(path) == [1, 2]


def test_where_the_lock_stays_held_the_thread_takes_over(
    store: Store, path: Path, commits: list[tuple[str, int]]
) -> None:
    with closing(FileLock(path)) as lock:
        lock.__enter__()
        threading.Timer(0.3, lock.release).start()
        assert written(store, [1, 2]) == [1, 2]
    assert {name for name, _ in commits} == {"store-writer"}
    assert rows(path) == [1, 2]


def test_where_it_is_never_free_they_are_told(store: Store, path: Path) -> None:
    with closing(FileLock(path)) as lock, lock:
        outcomes = written(store, [1, 2], timeout=0.2)
        assert [type(one) for one in outcomes] == [StoreUnavailable] * 2
    assert written(store, [3]) == [3]
    assert rows(path) == [3], "what was given up is never done"


def test_a_stranger_who_locks_the_file(store: Store, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN EXCLUSIVE")
        assert [type(one) for one in written(store, [1])] == [StoreUnavailable]
        stranger.execute("ROLLBACK")
    assert written(store, [2]) == [2]
    assert rows(path) == [2]


def test_a_commit_that_fails_is_not_tried_twice(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Done or not, nobody knows: the thread must not do it again."""
    tried: list[object] = []

    def commit(connection: Connection) -> None:
        tried.append(connection)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Connection, "commit", commit)
    assert [type(one) for one in written(store, [1])] == [OutcomeUnknown]
    assert len(tried) == 1
