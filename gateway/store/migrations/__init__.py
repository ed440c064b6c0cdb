"""Brings a database to this version's tables: under a lock, in one transaction, any number of times."""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import Connection, inspect

from gateway.store.errors import WrongDatabase

# Alembic takes a third of the time in which all the rest of the store is imported, and nearly no process has a use
# for it: it is imported where something is to be done.
HEAD = max(path.stem for path in (Path(__file__).parent / "versions").glob("[0-9]*.py"))
_ONE_AT_A_TIME = threading.Lock()  # Alembic has one context for the whole process


def is_current(conn: Connection) -> bool:
    """True: its tables are those of this version. Raises the database's error where it has none of ours."""
    return conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == HEAD


def upgrade(conn: Connection) -> None:
    """Runs what is missing, in the transaction of `conn`. `WrongDatabase`: a newer version of the gateway made it."""
    if inspect(conn).has_table("alembic_version") and is_current(conn):
        return
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = conn
    with _ONE_AT_A_TIME:
        script = ScriptDirectory.from_config(config)
        known = {revision.revision for revision in script.walk_revisions()}
        if unknown := set(MigrationContext.configure(conn).get_current_heads()) - known:
            raise WrongDatabase(
                f"This database was made by a newer version of the gateway (its tables are of revision {min(unknown)}, "
                f"this version knows them up to {script.get_current_head()}): "
                "install that version, or restore a backup."
            )
        command.upgrade(config, "head")
