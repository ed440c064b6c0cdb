"""The lock on a database file: one at a time, first come first served, let go by the dead."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from gateway.store.sqlite import FileLock
from tests.store_samples import until

HOLDER = """
import sys
from pathlib import Path
from gateway.store.sqlite import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def is_free(path: Path) -> bool:
    import fcntl

    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_one_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        lock = FileLock(tmp_path / "db")
        for _ in range(50):
            with lock:
                inside.append(1)
                most.append(len(inside))
                inside.pop()
        lock.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert len(most) == 200


def test_who_comes_again_comes_after_those_who_wait(tmp_path: Path) -> None:
    order: list[str] = []
    first, second = FileLock(tmp_path / "db"), FileLock(tmp_path / "db")

    def wait() -> None:
        with second:
            order.append("who waited")

    waiting = threading.Thread(target=wait)
    with first:
        waiting.start()
        until(lambda: not is_free(tmp_path / "db.turn"))
    with first:
        order.append("who came again")
    waiting.join()
    assert order == ["who waited", "who came again"]
    first.close()
    second.close()


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "db")
    try:
        with lock:
            raise LookupError
    except LookupError:
        assert is_free(tmp_path / "db.lock")
        assert is_free(tmp_path / "db.turn")
    lock.close()


def test_the_dead_hold_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert not is_free(tmp_path / "db.lock")
        holder.kill()
    with FileLock(tmp_path / "db") as lock:
        pass
    lock.close()


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    with FileLock(tmp_path / "db") as lock:
        assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {
            "db.lock": 0o600,
            "db.turn": 0o600,
        }
    lock.close()
    lock.close()
