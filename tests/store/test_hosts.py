"""A database on several hosts: how they are named, which is asked first, and what a commit is worth there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from urllib.parse import urlencode

import pytest
from sqlalchemy import Connection, create_engine, make_url, text

from gateway.store import Store, StoreUnavailable, WrongDatabase, events
from gateway.store.postgresql import HostConnector, sqlalchemy_url
from tests.postgresql_server import PostgresqlServer
from tests.running import free_port
from tests.store_samples import EVENT, add, count, until

CANCEL = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """One that may be told to wait for a standby that never comes."""
    made = PostgresqlServer()
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://u:[#@h/d", "postgresql://u:[#@h/d"),
        ("postgresql://u:p%40,w@h:1/d?x=y", "postgresql://u:p%40,w@h:1/d?x=y"),
        ("postgresql://u@[::1],b:2/d", "postgresql://u@/d?host=::1,b&port=5432,2"),
        ("postgresql://a,b/d", "postgresql:///d?host=a,b&port=5432,5432"),
        ("postgresql://u:p@a:1,b:2/d?x=y&z=1", "postgresql://u:p@/d?host=a,b&port=1,2&x=y&z=1"),
        ("sqlite:////srv/a,b.db", "sqlite:////srv/a,b.db"),
    ],
)
def test_several_hosts_as_libpq_names_them(written: str, read: str) -> None:
    assert sqlalchemy_url(written) == read


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("a:5433,b:5434", ("a,b", "5433,5434")),
        ("a,b", ("a,b", "5432,5432")),
        ("[::1]:5433,b:5434", ("::1,b", "5433,5434")),
    ],
)
def test_the_driver_is_given_every_host(hosts: str, expected: tuple[str, str | None]) -> None:
    url = make_url(sqlalchemy_url(f"postgresql+psycopg://u@{hosts}/d?target_session_attrs=read-write"))
    _, given = create_engine(url).dialect.create_connect_args(url)
    assert (given["host"], given.get("port")) == expected
    assert (given["dbname"], given["user"], given["target_session_attrs"]) == ("d", "u", "read-write")


@pytest.mark.parametrize("hosts", ["a:x,b:y", "a,,b", "a,b:1:2", "[::1,b"])
def test_hosts_that_cannot_be_read_are_not_quoted(hosts: str) -> None:
    with pytest.raises(WrongDatabase) as caught:
        Store(f"postgresql://u:secret@{hosts}/d")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("spelling", ["commas", "words"])
def test_whichever_host_can_be_written_to(server: PostgresqlServer, spelling: str) -> None:
    """On the first nobody listens."""
    url = make_url(server.tcp_url(server.create()))
    hosts = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{url.port}"]
    login, query = f"postgresql://{url.username}:{url.password}@", {"target_session_attrs": "read-write"}
    named = f"{login}{','.join(hosts)}/{url.database}?{urlencode(query)}"
    if spelling == "words":
        named = f"{login}/{url.database}?{urlencode([*(('host', host) for host in hosts), *query.items()])}"
    with Store(named) as store:
        store.migrate()
        assert (add(store), count(store)) == (1, 1)


def test_the_host_that_answered_last_is_asked_first(server: PostgresqlServer) -> None:
    url = make_url(server.tcp_url("postgres"))
    gone, door = free_port(), HostConnector()
    given = {
        "host": "127.0.0.1,127.0.0.1",
        "port": f"{gone},{url.port}",
        "user": url.username,
        "password": url.password,
        "dbname": "postgres",
    }
    with closing(door.connect(None, None, (), given)) as made:
        assert made.info.port == url.port
    assert door.in_order(given)["port"] == f"{url.port},{gone}"
    with closing(door.connect(None, None, (), given | {"port": f"{url.port},{gone}"})) as made:
        assert made.info.port == url.port


def test_a_commit_that_did_not_wait_for_the_standby_is_none(server: PostgresqlServer) -> None:
    """PostgreSQL says "committed" with a warning where somebody cancels the wait: it is on one disk alone."""

    def cancelled() -> bool:
        # The server is told of the standby before all of its processes know.
        if not added or added[-1].done():
            added.append(store.writer.submit(partial(events.add, new=EVENT)))
        return bool(conn.execute(CANCEL).fetchall()[0][0])

    added: list[Future[int]] = []
    with Store(server.url(server.create())) as store, server.connect() as conn:
        store.migrate()
        conn.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        conn.execute("SELECT pg_reload_conf()")
        try:
            until(cancelled)
            with pytest.raises(StoreUnavailable, match=r"commit: .*synchronous replication"):
                added[-1].result(20)
        finally:
            conn.execute("ALTER SYSTEM RESET synchronous_standby_names")
            conn.execute("SELECT pg_reload_conf()")
        until(lambda: conn.execute("SHOW synchronous_standby_names").fetchall()[0][0] == "")
        assert add(store) > len(added)
        assert count(store) == len(added) + 1


def test_both_ends_notice_a_cable_that_was_pulled(server: PostgresqlServer) -> None:
    def settings(work: Connection) -> list[str]:
        names = ("tcp_user_timeout", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
        return [str(work.execute(text(f"SHOW {name}")).scalar_one()) for name in names]

    with Store(server.tcp_url(server.create())) as store:
        assert store.writer.write(settings) == ["4000", "2", "1", "2"]


def test_the_server_lets_go_of_a_process_that_slept(server: PostgresqlServer) -> None:
    """In the middle of a transaction: it may have held locks that others needed."""

    def sleep(work: Connection) -> None:
        pid = work.execute(text("SELECT pg_backend_pid()")).scalar_one()
        work.execute(text("SET idle_in_transaction_session_timeout = '20ms'"))
        until(lambda: not conn.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchall())
        events.add(work, EVENT)

    with Store(server.url(server.create())) as store, server.connect() as conn:
        store.migrate()
        with pytest.raises(StoreUnavailable):
            store.writer.write(sleep)
        assert add(store) == 1
