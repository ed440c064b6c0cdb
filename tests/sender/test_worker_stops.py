"""The Sender when something ends or breaks: itself, the store, its lease, the clock. And what it asks for by itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.carrierx import CoreAPI
from gateway.config import Settings
from gateway.sandbox.carrierx import CarrierXStub
from gateway.sender import poll_status, settle
from gateway.sender import submit as submit_module
from gateway.sender import worker as sender_module
from gateway.sender.batch import SubmitBatch
from gateway.sender.outcome import SubmissionResult
from gateway.sender.worker import Sender
from gateway.serve.roles import SenderThread
from gateway.store import Connection, Store, StoreUnavailable, ledger
from gateway.store.statement import Statement
from tests.delivering import Clock, rows
from tests.running import until
from tests.senders import (
    arrived,
    becomes,
    carrierx,
    change,
    claimed_and_dead,
    clock,
    entry,
    owe,
    sending,
    settings,
)

__all__ = ["carrierx", "clock", "settings"]


def test_it_is_over_when_all_is_answered(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub
) -> None:
    """Asked to stop, it waits for what is in flight, and claims nothing more."""
    carrierx.engine.misbehaviour = replace(carrierx.engine.misbehaviour, slow=1.0, slow_for=1.0)
    sends = [owe(sqlite_store, settings, str(at)) for at in range(3)]
    with capture_logs() as logs, sending(settings, sqlite_store, clock):
        until(lambda: arrived(carrierx), "one is in flight", 20)
    assert [one["event"] for one in logs] == ["sender_started", "send", "sender_stopped"]
    assert [entry(sqlite_store, one).state for one in sends] == ["sent", "owed", "owed"]


def test_what_does_not_end_is_left_as_it_is(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "DRAIN_TIMEOUT_SECONDS", 0.2)
    carrierx.engine.misbehaviour = replace(carrierx.engine.misbehaviour, slow=1.0, slow_for=1.5)
    send_id = owe(sqlite_store, settings)
    with sending(settings, sqlite_store, clock):
        until(lambda: arrived(carrierx), "in flight", 20)
    assert entry(sqlite_store, send_id).state == "sending"
    carrierx.engine.calm()
    clock.ahead += 60
    with sending(settings, sqlite_store, clock):
        becomes(sqlite_store, send_id, "sent")
    assert arrived(carrierx) == [send_id]


def test_the_store_goes_away(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came back is kept until it is there again, and nothing is sent twice."""
    submit, away = sqlite_store.writer.submit, threading.Event()

    def gone(work: Callable[[Connection], Any], ordering_keys: Any = ()) -> Any:
        if away.is_set():
            raise StoreUnavailable("gone")
        return submit(work, ordering_keys)

    monkeypatch.setattr(sqlite_store.writer, "submit", gone)
    carrierx.engine.misbehaviour = replace(carrierx.engine.misbehaviour, slow=1.0, slow_for=0.3)
    send_id = owe(sqlite_store, settings)
    with capture_logs() as logs, sending(settings, sqlite_store, clock):
        until(lambda: arrived(carrierx), "in flight", 20)
        away.set()
        until(lambda: [one for one in logs if one["event"] == "store_unavailable"], "noticed", 20)
        assert entry(sqlite_store, send_id).state == "sending"
        away.clear()
        becomes(sqlite_store, send_id, "sent")
    assert arrived(carrierx) == [send_id]
    assert [one["event"] for one in logs if one["event"].startswith("store_")][-1] == "store_back"


def test_a_commit_of_which_nobody_heard(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claims are ours without our knowing; nothing left, and that is found out before anything does."""
    monkeypatch.setattr(submit_module, "START_SECONDS", 0.5)
    change(settings, timeout=0.5)
    submit, rounds = sqlite_store.writer.submit, []

    def unheard(work: Callable[[Connection], Any], ordering_keys: Any = ()) -> Any:
        rounds.append(work)
        future = submit(work, ordering_keys)
        if len(rounds) == 1:
            future.result()
            raise StoreUnavailable("the connection was lost in the midst of a commit")
        return future

    send_id = owe(sqlite_store, settings)
    monkeypatch.setattr(sqlite_store.writer, "submit", unheard)
    with sending(settings, sqlite_store, clock):
        becomes(sqlite_store, send_id, "sent")
    assert arrived(carrierx) == [send_id]


def test_somebody_else_has_it_by_now(store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub) -> None:
    """That it was sent is never forgotten, though the lease was lost; the other finds it so, and sends nothing."""
    send_id = owe(store, settings)
    (mine,) = store.writer.write(
        SubmitBatch(owner="one", config=settings.current, now=clock(), limit=1).write
    ).submissions
    later = clock() + 100
    (theirs,) = store.writer.write(
        SubmitBatch(owner="two", config=settings.current, now=later, limit=1).write
    ).submissions
    assert theirs.action == "look up"
    answer = CoreAPI(carrierx.url, token="sandbox").send_raw(mine.claimed.body)
    ended = SubmissionResult(submission=mine, at=clock(), outcome="succeeded", change="sent", answer=answer)
    store.writer.write(SubmitBatch(owner="one", config=settings.current, now=clock(), ended=[ended]).write)
    assert entry(store, send_id).state == "sent"
    unread = SubmissionResult(
        submission=theirs, at=later, outcome="again", change="unchanged", due=later + 30, sentence="…"
    )
    store.writer.write(SubmitBatch(owner="two", config=settings.current, now=later, ended=[unread]).write)
    assert becomes(store, send_id, "sent").message_sid == json.loads(answer)["message_sid"]


def test_one_that_cannot_be_settled_stops_nobody(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = settle.sent

    def strange(conn: Connection, entry: ledger.LedgerEntry, *more: Any) -> frozenset[str]:
        if entry.send_id == bad:
            raise ValueError("a fault in the program")
        return sent(conn, entry, *more)

    monkeypatch.setattr(settle, "sent", strange)
    bad, good = owe(sqlite_store, settings), owe(sqlite_store, settings, phone="15162065516")
    with capture_logs() as logs, sending(settings, sqlite_store, clock):
        becomes(sqlite_store, bad, "sent")
        becomes(sqlite_store, good, "sent")
    said = [one for one in logs if one["event"] == "send_not_settled"]
    # Perhaps with the other one first; by itself in the end.
    assert said and {(one["log_level"], one["error"]) for one in said} == {("error", "ValueError")}
    assert said[-1]["sends"] == 1
    assert sorted(arrived(carrierx)) == sorted([bad, good])


def test_the_clock_is_set_forward_in_flight(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub
) -> None:
    carrierx.engine.misbehaviour = replace(carrierx.engine.misbehaviour, slow=1.0, slow_for=1.5)
    send_id = owe(sqlite_store, settings)
    with capture_logs() as logs, sending(settings, sqlite_store, clock) as sender:
        until(lambda: arrived(carrierx), "in flight", 20)
        clock.ahead += 3600
        sender.wake()
        becomes(sqlite_store, send_id, "sent")
    assert [one["did"] for one in logs if one["event"] == "send"] == ["post"]
    assert arrived(carrierx) == [send_id]


def test_the_clock_was_set_back_while_in_doubt(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub
) -> None:
    clock.ahead = 7200.0
    send_id = owe(sqlite_store, settings)
    claimed_and_dead(sqlite_store, settings, clock, send_id)
    clock.ahead = 0.0
    change(settings, timeout=0.5)
    move = "UPDATE deliveries SET due = due - 7200"  # as the worker does it
    sqlite_store.writer.write(lambda conn: Statement(move).run(conn) and None)
    clock.ahead = 50.0
    with sending(settings, sqlite_store, clock):
        until(lambda: (entry(sqlite_store, send_id).uncertain_until or 0) < clock() + 20, "seen to", 20)
        clock.ahead += 20
        becomes(sqlite_store, send_id, "sent")


def test_a_long_answer_keeps_its_lease(
    store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the request is in flight here nobody else looks for it, and its doubt begins when it ends."""
    monkeypatch.setattr(submit_module, "EXTEND_SECONDS", 0.1)
    carrierx.engine.misbehaviour = replace(carrierx.engine.misbehaviour, slow=1.0, slow_for=2.0)
    send_id = owe(store, settings)
    with sending(settings, store, clock) as sender:
        until(lambda: arrived(carrierx), "in flight", 20)
        before, (lease,) = entry(store, send_id).uncertain_until, rows(store, "SELECT due FROM deliveries")
        sender.wake()
        until(
            lambda: rows(store, "SELECT due FROM deliveries WHERE state = 'pending'")[0].due > lease.due, "renewed", 20
        )
        assert (entry(store, send_id).uncertain_until or 0) > (before or 0)
        becomes(store, send_id, "sent")
    assert arrived(carrierx) == [send_id]


def test_nothing_to_do_writes_nothing(sqlite_store: Store, settings: Settings, clock: Clock) -> None:
    with sending(settings, sqlite_store, clock) as sender:
        for _ in range(5):
            sender.wake()
        until(lambda: sender._next_due is None, "looked", 20)
    assert sqlite_store.writer._thread is None


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll_status, "IDLE_SECONDS", 0.1)


@pytest.mark.usefixtures("often")
def test_asks_for_what_is_missing(store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub) -> None:
    rung: list[str] = []
    send_id = owe(store, settings, phone="15162060014")
    with capture_logs() as logs, sending(settings, store, clock, notify=rung.extend) as sender:
        becomes(store, send_id, "sent")
        until(lambda: carrierx.engine.messages.all()[0].status == "delivered", "delivered", 20)
        clock.ahead += 700
        sender.wake()
        until(lambda: entry(store, send_id).status == "delivered", "asked for", 20)
    assert entry(store, send_id).fetch_at is None
    assert [one["status"] for one in logs if one["event"] == "message_asked_for"] == ["delivered"]
    (event,) = rows(store, "SELECT remote, state FROM events WHERE source = 'carrierx'")
    assert tuple(event) == ("fetched", "accepted")


@pytest.mark.usefixtures("often")
def test_asks_for_what_carrierx_has_forgotten(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub
) -> None:
    send_id = owe(sqlite_store, settings)
    with capture_logs() as logs, sending(settings, sqlite_store, clock) as sender:
        becomes(sqlite_store, send_id, "sent")
        carrierx.engine.messages.clear()
        clock.ahead += 700
        sender.wake()
        until(lambda: [one for one in logs if one["event"] == "message_not_shown"], "asked for", 20)
    after = entry(sqlite_store, send_id)
    assert after.fetches == 1
    assert after.fetch_at is not None and after.fetch_at > clock() + 600


def test_several_of_them(
    store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub, another: Callable[[], Store]
) -> None:
    """As many as there are workers, each on its own: together they send each once, and in order."""
    carrierx.engine.force(["lost_after", "", "error_after", "", "", "broken_json"])
    sends = [owe(store, settings, str(at), phone=f"1516206{at % 5 + 100:04}") for at in range(40)]
    with sending(settings, store, clock), sending(settings, another(), clock), sending(settings, another(), clock):
        for send_id in sends:
            becomes(store, send_id, "sent")
    assert sorted(arrived(carrierx)) == sorted(sends)


def test_it_dies_with_its_process(sqlite_store: Store, settings: Settings) -> None:
    """Nobody else would notice that nothing is sent."""
    gave_up, pulses = threading.Event(), []

    class Broken(Sender):
        def run(self, stop: threading.Event) -> None:
            raise RuntimeError("a fault in the program")

    sending = SenderThread(Broken(settings, sqlite_store), threading.Event(), gave_up.set)
    with sending:
        assert gave_up.wait(20)
    assert sending.has_failed
    sending.while_alive(lambda: pulses.append(1))()
    assert pulses == [1]


def test_one_that_hangs_gives_no_pulse(
    sqlite_store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulses: list[int] = []
    monkeypatch.setattr(sender_module, "HANG_SECONDS", 0.0)
    SenderThread(Sender(settings, sqlite_store), threading.Event(), lambda: None).while_alive(
        lambda: pulses.append(1)
    )()
    assert pulses == []
