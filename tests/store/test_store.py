"""What the store promises on either database: tables, events, readers, readiness."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import inspect, text

from gateway.store import Store, StoreUnavailable, WrongDatabase, events, outbox, retention, search
from tests.store_samples import EVENT, LEASE, NOW, add, claim, count, letter, owe


def whole(store: Store, event_id: int) -> search.EventDetail:
    with store.reader() as conn:
        found = search.load_event(conn, event_id)
    assert found is not None
    return found


def test_tables_are_made_once_however_many_start_at_once(database_url: str) -> None:
    start = threading.Barrier(4)

    def begin(_: int) -> bool:
        with Store(database_url) as one:
            start.wait()
            one.migrate()
            return one.ready()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(begin, range(4))) == [True] * 4
    with Store(database_url) as again:
        again.migrate()
        assert count(again, "alembic_version") == 1


def test_migrating_again_keeps_what_is_there(store: Store) -> None:
    event_id = add(store)
    store.migrate()
    assert whole(store, event_id).event.phone == EVENT.phone


def test_a_newer_versions_database_is_refused_with_a_sentence(database_url: str) -> None:
    with Store(database_url) as store:
        store.migrate()
        store.writer.write(lambda conn: conn.execute(text("UPDATE alembic_version SET version_num = '9999'")) and None)
        with pytest.raises(WrongDatabase, match="newer version of the gateway .*9999.*00"):
            store.migrate()


def test_without_tables_the_store_is_unavailable_not_broken(database_url: str) -> None:
    with Store(database_url) as bare:
        assert bare.ready() is False
        with pytest.raises(StoreUnavailable):
            add(bare)
        with pytest.raises(StoreUnavailable), bare.reader() as conn:
            search.overview(conn, 0.0)


@pytest.mark.parametrize("url", ["mysql://root@localhost/x", "sqlite://", "sqlite:///:memory:", "nonsense", "://"])
def test_other_databases_are_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(WrongDatabase, match=" "):
        Store(url)


def test_a_refused_url_does_not_quote_its_password() -> None:
    with pytest.raises(WrongDatabase) as caught:
        Store("postgresql://user:canary@host:notaport/db")
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_event_comes_back_as_it_was_kept(store: Store) -> None:
    new = replace(EVENT, body=bytes(range(256)), errors={"phone": ("Missing.",)}, notes=("Guessed the charset.",))
    event = whole(store, store.writer.write(lambda conn: events.add(conn, new))).event
    for name in ("source", "state", "received_at", "direction", "phone", "number", "keyword", "message_sid", "status"):
        assert getattr(event, name) == getattr(new, name)
    assert (event.ticket, event.custom_ticket, event.content_type, event.remote) == (
        "",
        "",
        "application/json",
        "203.0.113.9",
    )
    assert (event.body, event.notes, dict(event.errors)) == (new.body, new.notes, {"phone": ["Missing."]})


def test_what_no_database_takes_is_left_out_of_columns_and_stays_in_the_body(store: Store) -> None:
    odd = "a\0b\ud800c€\U0001f600"
    event_id = add(store, **dict.fromkeys(("phone", "keyword", "ticket", "status", "direction"), odd), notes=(odd,))
    event = whole(store, event_id).event
    assert event.phone == event.ticket == event.status == event.keyword == "ab?c€\U0001f600"
    assert event.notes == (odd,)


def test_a_megabyte_of_ticket_is_kept_short_and_found_again(store: Store) -> None:
    long = "t" * 1_000_000
    event_id, _other = add(store, ticket=long, message_sid=long), add(store, ticket=long + "t")
    assert len(whole(store, event_id).event.ticket) <= 200
    with store.reader() as conn:
        assert [found.event.id for found in search.search_events(conn, search.EventSearch(ticket=long)).found] == [
            event_id
        ]


def test_an_unrouted_event_is_routed_once(store: Store) -> None:
    event_id = add(store, state="unrouted", keyword="")
    route = partial(events.mark_routed, event_id=event_id, keyword="JOIN", notes=["Somebody added the number."])
    assert store.writer.write(route) is True
    assert store.writer.write(route) is False
    event = whole(store, event_id).event
    assert (event.state, event.keyword, event.notes) == ("accepted", "JOIN", ("Somebody added the number.",))


def test_ids_are_never_given_twice(store: Store) -> None:
    first = add(store)
    store.writer.write(lambda conn: retention.sweep(conn, NOW + 1))
    assert add(store) > first


def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(Exception, match=r"(?i)read.?only"), store.reader() as conn:
        events.add(conn, EVENT)
    assert count(store, "events") == 0


def test_a_reader_sees_what_is_committed_and_nothing_of_what_is_not(store: Store) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(conn: object) -> None:
        events.add(conn, EVENT)  # type: ignore[arg-type]
        begun.set()
        go_on.wait(20)

    future = store.writer.submit(slowly)
    assert begun.wait(20)
    seen = count(store, "events")
    go_on.set()
    future.result(20)
    assert (seen, count(store, "events")) == (0, 1)


def test_deliveries_belong_to_events_that_exist(store: Store) -> None:
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        store.writer.write(partial(outbox.owe, event_id=10**9, owed=[letter()], now=NOW))


def test_an_ordering_key_cannot_have_two_heads(store: Store) -> None:
    owe(store, letter(), letter())
    promote = text("UPDATE deliveries SET queue_position = 'head' WHERE queue_position = 'behind'")
    with pytest.raises(Exception, match=r"(?i)unique"):
        store.writer.write(lambda conn: conn.execute(promote) and None)


def test_ready_means_that_something_was_committed(store: Store) -> None:
    assert store.ready() is True
    with store.reader() as conn:
        first = conn.execute(text("SELECT at FROM heartbeat")).scalar_one()
    assert store.ready() is True
    with store.reader() as conn:
        assert conn.execute(text("SELECT at FROM heartbeat")).scalar_one() > first


def test_a_store_that_has_no_room_is_not_ready(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "has_room", lambda: False)
    assert store.ready() is False


def test_a_closed_store_takes_nothing(store: Store) -> None:
    store.close()
    with pytest.raises(StoreUnavailable):
        add(store)
    assert store.ready() is False
    store.close()


def test_every_table_has_its_indices(store: Store) -> None:
    with store.reader() as conn:
        found = {index["name"] for index in inspect(conn).get_indexes("deliveries")}
    assert {"ix_deliveries_first", "ix_deliveries_tried", "ix_deliveries_head", "ix_deliveries_behind"} <= found


def test_leases_outlive_the_process_that_took_them(store: Store, another: Callable[[], Store]) -> None:
    owe(store, letter())
    claim(store)
    store.close()
    assert claim(another(), owner="another") == []
    assert len(claim(another(), now=NOW + LEASE, owner="another")) == 1
