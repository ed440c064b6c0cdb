"""The worker's bell."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

from gateway.store.wakeup import FOLDER, GONE, TOUCH, Bell, Ringer


def rung(bell: Bell, seconds: float = 2.0) -> bool:
    return bool(select.select([bell.socket], [], [], seconds)[0])


def test_a_ring_is_heard_and_hushed(tmp_path: Path) -> None:
    bell, ringer = Bell(tmp_path), Ringer(tmp_path)
    try:
        ringer.ring()
        ringer.ring()
        assert rung(bell)
        bell.hush()
        assert not rung(bell, 0)
    finally:
        bell.close()
        ringer.close()


def later(ringer: Ringer) -> None:
    """It looks who is there, as it does once a second."""
    ringer._looked = -10.0


def notes(data: Path) -> list[str]:
    return sorted(path.name for path in (data / FOLDER).iterdir())


def test_nobody_need_be_there(tmp_path: Path) -> None:
    ringer = Ringer(tmp_path)
    try:
        ringer.ring()
        (tmp_path / FOLDER).mkdir()
        for name in ("what?", "70000", "0", "٣", ".tmp", "123456"):
            (tmp_path / FOLDER / name).touch()
        later(ringer)
        ringer.ring()
        assert ringer._ports == []
    finally:
        ringer.close()


def test_a_worker_that_moved_is_found_again(tmp_path: Path) -> None:
    ringer = Ringer(tmp_path)
    first = Bell(tmp_path)
    ringer.ring()
    assert rung(first)
    first.close()
    second = Bell(tmp_path)
    try:
        later(ringer)
        ringer.ring()
        assert rung(second)
    finally:
        second.close()
        ringer.close()


def test_every_worker_is_rung_whoever_comes_and_goes(tmp_path: Path) -> None:
    ringer, bells = Ringer(tmp_path), [Bell(tmp_path) for _ in range(3)]
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
    ringer, bell = Ringer(tmp_path), Bell(tmp_path)
    note = tmp_path / FOLDER / str(bell.socket.getsockname()[1])
    try:
        for wrong in (-GONE - 1, GONE + 3600):  # it was killed; the clock was set back
            os.utime(note, (time.time() + wrong,) * 2)
            later(ringer)
            ringer.ring()
            assert ringer._ports == []
        other = Bell(tmp_path)
        other.close()
        assert notes(tmp_path) == []
        bell.keep(time.monotonic())
        assert notes(tmp_path) == [], "not at every turn"
        bell.keep(time.monotonic() + TOUCH)
        later(ringer)
        ringer.ring()
        assert rung(bell)
    finally:
        bell.close()
        ringer.close()


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    bell = Bell(tmp_path)
    (tmp_path / FOLDER).rename(tmp_path / "away")
    bell.keep(time.monotonic() + TOUCH)
    bell.close()
    assert not (tmp_path / FOLDER).exists()


def test_the_folder_is_made_where_there_is_none(tmp_path: Path) -> None:
    bell = Bell(tmp_path / "data")
    try:
        (note,) = notes(tmp_path / "data")
        folder = tmp_path / "data" / FOLDER
        assert [path.stat().st_mode & 0o777 for path in (folder.parent, folder, folder / note)] == [0o700, 0o700, 0o600]
    finally:
        bell.close()
