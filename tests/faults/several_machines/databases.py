"""PostgreSQL on two hosts: one that is written to, one that has all of it on its disk before anybody is answered."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.several_machines.network import Network
from tests.postgresql_server import find_programs

PORT = 5432
USER = "nobody"
"""PostgreSQL never runs as root."""
# Nobody pulls the plug of the machine itself: what a server that is killed has written stays written.
SETTINGS = """
listen_addresses = '{address}'
port = {port}
unix_socket_directories = '{folder}'
fsync = {fsync}
max_connections = 60
shared_buffers = 32MB
log_min_messages = warning
autovacuum = off
wal_level = replica
max_wal_senders = 4
wal_keep_size = 256MB
hot_standby = on
synchronous_standby_names = ''
wal_retrieve_retry_interval = 200ms
wal_receiver_timeout = 5s
wal_sender_timeout = 5s
"""
# Nothing but the hosts of this test can reach these servers.
WELCOME = "local all all trust\nhost all all 10.77.2.0/24 trust\nhost replication all 10.77.2.0/24 trust\n"


class Server:
    """One PostgreSQL on one host. Its socket is a file, so that the test itself reaches it from where it is."""

    def __init__(self, network: Network, host: str, folder: Path, fsync: bool = False) -> None:
        self.host, self.folder, self.address = host, folder, network.address(host, "back")
        self._network, self._programs, self._data = network, find_programs(), folder / "data"
        self._fsync = "on" if fsync else "off"
        folder.mkdir(mode=0o755)
        shutil.chown(folder, USER)

    def make(self) -> None:
        """Anew, with an empty database."""
        self._run("initdb", "--no-sync", "--encoding=UTF8", "--no-locale", "--username=gateway", "--auth=trust")
        self._configure("")
        self.start()
        with self.connect("postgres") as conn:
            conn.execute("CREATE DATABASE gateway")

    def follow(self, primary: Server) -> None:
        """Made anew as a copy of that one, which from now on waits for it at each commit."""
        shutil.rmtree(self._data, ignore_errors=True)
        source = f"host={primary.address} port={PORT} user=gateway"
        self._run("pg_basebackup", f"--dbname={source}", "--checkpoint=fast", "--no-sync")
        self._configure(f"primary_conninfo = '{source} application_name={self.host}'")
        (self._data / "standby.signal").touch()
        self.start()
        with primary.connect() as conn:
            conn.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            conn.execute("SELECT pg_reload_conf()")

    def start(self) -> None:
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={self.folder / 'log'}")

    def kill(self) -> None:
        """At once, as a crash would do it."""
        self._run("pg_ctl", "stop", "--mode=immediate", "--wait", "--silent")

    def promote(self) -> None:
        self._run("pg_ctl", "promote", "--wait", "--silent")

    def connect(self, database: str = "gateway") -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(f"host={self.folder} port={PORT} user=gateway dbname={database}", autocommit=True)

    def one(self, query: str) -> Any:
        """The first value of the first row."""
        with self.connect() as conn:
            row = conn.execute(query.encode()).fetchone()
            return None if row is None else row[0]

    def is_followed(self) -> bool:
        """Whether a commit waits for the other, and the other is there."""
        return bool(self.one("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"))

    def _configure(self, more: str) -> None:
        settings = SETTINGS.format(address=self.address, port=PORT, folder=self.folder, fsync=self._fsync)
        (self._data / "postgresql.conf").write_text(settings + more)
        (self._data / "postgresql.auto.conf").write_text("")
        (self._data / "pg_hba.conf").write_text(WELCOME)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments, f"--pgdata={self._data}"]
        done = subprocess.run(
            self._network.on(self.host, command, USER),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=os.environ | {"LC_ALL": "C"},
        )
        log = self.folder / "log"
        said = done.stderr + (log.read_text()[-2000:] if done.returncode and log.exists() else "")
        assert done.returncode == 0, f"{program} on {self.host}: {said}"
