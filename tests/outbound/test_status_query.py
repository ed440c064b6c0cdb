"""The statuses of a call's messages, as the platform's queries get them; on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config
from gateway.outbound.accept import statuses
from gateway.outbound.model import CallCredentials, ErrorCode, StatusQuery, StatusRow
from gateway.store import Store, ledger
from tests import sends


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return sends.config(tmp_path)


def test_statuses(store: Store, config: Config) -> None:
    ticket = sends.accept(store, config, sends.PHONE, "15162065516").answer.ticket
    one, other = sends.entries(store)
    sends.begin(store, one)
    sends.answered(store, config, one, "sid-1", status="sent")
    sends.refused(store, config, other)
    rows = [
        StatusRow(phone=sends.PHONE, status_code=99, status_message="queued"),
        StatusRow(phone="15162065516", status_code=200, status_message="failed", result=False),
    ]
    assert statuses(StatusQuery(auth=sends.AUTH, ticket=ticket), config, store) == rows
    assert statuses(StatusQuery(auth=sends.AUTH, custom_ticket="order-7"), config, store) == rows
    assert statuses(StatusQuery(auth=sends.AUTH, ticket=ticket, phone="(516) 206-5516"), config, store) == rows[1:]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"ticket": "f6ac6e90-4c38-4ba1-a8ce-25a911a422db"}, ErrorCode.UNKNOWN_TICKET),
        ({"ticket": "9" * 40}, ErrorCode.UNKNOWN_TICKET),
        ({"custom_ticket": "order-8"}, ErrorCode.UNKNOWN_TICKET),
        ({}, ErrorCode.UNKNOWN_TICKET),
        ({"ticket": "1", "auth": CallCredentials()}, ErrorCode.CREDENTIALS),
    ],
)
def test_statuses_of_nothing(sqlite_store: Store, config: Config, query: dict[str, Any], code: ErrorCode) -> None:
    found = statuses(StatusQuery(**{"auth": sends.AUTH, **query}), config, sqlite_store)
    assert not isinstance(found, list) and (found.result, found.error_code) == (False, code)
    assert found.message == code.sentence
    if code == ErrorCode.UNKNOWN_TICKET:
        assert (found.ticket, found.custom_ticket) == (query.get("ticket", ""), query.get("custom_ticket", ""))


@pytest.mark.parametrize(
    ("status", "code", "result"), [("sent", 101, True), ("delivered", 100, True), ("undelivered", 200, False)]
)
def test_a_status_of_carrierx(sqlite_store: Store, config: Config, status: str, code: int, result: bool) -> None:
    ticket = sends.accept(sqlite_store, config).answer.ticket
    entry = sends.entry(sqlite_store)
    sqlite_store.writer.write(lambda conn: ledger.record_status(conn, entry, status, sends.AT, 600.0))
    found = statuses(StatusQuery(auth=sends.AUTH, ticket=ticket), config, sqlite_store)
    assert found == [StatusRow(phone=sends.PHONE, status_code=code, status_message=status, result=result)]


def test_a_text_of_which_nobody_knows_whether_it_was_sent(sqlite_store: Store, config: Config) -> None:
    ticket = sends.accept(sqlite_store, config).answer.ticket
    send_id = sends.entry(sqlite_store).send_id
    sqlite_store.writer.write(lambda conn: ledger.mark_undecided(conn, send_id, "lost", sends.AT))
    found = statuses(StatusQuery(auth=sends.AUTH, ticket=ticket), config, sqlite_store)
    assert found == [StatusRow(phone=sends.PHONE, status_code=102, status_message="unknown")]
