"""The worker's bell."""

from __future__ import annotations

import select
from pathlib import Path

from gateway.bell import Bell, Ringer


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


def test_nobody_need_be_there(tmp_path: Path) -> None:
    ringer = Ringer(tmp_path)
    try:
        ringer.ring()
        (tmp_path / "worker.port").write_text("what?")
        ringer._looked = -10.0
        ringer.ring()
        assert ringer._port == 0
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
        ringer._looked = -10.0
        ringer.ring()
        assert rung(second)
    finally:
        second.close()
        ringer.close()


def test_the_folder_is_made_where_there_is_none(tmp_path: Path) -> None:
    bell = Bell(tmp_path / "data")
    bell.close()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data" / "worker.port").stat().st_mode & 0o777 == 0o600
