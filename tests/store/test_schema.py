"""The migrations make what `gateway.store.schema` says, on both databases, to the letter."""

from __future__ import annotations

import subprocess
import sys

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from gateway.store import Store
from gateway.store.schema import metadata

SQLITE = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND tbl_name <> 'alembic_version'"
POSTGRESQL = """
    SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename <> 'alembic_version'
    UNION ALL
    SELECT table_name || '.' || column_name, concat_ws(' ', data_type, is_nullable, column_default, is_identity)
      FROM information_schema.columns WHERE table_schema = current_schema() AND table_name <> 'alembic_version'
    UNION ALL
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
     WHERE connamespace = current_schema()::regnamespace AND conrelid::regclass::text <> 'alembic_version'
"""


def definitions(conn: Connection) -> dict[str, str]:
    found = conn.execute(text(SQLITE if conn.dialect.name == "sqlite" else POSTGRESQL))
    return {name: " ".join((sql or "").split()) for name, sql in found}


def test_the_migrations_make_the_tables_as_declared(database_url: str) -> None:
    with Store(database_url) as store:
        store.migrate()
        with store.reader() as conn:
            assert compare_metadata(MigrationContext.configure(conn), metadata) == []
            migrated = definitions(conn)
        store.writer.write(remake)
        with store.reader() as conn:
            assert definitions(conn) == migrated
    assert len(migrated) > 20


def remake(conn: Connection) -> None:
    metadata.drop_all(conn)
    assert definitions(conn) == {}
    metadata.create_all(conn)


def test_conditions_of_indexes_stand_in_both_databases(store: Store) -> None:
    """PostgreSQL's are declared apart from the tables."""
    partial = {
        index.name
        for table in metadata.tables.values()
        for index in table.indexes
        if index.dialect_options["sqlite"]["where"] is not None
    }
    with store.reader() as conn:
        found = definitions(conn)
    assert partial and partial == {name for name, definition in found.items() if " WHERE " in definition}


def test_a_usual_start_loads_neither_alembic_nor_the_other_dialect(sqlite_store: Store) -> None:
    """The two take as long as a third of a start."""
    program = f"import sys; from gateway.store import Store; Store({sqlite_store.url!r}).migrate()"
    heavy = "sys.exit(bool({'alembic', 'psycopg', 'sqlalchemy.dialects.postgresql'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", f"{program}; {heavy}"], check=False).returncode == 0
