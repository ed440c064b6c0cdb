"""The live holder of the configuration, and the secrets that it makes where nobody set them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.config import ConfigError, Settings, loads, make_private
from gateway.config.load import CHECK_INTERVAL_SECONDS
from gateway.config.secrets import secrets_for

SECRETS = '[gateway]\nkeys = ["canary-key-0123456789"]\npassword = "canary-password"\n'


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        self.now += CHECK_INTERVAL_SECONDS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


def write(path: Path, text: str) -> None:
    """Like an editor that writes in place; the time is moved on, whatever the file system's clock can tell apart."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(SECRETS + text)
    os.utime(path, ns=(before + 1, before + 1))


def test_a_changed_file_is_read_again_once_a_second(path: Path) -> None:
    clock = Clock()
    write(path, "retention_days = 1")
    settings = Settings(path, {}, clock=clock)
    first = settings.current
    assert first.retention_days == 1
    write(path, "retention_days = 2")
    assert settings.current is first
    clock.tick()
    with capture_logs() as logs:
        assert settings.current.retention_days == 2
    assert [(log["event"], log["log_level"]) for log in logs] == [("configuration_read", "info")]
    clock.tick()
    second = settings.current
    assert second is settings.current


def test_a_broken_file_is_refused_until_it_is_mended(path: Path) -> None:
    clock = Clock()
    write(path, "retention_days = 1")
    settings = Settings(path, {}, clock=clock)
    good = settings.current
    assert settings.refused is None
    write(path, 'retention_days = 0\ncountry = "canary"')
    clock.tick()
    with capture_logs() as logs:
        assert settings.current is good
    assert settings.refused is not None
    assert [fault.path for fault in settings.refused.faults] == ["gateway.retention_days", "gateway.country"]
    (log,) = logs
    assert (log["event"], log["log_level"]) == ("configuration_refused", "error")
    assert log["faults"] == ["gateway.retention_days:4", "gateway.country:5"]
    assert "canary" not in str(log)
    clock.tick()
    with capture_logs() as logs:
        assert settings.current is good
    assert logs == []
    write(path, "retention_days = 3")
    clock.tick()
    assert settings.current.retention_days == 3
    assert settings.refused is None


def test_what_is_refused_is_known_without_asking_for_the_current(path: Path) -> None:
    clock = Clock()
    write(path, "")
    settings = Settings(path, {}, clock=clock)
    write(path, "= 1")
    clock.tick()
    assert settings.refused is not None


def test_a_file_that_is_gone_is_refused(path: Path) -> None:
    clock = Clock()
    write(path, "retention_days = 1")
    settings = Settings(path, {}, clock=clock)
    path.unlink()
    clock.tick()
    assert settings.current.retention_days == 1
    assert "there is no such file" in str(settings.refused)
    write(path, "retention_days = 1")
    clock.tick()
    assert settings.refused is None


def test_a_replaced_file_is_a_changed_one(path: Path) -> None:
    clock = Clock()
    write(path, "retention_days = 1")
    settings = Settings(path, {}, clock=clock)
    draft = path.with_suffix(".new")
    draft.write_text(SECRETS + "retention_days = 2")
    os.utime(draft, ns=(path.stat().st_mtime_ns,) * 2)
    draft.replace(path)
    clock.tick()
    assert settings.current.retention_days == 2


def test_the_first_reading_raises(path: Path) -> None:
    with pytest.raises(ConfigError):
        Settings(path, {})


def test_another_database_counts_from_the_next_start(path: Path) -> None:
    clock = Clock()
    write(path, 'database = "sqlite:///a.db"')
    settings = Settings(path, {}, clock=clock)
    write(path, 'database = "sqlite:///b.db"\nretention_days = 5')
    clock.tick()
    with capture_logs() as logs:
        current = settings.current
    assert current.database.endswith("/a.db")
    assert current.retention_days == 5
    assert (
        "gateway.toml: gateway.database: has changed; the new value takes effect at the next start" in current.warnings
    )
    assert [log["event"] for log in logs] == ["configuration_needs_restart", "configuration_read"]


def test_threads_never_see_anything_but_a_whole_configuration(path: Path) -> None:
    clock = Clock()
    write(path, "retention_days = 1")
    settings = Settings(path, {}, clock=clock)
    wrong: list[object] = []
    done = threading.Event()

    def reader() -> None:
        last = 0
        while not done.is_set():
            days = settings.current.retention_days
            if days < last or settings.refused:
                wrong.append((last, days, settings.refused))
            last = days

    readers = [threading.Thread(target=reader) for _ in range(4)]
    for each in readers:
        each.start()
    try:
        for days in range(2, 30):
            draft = path.with_suffix(".new")
            write(draft, f"retention_days = {days}")
            draft.replace(path)
            clock.tick()
    finally:
        done.set()
        for each in readers:
            each.join()
    clock.tick()
    assert settings.current.retention_days == 29
    assert wrong == []


def test_settings_that_never_change(tmp_path: Path) -> None:
    config = loads(SECRETS, path=tmp_path / "none.toml", environ={})
    settings = Settings(config)
    assert settings.current is config
    assert (settings.refused, settings.secrets) == (None, None)


def test_the_file_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    sandbox = loads(SECRETS + "retention_days = 9", path=path, environ={})
    assert Settings.found({}, otherwise=lambda: sandbox).current is sandbox
    with pytest.raises(ConfigError):
        Settings.found({"GATEWAY_CONFIG": "other.toml"}, otherwise=lambda: sandbox)
    with pytest.raises(ConfigError):
        Settings.found({})
    write(path, "retention_days = 1")
    assert Settings.found({}, otherwise=lambda: sandbox).current.retention_days == 1
    write(path.with_name("other.toml"), "retention_days = 2")
    assert Settings.found({"GATEWAY_CONFIG": "other.toml"}).current.retention_days == 2


# Keys and password that nobody set.


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_not_set_is_made_once(path: Path) -> None:
    path.write_text("")
    first = Settings(path, {})
    assert first.secrets is not None
    assert first.secrets.made == {"keys", "password"}
    assert re.fullmatch(r"[0-9a-f]{32}", *first.current.keys)
    assert re.fullmatch(r"[a-z2-9]{5}(-[a-z2-9]{5}){3}", first.current.password)
    second = Settings(path, {})
    assert second.secrets is not None
    assert second.secrets.made == frozenset()
    assert (second.current.keys, second.current.password) == (first.current.keys, first.current.password)
    assert first.current.password not in repr(second.secrets) + repr(second.current)


def test_they_are_for_the_owner_alone(tmp_path: Path) -> None:
    data = tmp_path / "deep" / "data"
    secrets_for(data)
    assert mode(data) == 0o700
    assert {name: mode(data / name) for name in os.listdir(data)} == {"keys": 0o600, "password": 0o600}
    data.chmod(0o755)
    (data / "keys").chmod(0o644)
    secrets_for(data)
    assert (mode(data), mode(data / "keys")) == (0o700, 0o600)


def test_only_what_is_missing_comes_from_there(path: Path) -> None:
    path.write_text('[gateway]\nkeys = ["from-the-file-0123"]')
    settings = Settings(path, {})
    assert settings.current.keys == ("from-the-file-0123",)
    assert settings.current.password == (path.parent / "data" / "password").read_text().strip()


def test_no_key_is_made_beside_named_ones(path: Path) -> None:
    path.write_text('[[key]]\nname = "crm"\nvalue = "from-the-file-0123"')
    settings = Settings(path, {})
    assert settings.current.keys == () and [key.name for key in settings.current.all_keys] == ["crm"]
    assert os.listdir(path.parent / "data") == ["password"]


def test_nothing_is_made_where_both_are_set(path: Path) -> None:
    write(path, "")
    assert Settings(path, {}).secrets is None
    assert not (path.parent / "data").exists()


def test_several_keys_may_be_kept(tmp_path: Path) -> None:
    make_private(tmp_path)
    (tmp_path / "keys").write_text("new-one\n\n old-one \n")
    assert secrets_for(tmp_path).keys == ("new-one", "old-one")


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "data/keys is empty; delete it"), (b"\xff\xfe\x00", "data/keys is not text")]
)
def test_a_kept_file_that_is_no_good(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        secrets_for(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ConfigError, match="data/keys cannot be read or made: "):
        secrets_for(tmp_path / "data")


RACE = """
import sys
from pathlib import Path
from gateway.config.secrets import secrets_for
sys.stdin.read(1)
found = secrets_for(Path(sys.argv[1]))
print(found.keys, found.password, sorted(found.made))
"""


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path / "data")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("x")
        racer.stdin.flush()
    said = [racer.communicate()[0].strip() for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 4
    assert len({line.partition(" [")[0] for line in said}) == 1
    assert sum("'keys'" in line.partition(" [")[2] for line in said) == 1
    assert sum("'password'" in line.partition(" [")[2] for line in said) == 1
    assert sorted(os.listdir(tmp_path / "data")) == ["keys", "password"]
