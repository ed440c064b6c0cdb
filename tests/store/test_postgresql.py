"""What goes wrong with a server, and what is promised of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from psycopg import sql
from sqlalchemy import Connection, make_url, text

import gateway.store.postgresql
from gateway.inbound import accept
from gateway.inbound.callback import Callback
from gateway.sender.batch import SubmitBatch
from gateway.sender.outcome import SubmissionResult
from gateway.store import (
    Store,
    StoreUnavailable,
    WrongDatabase,
    events,
    group_commit,
    leases,
    message_status,
    replay,
    retention,
)
from schemas.status import supersedes
from tests import acme, sends
from tests.postgresql_server import PostgresqlServer
from tests.store_samples import EVENT, NOW, add, claim, count, letter, owe, settle, until

HANG_UP = text("SELECT pg_terminate_backend(pg_backend_pid())")
HANG_UP_AT_COMMIT = """
CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(10); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER hang_up AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION hang_up();
"""


@pytest.fixture
def store(postgresql_own_store: Store) -> Store:
    """Here of one kind only."""
    return postgresql_own_store


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """One that may be stopped without spoiling other tests."""
    made = PostgresqlServer()
    try:
        made.start()
        yield made
    finally:
        made.stop()


def name_of(store: Store) -> str:
    return str(make_url(store.url).database)


def fail_with(conn: Connection, code: str) -> None:
    conn.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'said so' USING ERRCODE = '{code}'; END $$"))


def test_a_server_that_stops_is_unavailable_and_comes_back(server: PostgresqlServer) -> None:
    with Store(server.url(server.create())) as store:
        store.migrate()
        delivery_ids = owe(store, letter())
        assert count(store) == 1
        server.halt()
        with pytest.raises(StoreUnavailable):
            add(store)
        with pytest.raises(StoreUnavailable), store.reader():
            pass
        assert store.ready() is False
        server.resume()
        assert store.ready() is True
        assert count(store) == 1
        assert [one.delivery_id for one in claim(store)] == delivery_ids


def test_it_works_over_tcp_with_a_password(server: PostgresqlServer) -> None:
    with Store(server.tcp_url(server.create())) as store:
        store.migrate()
        assert add(store) == 1


def test_a_wrong_password_is_unavailable_and_not_quoted(server: PostgresqlServer) -> None:
    with Store(f"postgresql://gateway:canary@127.0.0.1:{server.port}/postgres") as store:
        with pytest.raises(StoreUnavailable) as caught:
            store.migrate()
        assert "canary" not in str(caught.value)
        assert store.ready() is False


def test_a_database_that_is_not_there_is_unavailable(server: PostgresqlServer) -> None:
    with Store(server.url("none")) as store, pytest.raises(StoreUnavailable, match="none"):
        store.migrate()


def test_connections_that_died_idle_are_noticed_before_it_matters(
    store: Store, postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.store.postgresql, "MAX_IDLE_SECONDS", 0.0)
    add(store)
    assert count(store) == 1
    with postgresql.connect() as conn:
        hang_up = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s"
        assert conn.execute(hang_up, [name_of(store)]).fetchall() == [(True,), (True,)]
    assert add(store) == 2
    assert count(store) == 2


def test_a_connection_that_dies_at_work_is_unavailable_and_nothing_is_kept(store: Store) -> None:
    def cut_off(conn: Connection) -> None:
        events.add(conn, EVENT)
        conn.execute(HANG_UP)

    with pytest.raises(StoreUnavailable):
        store.writer.write(cut_off)
    assert count(store) == 0
    assert add(store) > 0


def test_a_connection_that_dies_while_committing_is_not_taken_for_a_commit_and_not_repeated(store: Store) -> None:
    """Done or not, nobody knows: the platform calls again, and then it is a duplicate or it is new."""
    ran: list[int] = []

    def work(conn: Connection) -> str:
        ran.append(1)
        verdict = message_status.record_status(conn, "sid", "15551234567", "sent", NOW)
        events.add(conn, EVENT)
        return verdict

    store.writer.write(lambda conn: conn.exec_driver_sql(HANG_UP_AT_COMMIT) and None)
    with pytest.raises(StoreUnavailable, match="commit"):
        store.writer.write(work)
    assert ran == [1]
    store.writer.write(lambda conn: conn.exec_driver_sql("DROP TRIGGER hang_up ON events") and None)
    assert store.writer.write(work) == "new"


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_work_that_met_another_transaction_is_done_once_more(store: Store, code: str) -> None:
    left = [2]

    def work(conn: Connection) -> int:
        kept = events.add(conn, EVENT)
        if left[0]:
            left[0] -= 1
            fail_with(conn, code)
        return kept

    assert store.writer.write(work) > 0
    assert count(store) == 1


def test_but_not_for_ever(store: Store) -> None:
    ran: list[int] = []

    def work(conn: Connection) -> None:
        ran.append(1)
        fail_with(conn, "40001")

    with pytest.raises(StoreUnavailable, match="in conflict with other transactions"):
        store.writer.write(work)
    assert len(ran) == 1 + group_commit.MAX_TRIES


@pytest.mark.parametrize("code", ["53100", "57014", "25006", "55P03", "XX000"])
def test_what_the_server_cannot_do_now_is_not_the_works_fault(store: Store, code: str) -> None:
    with pytest.raises(StoreUnavailable, match="said so"):
        store.writer.write(partial(fail_with, code=code))
    assert add(store) > 0


def test_an_ordering_key_that_another_transaction_sits_on_is_waited_for_with_patience(store: Store) -> None:
    started, go_on = threading.Event(), threading.Event()

    def sit(conn: Connection) -> None:
        started.set()
        assert go_on.wait(20)

    with Store(store.url, lock_timeout=0.05) as hasty:
        sitting = store.writer.submit(sit, ordering_keys=["crm|1"])
        assert started.wait(20)
        with pytest.raises(StoreUnavailable, match="lock"):
            owe(hasty, letter("crm|1"))
        assert owe(hasty, letter("crm|2"))
        go_on.set()
        sitting.result(20)
        assert owe(hasty, letter("crm|1"))


def test_claims_step_around_each_other(store: Store, another: Callable[[], Store]) -> None:
    """What one machine is taking is not waited for by the next."""
    owe(store, letter("crm|1"), letter("crm|2"))
    taken, go_on = threading.Event(), threading.Event()

    def slowly(conn: Connection) -> list[leases.ClaimedDelivery]:
        claimed = leases.claim(conn, "slow", {"crm": leases.ClaimLimit(1)}, NOW, {"crm": 30.0})
        taken.set()
        assert go_on.wait(20)
        return claimed

    future = store.writer.submit(slowly)
    assert taken.wait(20)
    second = claim(another(), owner="quick")
    go_on.set()
    first = future.result(20)
    assert len(first) == len(second) == 1
    assert {one.ordering_key for one in first + second} == {"crm|1", "crm|2"}
    assert settle(store, first[0], owner="slow")


def waiting(server: PostgresqlServer, store: Store) -> int:
    """How many of this database's connections wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    with server.connect() as conn:
        return int(conn.execute(query, [name_of(store)]).fetchall()[0][0])


def test_what_two_machines_are_told_of_one_message_at_once_does_not_go_backwards(
    store: Store, postgresql: PostgresqlServer, another: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one has read what is known, and has not yet written what it makes of it, when the other comes."""

    def note(conn: Connection, status: str) -> str:
        return message_status.record_status(conn, "sid", "15551234567", status, NOW)

    def slowly(old: str, new: str) -> bool:
        if new == "delivered":
            read.set()
            assert go_on.wait(20)
        return supersedes(old, new)

    read, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(message_status, "supersedes", slowly)
    store.writer.write(partial(note, status="queued"))
    delivered = store.writer.submit(partial(note, status="delivered"))
    assert read.wait(20)
    sent = another().writer.submit(partial(note, status="sent"))
    until(lambda: sent.done() or waiting(postgresql, store) == 1)
    go_on.set()
    assert (delivered.result(20), sent.result(20)) == ("new", "stale")


def test_an_update_waits_for_who_is_learning_of_its_message(
    store: Store, postgresql: PostgresqlServer, another: Callable[[], Store], tmp_path: Path
) -> None:
    """Otherwise it would find its message still in flight, and wait for a release that has just been made."""
    config, url = sends.config(tmp_path), "https://legacy.example.com/status.php?id=7"
    sends.accept(store, config, status_url=url)
    (submission,) = store.writer.write(SubmitBatch(owner="one", config=config, now=sends.AT, limit=1).write).submissions
    answer = acme.update(message_sid="sid-1", status="queued", user_data=submission.claimed.delivery_id)
    ended = SubmissionResult(submission=submission, at=sends.AT + 1, outcome="succeeded", change="sent", answer=answer)
    round_ = SubmitBatch(owner="one", config=config, now=sends.AT + 1, ended=[ended])
    learnt, go_on = threading.Event(), threading.Event()

    def slowly(conn: Connection) -> None:
        round_.write(conn)
        learnt.set()
        assert go_on.wait(20)

    settling = store.writer.submit(slowly, ordering_keys=round_.ordering_keys)
    assert learnt.wait(20)
    body = acme.update(message_sid="sid-1", status="sent", user_data=None)
    callback = Callback(format="carrierx", body=body, content_type=None, remote="", now=acme.NOW)
    with ThreadPoolExecutor(1) as pool:
        update = pool.submit(accept.accept, callback, config, another())
        until(lambda: update.done() or waiting(postgresql, store) == 1)
        go_on.set()
        assert update.result(20).state == "accepted"
    settling.result(20)
    assert [status for _, status, _ in sends.posts(store, url)] == ["queued", "sent"]


def test_the_sweep_leaves_what_is_being_replayed(
    store: Store, postgresql: PostgresqlServer, another: Callable[[], Store]
) -> None:
    """It looked before the replay was committed, and deletes after."""
    delivery_ids = owe(store, letter("crm|1"), now=NOW - 100)
    settle(store, claim(store)[0], "dead", now=NOW - 90)
    with store.reader() as conn:
        found = replay.load_candidates(conn, replay.find(conn, replay.ReplayFilter()))
    replayed, go_on = threading.Event(), threading.Event()

    def slowly(conn: Connection) -> int:
        count = replay.replay(conn, found, state="dead", now=NOW, interval_seconds=0.0)
        replayed.set()
        assert go_on.wait(20)
        return count

    replaying = store.writer.submit(slowly, ordering_keys=["crm|1"])
    assert replayed.wait(20)
    sweeping = another().writer.submit(partial(retention.sweep, before=NOW))
    until(lambda: sweeping.done() or waiting(postgresql, store) == 1)
    go_on.set()
    assert (replaying.result(20), sweeping.result(20).events) == (1, 0)
    assert [one.delivery_id for one in claim(store)] == delivery_ids


def test_all_take_their_ordering_keys_in_one_order(
    store: Store, postgresql: PostgresqlServer, another: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They meet in the middle, before an ordering key that is held: the second must not hold what the first still
    needs."""

    def sit(conn: Connection) -> None:
        sitting.set()
        assert go_on.wait(20)

    def in_a_knot(
        self: group_commit.GroupCommitter, works: Sequence[group_commit.WriteOperation]
    ) -> list[group_commit.WriteResult]:
        return [group_commit.WriteResult(error=AssertionError("PostgreSQL had to undo a knot")) for _ in works]

    monkeypatch.setattr(group_commit.GroupCommitter, "_one_by_one", in_a_knot)
    ordering_keys = [f"crm|{number}" for number in range(40)]
    sitting, go_on = threading.Event(), threading.Event()
    held = another().writer.submit(sit, ordering_keys=ordering_keys[20:21])
    assert sitting.wait(20)
    first = store.writer.submit(lambda conn: None, ordering_keys=ordering_keys)
    second = another().writer.submit(lambda conn: None, ordering_keys=ordering_keys[::-1])
    until(lambda: waiting(postgresql, store) == 2)
    go_on.set()
    assert [future.result(20) for future in (held, first, second)] == [None] * 3


def test_committed_means_on_disk_even_where_the_server_was_told_otherwise(
    store: Store, postgresql: PostgresqlServer
) -> None:
    for setting, expected in (("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")):
        with postgresql.connect() as conn:
            conn.execute(
                sql.SQL("ALTER DATABASE {} SET synchronous_commit = {}").format(
                    sql.Identifier(name_of(store)), sql.Literal(setting)
                )
            )
        with Store(store.url) as fresh:
            show = text("SHOW synchronous_commit")
            assert fresh.writer.write(lambda conn: conn.execute(show).scalar_one()) == expected  # noqa: B023


def test_work_is_read_committed_whatever_the_server_prefers(store: Store, postgresql: PostgresqlServer) -> None:
    with postgresql.connect() as conn:
        command = "ALTER DATABASE {} SET default_transaction_isolation = 'serializable'"
        conn.execute(sql.SQL(command).format(sql.Identifier(name_of(store))))
    with Store(store.url) as fresh:
        level = text("SHOW transaction_isolation")
        assert fresh.writer.write(lambda conn: conn.execute(level).scalar_one()) == "read committed"


@pytest.mark.parametrize("prefix", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_the_url(store: Store, prefix: str) -> None:
    with Store(prefix + store.url.removeprefix("postgresql")) as same:
        assert (same.name, add(same)) == ("postgresql", 1)


def test_other_drivers_are_refused() -> None:
    with pytest.raises(WrongDatabase, match="psycopg2"):
        Store("postgresql+psycopg2://localhost/x")
