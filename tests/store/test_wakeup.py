"""The worker's bell."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

from gateway.store.wakeup import FOLDER_NAME, GONE_SECONDS, TOUCH_SECONDS, WakeupSocket, WorkerNotifier


def rung(bell: WakeupSocket, seconds: float = 2.0) -> bool:
    return bool(select.select([bell.socket], [], [], seconds)[0])


def test_a_ring_is_heard_and_hushed(tmp_path: Path) -> None:
    bell, ringer = WakeupSocket(tmp_path), WorkerNotifier(tmp_path)
    try:
        ringer.ring()
        ringer.ring()
        assert rung(bell)
        bell.hush()
        assert not rung(bell, 0)
    finally:
        bell.close()
        ringer.close()


def later(ringer: WorkerNotifier) -> None:
    """It looks who is there, as it does once a second."""
    ringer._looked = -10.0


def notes(data: Path) -> list[str]:
    return sorted(path.name for path in (data / FOLDER_NAME).iterdir())


def test_nobody_need_be_there(tmp_path: Path) -> None:
    ringer = WorkerNotifier(tmp_path)
    try:
        ringer.ring()
        (tmp_path / FOLDER_NAME).mkdir()
        for name in ("what?", "70000", "0", "٣", ".tmp", "123456"):
            (tmp_path / FOLDER_NAME / name).touch()
        later(ringer)
        ringer.ring()
        assert ringer._ports == []
    finally:
        ringer.close()


def test_a_worker_that_moved_is_found_again(tmp_path: Path) -> None:
    ringer = WorkerNotifier(tmp_path)
    first = WakeupSocket(tmp_path)
    ringer.ring()
    assert rung(first)
    first.close()
    second = WakeupSocket(tmp_path)
    try:
        later(ringer)
        ringer.ring()
        assert rung(second)
    finally:
        second.close()
        ringer.close()


def test_every_worker_is_rung_whoever_comes_and_goes(tmp_path: Path) -> None:
    ringer, bells = WorkerNotifier(tmp_path), [WakeupSocket(tmp_path) for _ in range(3)]
    try:
        ringer.ring(["crm"])
        assert [rung(bell) and bell.hush() for bell in bells] == [{"crm"}] * 3
        bells.pop().close()
        later(ringer)
        ringer.ring(["crm"])
        assert [rung(bell) and bell.hush() for bell in bells] == [{"crm"}] * 2
    finally:
        for bell in bells:
            bell.close()
        ringer.close()
    assert notes(tmp_path) == []


def test_one_that_was_killed_is_forgotten(tmp_path: Path) -> None:
    """Nothing was heard of it for some time; one that only slept, or whose file somebody took away, comes again."""
    ringer, bell = WorkerNotifier(tmp_path), WakeupSocket(tmp_path)
    note = tmp_path / FOLDER_NAME / str(bell.socket.getsockname()[1])
    try:
        for wrong in (-GONE_SECONDS - 1, GONE_SECONDS + 3600):  # it was killed; the clock was set back
            os.utime(note, (time.time() + wrong,) * 2)
            later(ringer)
            ringer.ring()
            assert ringer._ports == []
        other = WakeupSocket(tmp_path)
        other.close()
        assert notes(tmp_path) == []
        bell.keep(time.monotonic())
        assert notes(tmp_path) == [], "not at every turn"
        bell.keep(time.monotonic() + TOUCH_SECONDS)
        later(ringer)
        ringer.ring()
        assert rung(bell)
    finally:
        bell.close()
        ringer.close()


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    bell = WakeupSocket(tmp_path)
    (tmp_path / FOLDER_NAME).rename(tmp_path / "away")
    bell.keep(time.monotonic() + TOUCH_SECONDS)
    bell.close()
    assert not (tmp_path / FOLDER_NAME).exists()


def test_the_folder_is_made_where_there_is_none(tmp_path: Path) -> None:
    bell = WakeupSocket(tmp_path / "data")
    try:
        (note,) = notes(tmp_path / "data")
        folder = tmp_path / "data" / FOLDER_NAME
        assert [path.stat().st_mode & 0o777 for path in (folder.parent, folder, folder / note)] == [0o700, 0o700, 0o600]
    finally:
        bell.close()
