"""Fixtures for all tests: databases of both kinds, a fresh one for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.config import validate
from gateway.store import Store
from tests.postgresql_server import PostgresqlServer
from tests.prepared import migrate

validate.PYTHON = (3, 12, 4)  # no configuration of a test is to be warned of the Python that happens to run the tests


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """One server for the whole run (for each worker of pytest-xdist); without PostgreSQL this is an error, no skip."""
    server = PostgresqlServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgresql_tables(postgresql: PostgresqlServer) -> str:
    """A database with the tables and nothing in them, to be copied: quicker than making them."""
    name = postgresql.create()
    with Store(postgresql.url(name)) as made:
        made.migrate()
    return name


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Where a database file may be made."""
    return f"sqlite:///{tmp_path / 'data' / 'gateway.db'}"


@pytest.fixture
def postgresql_url(postgresql: PostgresqlServer) -> Iterator[str]:
    """An empty database."""
    name = postgresql.create()
    yield postgresql.url(name)
    postgresql.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database without tables; a test that takes this runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Iterator[Store]:
    """For tests that need some store, and do not care for its kind."""
    with Store(sqlite_url) as made:
        migrate(made)
        yield made


@pytest.fixture(scope="session")
def postgresql_lent(postgresql: PostgresqlServer, postgresql_tables: str) -> str:
    """A database that one test has after the other: to empty its tables is quicker than to make another one."""
    return postgresql.create(postgresql_tables)


@pytest.fixture
def postgresql_store(postgresql: PostgresqlServer, postgresql_lent: str) -> Iterator[Store]:
    """Whoever changes more than rows takes `postgresql_own_store`."""
    with Store(postgresql.url(postgresql_lent)) as made:
        yield made
    postgresql.empty(postgresql_lent)


@pytest.fixture
def postgresql_own_store(postgresql: PostgresqlServer, postgresql_tables: str) -> Iterator[Store]:
    name = postgresql.create(postgresql_tables)
    with Store(postgresql.url(name)) as made:
        yield made
    postgresql.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Store:
    """A store with its tables; a test that takes this runs once on each kind."""
    made: Store = request.getfixturevalue(f"{request.param}_store")
    return made


@pytest.fixture
def another(store: Store) -> Iterator[Callable[[], Store]]:
    """Opens the same database once more, as another process would."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(Store(store.url))
