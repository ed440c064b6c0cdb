"""A database that an earlier version filled is brought up to date with everything in it, on both databases."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

import gateway.store.migrations
from gateway.store import Store, ledger, opt_outs, outbox, records, sends
from tests.store_samples import NOW, claim, send, settle

EVENT = """
    INSERT INTO events (id, source, state, received_at, direction, phone, number, keyword, message_sid, status, ticket,
                        custom_ticket, content_type, body, errors, notes, remote)
    VALUES (1, 'carrierx', 'accepted', 0, '', '', '', '', '', '', '', '', '', :body, '{}', '[]', '')
"""
DELIVERY = """
    INSERT INTO deliveries (id, delivery_id, event_id, endpoint, kind, lane, state, standing, due, owner, attempts,
                            tries, content_type, headers, body, notes, created_at)
    VALUES (:id, :name, 1, 'crm', 'legacy-callback', :name, 'pending', 'head', :due, :owner, :attempts, :attempts,
            'text/plain', '[]', :body, '[]', 0)
"""
ATTEMPT = """
    INSERT INTO attempts (delivery_id, number, endpoint, owner, started_at, outcome, answer_headers, answer_body, times,
                          diagnosis, late)
    VALUES (:id, :number, 'crm', :owner, :started_at, :outcome, '[]', :body, '{}', '[]', :late)
"""


def first_tables(conn: Connection) -> None:
    """As the first version made and left them: one delivery is fresh, one was tried, one is in flight."""
    config = Config()
    config.set_main_option("script_location", str(Path(gateway.store.migrations.__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = conn
    command.upgrade(config, "0001")
    conn.execute(text(EVENT), {"body": b""})
    every = {"body": b"", "owner": None, "late": False}
    for number, (name, owner, due) in enumerate(
        (("fresh", None, NOW), ("tried", None, NOW), ("flying", "old", NOW + 9))
    ):
        row = {"id": number + 1, "name": name, "owner": owner, "due": due, "attempts": number}
        conn.execute(text(DELIVERY), every | row)
    for id_, number, outcome in ((2, 1, "again"), (3, 1, "unknown"), (3, 2, None)):
        row = {"id": id_, "number": number, "outcome": outcome, "owner": "old", "started_at": NOW - 9 + number}
        conn.execute(text(ATTEMPT), every | row)


def made(store: Store, name: str) -> list[tuple[int, str | None, float]]:
    with store.reader() as conn:
        found = records.delivery(conn, name)
    assert found is not None
    return [(attempt.number, attempt.outcome, attempt.started_at) for attempt in found.attempts]


def test_what_the_first_version_owed_is_owed_and_what_was_in_flight_still_is(database_url: str) -> None:
    with Store(database_url) as store:
        with store._database.migrating() as conn:
            first_tables(conn)
        store.migrate()
        assert made(store, "fresh") == []
        assert made(store, "tried") == [(1, "again", NOW - 8)]
        assert made(store, "flying") == [(1, "unknown", NOW - 8), (2, None, NOW - 7)]
        with store.reader() as conn:
            assert outbox.due_endpoints(conn) == {"crm": NOW}
        claimed = claim(store)
        assert {one.delivery_id for one in claimed} == {"fresh", "tried"}
        assert not any(one.replies for one in claimed), "nobody had asked for that"
        [flying] = [one for one in claim(store, now=NOW + 9) if one.delivery_id == "flying"]
        assert flying.number == 3
        settle(store, flying, now=NOW + 9)
        assert made(store, "flying") == [(1, "unknown", NOW - 8), (2, "unknown", NOW - 7), (3, "succeeded", NOW + 9)]


def test_who_claimed_before_the_change_may_settle_after_it(database_url: str) -> None:
    with Store(database_url) as store:
        with store._database.migrating() as conn:
            first_tables(conn)
        store.migrate()
        held = outbox.ClaimedDelivery(
            id=3, delivery_id="flying", event_id=1, endpoint="crm", kind="legacy-callback", lane="flying", number=2,
            tries=2, content_type="text/plain", headers=(), body=b"", created_at=0.0, started_at=NOW - 7,
        )  # fmt: skip
        assert settle(store, held, owner="old")
        assert made(store, "flying")[1:] == [(2, "succeeded", NOW - 7)]
        assert not store.writer.write(partial(outbox.release_unattempted, owner="old", begun=[held], due=NOW))


def test_what_an_earlier_version_filled_has_room_for_what_is_sent(database_url: str) -> None:
    with Store(database_url) as store:
        with store._database.migrating() as conn:
            first_tables(conn)
        store.migrate()
        send_id = send(store, alias=1)
        with store.reader() as conn:
            assert [entry.send_id for entry in ledger.of_event(conn, 1)] == [send_id]
            assert sends.open_sends(conn) == sends.OpenSends({"owed": 1}, waiting=0)
            assert opt_outs.opt_outs_after(conn) == []
