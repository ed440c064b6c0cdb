"""Events and deliveries for the tests of the store, with what does not matter filled in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy import text

from gateway.store import Store, events, leases, ledger, outbox
from schemas.message import Body, CannotSay

NOW = 1_800_000_000.0
LEASE = 30.0

EVENT = events.NewEvent(
    source="carrierx",
    state="accepted",
    received_at=NOW,
    direction="inbound",
    phone="15551234567",
    number="15162065919",
    keyword="JOIN",
    message_sid="5f4c0b36-0a2c-4b39-8f0e-9e8f6b1c1f11",
    status="received",
    content_type="application/json",
    body=b'{"message": "JOIN"}',
    remote="203.0.113.9",
)
BODY = Body(
    content_type="application/x-www-form-urlencoded; charset=UTF-8",
    data=b"phone=15551234567&message=JOIN",
    headers=(("X-Message-Sid", "5f4c"), ("X-Message-Date", "2027-01-15T08:00:00.000Z")),
    notes=("a character was written as ?",),
)


def add(store: Store, **fields: object) -> int:
    """Keeps one event; its id."""
    return store.writer.write(partial(events.add, new=replace(EVENT, **fields)))  # type: ignore[arg-type]


SEND = ledger.NewSend(
    send_id="0194b3c0-0000-7000-8000-000000000001",
    ticket="4be0643f-1d98-473b-97cd-ca98a65347dd",
    ticket_number=1,
    ticket_shown="4be0643f-1d98-473b-97cd-ca98a65347dd",
    origin="legacy",
    number="15162065919",
    code="12345",
    phone="15551234567",
)


def send(store: Store, now: float = NOW, **fields: object) -> str:
    """A row of the ledger, and nothing else; its send_id."""
    new = replace(SEND, **{"send_id": outbox.new_id(now)} | fields)  # type: ignore[arg-type]
    store.writer.write(partial(ledger.add_send, new=new, now=now))
    return new.send_id


def owe_text(store: Store, now: float = NOW, **fields: object) -> str:
    """The same with the event that asked for it, and the delivery; its send_id."""
    event_id = add(store, source="legacy-send", direction="outbound", message_sid="", keyword="", received_at=now)
    send_id = send(store, now, ticket_number=event_id, **fields)
    entry = entry_of(store, send_id)
    out = outbox.OwedDelivery(
        endpoint=ledger.ENDPOINT,
        wire_format=ledger.WIRE_FORMAT,
        ordering_key=f"{ledger.ENDPOINT}/conversation/{entry.phone}/{entry.number}",
        body=Body(content_type="application/json", data=b'{"message": "hello"}'),
        delivery_id=send_id,
    )
    store.writer.write(partial(outbox.owe, event_id=event_id, owed=[out], now=now), ordering_keys=[out.ordering_key])
    return send_id


def entry_of(store: Store, send_id: str) -> ledger.LedgerEntry:
    with store.reader() as conn:
        found = ledger.of_send(conn, send_id)
    assert found is not None
    return found


def letter(ordering_key: str = "crm|1", endpoint: str = "crm", body: Body | CannotSay = BODY) -> outbox.OwedDelivery:
    return outbox.OwedDelivery(endpoint=endpoint, wire_format="legacy-callback", ordering_key=ordering_key, body=body)


def owe(store: Store, *owed: outbox.OwedDelivery, now: float = NOW) -> list[str]:
    """An event that owes these; their delivery_ids."""
    event_id = add(store, received_at=now)
    work = partial(outbox.owe, event_id=event_id, owed=owed, now=now)
    return store.writer.write(work, ordering_keys=[one.ordering_key for one in owed])


def claim(
    store: Store, endpoint: str = "crm", *, slots: int = 100, first: int = 0, now: float = NOW, owner: str = "worker"
) -> list[leases.ClaimedDelivery]:
    rooms = {endpoint: leases.ClaimLimit(slots, first)}
    work = partial(leases.claim, owner=owner, limits=rooms, now=now, lease_seconds={endpoint: LEASE})
    return store.writer.write(work)


def ended(
    claimed: leases.ClaimedDelivery, outcome: leases.AttemptOutcome, now: float = NOW, due: float | None = None
) -> leases.SettledDelivery:
    """An attempt's end, with an answer that fits it."""
    return leases.SettledDelivery(
        claimed=claimed,
        outcome=outcome,
        finished_at=now,
        due=due,
        sentence="" if outcome == "succeeded" else "It answered 500.",
        status=200 if outcome == "succeeded" else 500,
        answer_headers=(("Server", "Apache"),),
        answer_body=b"ok",
        times={"total": 12.5},
        diagnosis=("A ColdFusion error page.",),
    )


def settle(
    store: Store,
    claimed: leases.ClaimedDelivery,
    outcome: leases.AttemptOutcome = "succeeded",
    *,
    now: float = NOW,
    due: float | None = None,
    owner: str = "worker",
) -> bool:
    settled = ended(claimed, outcome, now, due)
    work = partial(leases.settle_all, owner=owner, settled=(settled,), now=now)
    return store.writer.write(work, ordering_keys=(claimed.ordering_key,))[0]


def ids(claimed: Sequence[leases.ClaimedDelivery]) -> list[str]:
    return [one.delivery_id for one in claimed]


def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread is about to do, and nobody tells."""
    give_up = threading.Event()
    for _ in range(3000):
        if condition():
            return
        give_up.wait(0.01)
    raise AssertionError("it never came to that")


def count(store: Store, table: str = "events") -> int:
    with store.reader() as conn:
        return int(conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
