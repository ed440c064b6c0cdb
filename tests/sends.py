"""For tests of what is sent: legacy calls, the Sender's findings without a Sender, and what the store has of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import text as sql

from gateway.config import Config, Credentials
from gateway.outbound import accept as accepting
from gateway.outbound.accept import AcceptedCall
from gateway.outbound.model import CallCredentials, Recipient, SendCall
from gateway.sender import settle
from gateway.store import Store, ledger
from gateway.store.ledger import LedgerEntry
from tests import acme

PHONE = "15162065515"
NUMBER = "15162065919"
AUTH = CallCredentials(username="acme", password="secret of acme", api_key="key of acme", code="12345")
LEGACY = Credentials(user_name="acme", password="secret of acme", api_key="key of acme")
AT = acme.NOW.timestamp()


def config(folder: Path, database: str = "sqlite:///data/gateway.db", **changes: Any) -> Config:
    """Acme's, with an account at CarrierX and credentials for legacy calls."""
    made = acme.config(folder, database)
    account = replace(made.carrierx, token="token of acme")
    return replace(made, **({"legacy": LEGACY, "carrierx": account} | changes))


def call(*phones: str, **changes: Any) -> SendCall:
    said: dict[str, Any] = {
        "name": "sendMessage",
        "auth": AUTH,
        "text": "Hello é 🎉 &=+%\nthere",
        "recipients": tuple(Recipient(phone=phone) for phone in phones or (PHONE,)),
        "custom_ticket": "order-7",
        "body": b"as it came",
        "content_type": "text/xml",
        "remote": "192.0.2.7",
        "now": acme.NOW,
    }
    return SendCall(**said | changes)


def accept(store: Store, config: Config, *phones: str, **changes: Any) -> AcceptedCall:
    return accepting.accept(call(*phones, **changes), config, store)


def rows(store: Store, query: str) -> list[Any]:
    with store.reader() as connection:
        return list(connection.execute(sql(query)))


def entries(store: Store) -> list[LedgerEntry]:
    """The whole ledger."""
    with store.reader() as conn:
        found = [
            ledger.of_send(conn, row.send_id) for row in conn.execute(sql("SELECT send_id FROM ledger ORDER BY id"))
        ]
    return [entry for entry in found if entry is not None]


def entry(store: Store) -> LedgerEntry:
    (found,) = entries(store)
    return found


def posts(store: Store, endpoint: str = "page") -> list[tuple[str, str, str]]:
    """(sendTo, status, ticket) of the status posts owed to an endpoint of the legacy format, in order."""
    from urllib.parse import parse_qs

    owed = rows(store, f"SELECT body FROM deliveries WHERE endpoint = '{endpoint}' ORDER BY id")
    forms = [parse_qs(bytes(row.body).decode(), keep_blank_values=True) for row in owed]
    return [(form["sendTo"][0], form["status"][0], form["ticket"][0]) for form in forms]


def begin(store: Store, one: LedgerEntry) -> None:
    """As the Sender does before its request leaves."""
    store.writer.write(lambda conn: ledger.mark_submitting(conn, one.send_id, AT, AT + 15))


def answered(store: Store, config: Config, one: LedgerEntry, sid: str, **changes: Any) -> frozenset[str]:
    """As the Sender does when CarrierX has answered."""
    said = {
        "message_sid": sid,
        "direction": "outbound",
        "from": one.number,
        "to": one.phone,
        "message": "Hello",
        "status": "queued",
        "date_created": "2026-11-20T09:30:01.000Z",
        "user_data": one.send_id,
    }
    answer = json.dumps(said | changes).encode()
    return store.writer.write(lambda conn: settle.sent(conn, one, answer, config, AT + 1))


def refused(store: Store, config: Config, one: LedgerEntry, reason: str = "CarrierX says no.") -> frozenset[str]:
    return store.writer.write(lambda conn: settle.refused(conn, one, reason, config, AT + 1))
