"""Notices between machines, on a real PostgreSQL; SQLite has none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from sqlalchemy import text

from gateway.store import Store, notices
from tests.running import until
from tests.store_samples import letter, owe


@contextmanager
def hearing(store: Store) -> Iterator[list[str]]:
    """All that was heard so far. The first is always the empty name: what was owed before anybody listened."""
    heard: list[str] = []
    listener = notices.listen(store.apart, heard.extend)
    assert listener
    try:
        until(lambda: heard == [""], "listens")
        yield heard
    finally:
        listener.close(10)


def tell(store: Store, endpoints: Iterable[str]) -> None:
    store.writer.write(partial(notices.mark_due, endpoints=endpoints))


def test_another_machine_hears_of_it(postgresql_store: Store) -> None:
    with Store(postgresql_store.url) as other, hearing(other) as heard:
        tell(postgresql_store, ["crm", "signup", "crm"])
        until(lambda: heard == ["", "crm", "signup"], "heard")


def test_what_was_not_committed_is_not_heard(postgresql_store: Store) -> None:
    def fails(conn: notices.Connection) -> None:
        notices.mark_due(conn, ["never"])
        raise ValueError("no")

    with hearing(postgresql_store) as heard:
        with pytest.raises(ValueError, match="no"):
            postgresql_store.writer.write(fails)
        tell(postgresql_store, ["after"])
        until(lambda: "after" in heard, "heard")
    assert "never" not in heard


def test_too_many_names_are_all_of_them(postgresql_store: Store) -> None:
    with hearing(postgresql_store) as heard:
        tell(postgresql_store, [f"https://application.test/{nth:0200}" for nth in range(100)])
        until(lambda: heard == ["", ""], "heard")


def test_it_listens_again_after_the_connection_is_lost(postgresql_store: Store) -> None:
    end = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with hearing(postgresql_store) as heard:
        with postgresql_store.reader() as conn:
            assert conn.execute(end).all()
        until(lambda: heard == ["", ""], "listens again")
        tell(postgresql_store, ["crm"])
        until(lambda: heard[-1] == "crm", "heard")


def test_a_database_that_is_away_holds_up_nobody(postgresql_store: Store) -> None:
    heard: list[str] = []
    with Store("postgresql://nobody@127.0.0.1:1/nowhere") as away:
        listener = notices.listen(away.apart, heard.extend)
        assert listener
        listener.close(10)
    assert not heard


def test_sqlite_has_none(sqlite_store: Store) -> None:
    heard: Callable[[Iterable[str]], object] = list
    assert notices.listen(sqlite_store.apart, heard) is None
    tell(sqlite_store, ["crm"])


def test_who_owes_tells_once_for_each_endpoint(postgresql_store: Store) -> None:
    long = "https://application.test/" + "q" * notices.LONGEST
    with hearing(postgresql_store) as heard:
        owe(postgresql_store, letter("crm|1"), letter("crm|1"), letter("crm|2"), letter("a|1", "signup"))
        until(lambda: len(heard) == 3, "heard")
        owe(postgresql_store, letter("x|1", long))
        until(lambda: len(heard) == 4, "heard")
    assert heard == ["", "crm", "signup", ""]
