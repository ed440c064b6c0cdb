"""For tests of the Sender: one in a thread, a stand-in for CarrierX to send to, and what became of a send."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.config import CarrierX, Config, Settings
from gateway.outbound.accept import accept
from gateway.outbound.model import CallCredentials, Recipient, SendCall
from gateway.sandbox.carrierx import CarrierXStub, Setup
from gateway.sender.batch import SubmitBatch
from gateway.sender.worker import Sender
from gateway.store import Store, ledger
from tests import acme
from tests.delivering import Clock, rows
from tests.running import until

NUMBER, PHONE = "15162065919", "15162065515"


@pytest.fixture
def carrierx() -> Iterator[CarrierXStub]:
    with CarrierXStub(Setup(numbers=[NUMBER])) as standin:
        yield standin


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path, carrierx: CarrierXStub) -> Settings:
    return Settings(configured(tmp_path, base_url=carrierx.url))


def configured(folder: Path, **changes: Any) -> Config:
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    account: dict[str, Any] = {"token": "sandbox", "timeout": 5.0, "doubt": 0.3}
    return replace(acme.config(folder), carrierx=CarrierX(**(account | changes)))


def change(settings: Settings, **changes: Any) -> None:
    """As if the file had been edited."""
    config = settings.current
    settings._current = replace(config, carrierx=replace(config.carrierx, **changes))


@contextmanager
def sending(settings: Settings, store: Store, clock: Clock, **more: Any) -> Iterator[Sender]:
    sender, stop = Sender(settings, store, clock=clock, random=lambda: 0.5, **more), threading.Event()
    thread = threading.Thread(target=sender.run, args=(stop,))
    thread.start()
    try:
        yield sender
    finally:
        stop.set()
        sender.wake()
        thread.join()


def owe(store: Store, settings: Settings, message: str = "Hi", phone: str = PHONE) -> str:
    """The send_id."""
    call = SendCall(
        name="sendMessage",
        auth=CallCredentials(code="12345"),
        text=message,
        recipients=(Recipient(phone=phone),),
        custom_ticket="order-7",
        source="command",
        now=datetime.now(UTC),
    )
    accepted = accept(call, settings.current, store)
    assert accepted.answer.result, accepted.answer
    with store.reader() as conn:
        (entry,) = ledger.of_event(conn, accepted.event_id)
    return entry.send_id


def entry(store: Store, send_id: str) -> ledger.LedgerEntry:
    with store.reader() as conn:
        found = ledger.of_send(conn, send_id)
    assert found is not None
    return found


def becomes(store: Store, send_id: str, state: str) -> ledger.LedgerEntry:
    """And its delivery is no longer pending."""
    until(lambda: entry(store, send_id).state == state, f"{state}, it is {entry(store, send_id)}", 20)
    query = f"SELECT state FROM deliveries WHERE delivery_id = '{send_id}'"
    until(lambda: rows(store, query)[0].state != "pending", "settled", 20)
    assert rows(store, query)[0].state == ("succeeded" if state == "sent" else "dead")
    return entry(store, send_id)


def arrived(carrierx: CarrierXStub) -> list[str]:
    return [message.request.user_data or "" for message in carrierx.engine.messages.all()]


def claimed_and_dead(store: Store, settings: Settings, clock: Clock, send_id: str) -> None:
    """A Sender that had it on disk as leaving, and died."""
    round_ = SubmitBatch(owner="dead", config=settings.current, now=clock(), limit=1)
    (submission,) = store.writer.write(round_.write).submissions
    assert (submission.claimed.delivery_id, submission.action) == (send_id, "post")
    assert entry(store, send_id).state == "sending"
