"""`/readyz` tells the truth in three seconds, whatever is wrong with the store; `/healthz` speaks of the process."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from structlog.testing import capture_logs

from gateway.store import Connection, Store, sqlite
from gateway.web import health
from tests.postgresql_server import PostgresqlServer
from tests.running import until
from tests.visitor import BASE, console

SOON = 3.0


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with console(tmp_path) as made:
        yield made


def store_of(app: Flask) -> Store:
    found: Store = app.extensions["gateway"].store
    return found


def status(app: Flask, path: str = "/readyz") -> int:
    began = time.monotonic()
    answer = app.test_client().get(path)
    assert time.monotonic() - began < SOON
    return answer.status_code


def red(app: Flask, reason: str = "") -> None:
    """Not ready, and the log says why."""
    with capture_logs() as logs:
        assert (status(app), status(app, "/healthz")) == (503, 200)
    (line,) = [one for one in logs if one["event"] == "store_not_ready"]
    assert line["log_level"] == "warning" and line["reason"] and reason in line["reason"]
    said = app.test_client().get("/metrics")
    assert said.status_code == 200 and "gateway_store_ready 0.0" in said.text


def test_green(app: Flask) -> None:
    assert (status(app), status(app, "/healthz")) == (200, 200)


@pytest.mark.parametrize("counts", ["", "Ip: A\nIp: 1\n", "Tcp: EstabResets\nTcp: 1 2\n", "Tcp: A\nTcp: 1\n"])
def test_a_kernel_that_counts_no_resets(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: str
) -> None:
    (tmp_path / "snmp").write_text(counts)
    monkeypatch.setattr(health, "Path", lambda name: tmp_path / "snmp")
    said = app.test_client().get("/metrics")
    assert said.status_code == 200 and "gateway_store_ready 1.0" in said.text and "tcp_resets" not in said.text


def test_a_locked_database(app: Flask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(app) == 200
    with closing(sqlite3.connect(tmp_path / "data" / "gateway.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        red(app)
        other.execute("ROLLBACK")
    until(lambda: status(app) == 200, "green again by itself")
    assert capsys.readouterr().out.count("store_back") == 1


def test_a_file_that_is_gone(app: Flask, tmp_path: Path) -> None:
    assert status(app) == 200
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    red(app)
    (tmp_path / "elsewhere").rename(tmp_path / "data")
    until(lambda: status(app) == 200, "green again by itself")


def test_a_file_that_cannot_be_written(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read-only for the user of the gateway; SQLite is told so, as root may write anything."""
    monkeypatch.setattr(sqlite, "WRITING", (*sqlite.WRITING, "PRAGMA query_only = ON"))
    with Store(store_of(app).url) as other:
        assert other.is_current() and not other.ready()


def test_a_full_disk(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil._ntuple_diskusage(10**9, 10**9, 0)
    monkeypatch.setattr(sqlite, "DISK_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(sqlite.shutil, "disk_usage", lambda _path: full)
    red(app, "the disk is nearly full")
    assert "gateway_deliveries_owed" in app.test_client().get("/metrics").text, "what is owed can still be read"


def test_a_writer_that_hangs(app: Flask) -> None:
    """In the midst of a commit, on a disk that never answers, say."""
    go_on = threading.Event()

    def hang(_connection: Connection) -> None:
        go_on.wait(60)

    store_of(app).writer.submit(hang)
    red(app, "nothing was committed within 2 s")
    red(app, "nothing was committed within 2 s")
    go_on.set()
    until(lambda: status(app) == 200, "green again by itself")


def test_postgresql_gone_and_back(tmp_path: Path) -> None:
    server = PostgresqlServer()
    server.start()
    try:
        url = server.url(server.create())
        with console(tmp_path, BASE.replace("sqlite:///data/gateway.db", url)) as app:
            assert status(app) == 200
            server.halt()
            red(app)
            server.resume()
            until(lambda: status(app) == 200, "green again by itself")
    finally:
        server.stop()


def test_tables_of_this_version(database_url: str) -> None:
    with Store(database_url) as store:
        assert not store.is_current(), "there are none"
        store.migrate()
        assert store.is_current()
        store.writer.write(lambda conn: conn.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'"))
        assert not store.is_current()
    with Store("postgresql://nobody@127.0.0.1:1/nowhere") as store:
        assert not store.is_current()
