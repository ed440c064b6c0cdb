"""The statuses of a call's messages, as the platform's queries get them; on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config
from gateway.outbound.accept import statuses
from gateway.outbound.model import CallCredentials, ErrorCode, StatusQuery, StatusRow
from gateway.store import Store
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
def test_statuses_of_nothing(sqlite_store: Store, config: Config, query: dict[str, Any], code: int) -> None:
    found = statuses(StatusQuery(**{"auth": sends.AUTH, **query}), config, sqlite_store)
    assert not isinstance(found, list) and (found.result, found.error_code) == (False, code)
