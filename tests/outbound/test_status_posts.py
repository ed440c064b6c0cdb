"""The status posts that the gateway itself originates, as endpoints of each format get them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from gateway.config import Config
from gateway.outbound import status_posts
from gateway.store import Store, ledger
from schemas import Message
from tests import sends

MESSAGE = Message(direction="outbound", from_=sends.NUMBER, to=sends.PHONE, status="sent")
CHANGED = "2026-11-20T09:30:01.000Z"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return sends.config(tmp_path)


def end(store: Store, config: Config, status: str) -> ledger.LedgerEntry:
    """The entry of a text that CarrierX has accepted, or never will."""
    sends.accept(store, config)
    entry = sends.entries(store)[-1]
    told = sends.answered(store, config, entry, "sid-1") if status == "queued" else sends.refused(store, config, entry)
    assert told == {"app", "page"}
    return sends.entries(store)[-1]


@pytest.mark.parametrize("status", ["queued", "failed"])
def test_what_is_posted(sqlite_store: Store, config: Config, status: str) -> None:
    entry = end(sqlite_store, config, status)
    sid = "sid-1" if status == "queued" else entry.send_id
    owed = sends.rows(sqlite_store, "SELECT * FROM deliveries WHERE endpoint <> '@carrierx' ORDER BY endpoint DESC")
    page, app = owed
    assert parse_qs(bytes(page.body).decode()) == {
        "code": ["12345"],
        "sendTo": [sends.PHONE],
        "status": [status],
        "ticket": [entry.ticket],
        "custom_ticket": ["order-7"],
    }
    assert json.loads(page.headers) == [["X-Message-Sid", sid], ["X-Message-Date", CHANGED], ["X-Gateway-Hops", "1"]]
    posted = json.loads(bytes(app.body))
    assert (posted["direction"], posted["status"], posted["message_sid"]) == ("outbound", status, sid)
    assert (posted["from_did"], posted["to_did"]) == (sends.NUMBER, sends.PHONE)
    assert posted["date_status_changed"] == CHANGED
    assert [one.event_id for one in owed] == [entry.ticket_number] * 2


def test_each_text_that_fails_is_told_of(sqlite_store: Store, config: Config) -> None:
    tickets = [end(sqlite_store, config, "failed").ticket for _ in range(2)]
    assert sends.posts(sqlite_store) == [(sends.PHONE, "failed", ticket) for ticket in tickets]


def test_an_update_that_does_not_come_is_asked_for_in_time(sqlite_store: Store, config: Config) -> None:
    entry = end(sqlite_store, config, "queued")
    assert entry.fetch_at == sends.AT + 1 + config.carrierx.missing_after
    assert end(sqlite_store, config, "failed").fetch_at is None


def test_an_update_before_the_answer_has_its_place_behind_it(sqlite_store: Store, config: Config) -> None:
    """Its status is known already, and CarrierX has the text: that alone is recorded."""
    entry = end(sqlite_store, config, "queued")
    message = replace(MESSAGE, message_sid="sid-1")
    work = sqlite_store.writer.write(lambda conn: status_posts.mark_accepted(conn, entry, message, config, sends.AT))
    assert work == frozenset() and len(sends.posts(sqlite_store)) == 1


def test_who_is_told(sqlite_store: Store, config: Config) -> None:
    sends.accept(sqlite_store, config)
    entry = sends.entry(sqlite_store)
    assert [one.name for one in status_posts.status_endpoints(entry, config)] == ["page", "app"]
    (own,) = status_posts.status_endpoints(replace(entry, status_url="http://a.test/status"), config)
    assert own.url == "http://a.test/status"
    assert status_posts.status_endpoints(replace(entry, status_url="gone"), config) == ()
    assert status_posts.status_endpoints(replace(entry, number="15550001111"), config) == ()


def test_a_message_has_the_tickets_and_the_code_of_its_sending(sqlite_store: Store, config: Config) -> None:
    sends.accept(sqlite_store, config)
    entry = sends.entry(sqlite_store)
    sent = status_posts.as_sent(replace(MESSAGE, user_data=entry.send_id), entry)
    assert (sent.ticket, sent.custom_ticket, sent.user_data, sent.code) == (entry.ticket, "order-7", "order-7", "12345")
    assert status_posts.as_sent(sent, replace(entry, custom_ticket="")).user_data is None
