"""The Sender against a stand-in for CarrierX, over real sockets: each send gets there exactly once."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.carrierx import CoreAPI, Forbidden
from gateway.config import Settings
from gateway.inbound import accept
from gateway.inbound.callback import Callback
from gateway.sandbox.carrierx import CarrierXStub, Setup
from gateway.sender import outcome as outcome_module
from gateway.sender import reconcile
from gateway.sender.batch import SubmitBatch
from gateway.store import Connection, Store, health, message_status
from tests import acme
from tests.delivering import Clock, rows
from tests.running import free_port, until
from tests.senders import (
    NUMBER,
    PHONE,
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
from tests.servers import Server, ok, replying

__all__ = ["carrierx", "clock", "settings"]


def test_it_is_sent(store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub) -> None:
    rung: list[str] = []
    send_id = owe(store, settings)
    with sending(settings, store, clock, notify=rung.extend):
        sent = becomes(store, send_id, "sent")
        another = owe(store, settings, "Another")
        becomes(store, another, "sent")
    (message, _) = carrierx.engine.messages.all()
    assert (message.sid, message.request.to, message.request.message) == (sent.message_sid, PHONE, "Hi")
    assert arrived(carrierx) == [send_id, another]
    assert sent.status == "queued"
    assert set(rung) == {"page", "app"}
    posts = rows(store, "SELECT endpoint FROM deliveries WHERE endpoint <> '@carrierx' ORDER BY id")
    assert [post.endpoint for post in posts] == ["page", "app"] * 2


def test_one_after_the_other_to_one_phone(
    store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub
) -> None:
    sends = [owe(store, settings, str(at)) for at in range(12)]
    others = [owe(store, settings, str(at), phone=f"1516206{at + 100:04}") for at in range(30)]
    with sending(settings, store, clock):
        for send_id in (*sends, *others):
            becomes(store, send_id, "sent")
    assert [one for one in arrived(carrierx) if one in sends] == sends
    assert sorted(arrived(carrierx)) == sorted([*sends, *others])


@pytest.mark.parametrize("answer", ["lost_after", "error_after", "broken_json"])
def test_a_lost_answer_is_found(
    store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub, answer: str
) -> None:
    carrierx.engine.force([answer])
    send_id = owe(store, settings)
    with sending(settings, store, clock):
        sent = becomes(store, send_id, "sent")
    assert arrived(carrierx) == [send_id]
    assert sent.message_sid == carrierx.engine.messages.all()[0].sid
    attempts = rows(store, "SELECT outcome FROM attempts WHERE endpoint = '@carrierx' ORDER BY number")
    assert [attempt.outcome for attempt in attempts] == ["again", "succeeded"]


@pytest.mark.parametrize("answer", ["lost_before", "error_before"])
def test_what_never_got_there_is_sent_again(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub, answer: str
) -> None:
    carrierx.engine.force([answer])
    send_id = owe(sqlite_store, settings)
    with sending(settings, sqlite_store, clock):
        until(lambda: entry(sqlite_store, send_id).reason.startswith("CarrierX does not have it"), "looked up", 20)
        assert arrived(carrierx) == []
        clock.ahead += 8
        becomes(sqlite_store, send_id, "sent")
    assert arrived(carrierx) == [send_id]


def test_it_may_turn_up_late(sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub) -> None:
    """As long as it may, it is not sent again."""
    change(settings, doubt=600.0)
    carrierx.engine.force(["lost_before"])
    send_id = owe(sqlite_store, settings)
    with capture_logs() as logs, sending(settings, sqlite_store, clock):
        until(lambda: len([one for one in logs if one.get("did") == "look up"]) >= 1, "looked up", 20)
        body = {"from": NUMBER, "to": PHONE, "message": "Hi", "user_data": send_id}
        CoreAPI(carrierx.url, token="sandbox").send_raw(json.dumps(body).encode())
        becomes(sqlite_store, send_id, "sent")
    assert arrived(carrierx) == [send_id]


@pytest.mark.parametrize("answer", ["conflict", "too_many"])
def test_not_now(sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub, answer: str) -> None:
    carrierx.engine.force([answer])
    send_id = owe(sqlite_store, settings)
    with sending(settings, sqlite_store, clock):
        until(lambda: entry(sqlite_store, send_id).reason.startswith("CarrierX answered 4"), "put back", 20)
        assert entry(sqlite_store, send_id).state == "owed"
        clock.ahead += 8
        becomes(sqlite_store, send_id, "sent")
    assert arrived(carrierx) == [send_id]


def test_too_many_stops_the_others(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub
) -> None:
    carrierx.engine.force(["too_many"])
    with capture_logs() as logs, sending(settings, sqlite_store, clock):
        owe(sqlite_store, settings)
        until(lambda: [one for one in logs if one["event"] == "sending_paused"], "paused", 20)
        other = owe(sqlite_store, settings, phone="15162065516")
        becomes(sqlite_store, other, "sent")
        assert [one["event"] for one in logs if one["event"].startswith("sending_")] == [
            "sending_paused",
            "sending_resumed",
        ]


def test_refused(store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub) -> None:
    carrierx.engine.force(["refused"])
    send_id = owe(store, settings)
    with sending(settings, store, clock):
        refused = becomes(store, send_id, "refused")
    assert refused.status == "failed"
    assert refused.reason.startswith("CarrierX answered 400")
    assert arrived(carrierx) == []
    posts = rows(store, "SELECT body FROM deliveries WHERE endpoint = 'page'")
    assert [b"status=failed" in bytes(post.body) for post in posts] == [True]


def paused(store: Store, clock: Clock) -> list[health.BreakerState]:
    with store.reader() as conn:
        return [one for name, one in health.current_breakers(conn, clock()).items() if name == "@carrierx"]


def test_not_authorized(sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub) -> None:
    """It waits until somebody corrects it, and counts for nothing."""
    change(settings, token="wrong")
    with capture_logs() as logs, sending(settings, sqlite_store, clock):
        sends = [owe(sqlite_store, settings, phone=f"1516206551{at}") for at in range(3)]
        until(lambda: [one for one in logs if one["event"] == "sending_paused"], "paused", 20)
        seen = until(lambda: paused(sqlite_store, clock), "people can see it", 20)
        change(settings, token="sandbox")
        for send_id in sends:
            becomes(sqlite_store, send_id, "sent")
        until(lambda: not paused(sqlite_store, clock), "and that it is over", 20)
    assert "401" in seen[0].reason and seen[0].state in ("open", "half_open")
    assert sorted(arrived(carrierx)) == sorted(sends)
    assert {
        row.attempts for row in rows(sqlite_store, "SELECT attempts FROM deliveries WHERE endpoint = '@carrierx'")
    } == {1}
    said = json.dumps(logs, default=str)
    assert "wrong" not in said and "sandbox" not in said and PHONE not in said


def test_nobody_is_there(store: Store, settings: Settings, clock: Clock) -> None:
    port = free_port()
    change(settings, base_url=f"http://127.0.0.1:{port}/core/v2")
    send_id = owe(store, settings)
    with capture_logs() as logs, sending(settings, store, clock):
        until(lambda: [one for one in logs if one["event"] == "sending_paused"], "paused", 20)
        with CarrierXStub(Setup(numbers=[NUMBER]), port=port) as carrierx:
            becomes(store, send_id, "sent")
            assert arrived(carrierx) == [send_id]
    assert len([one for one in logs if one["event"] == "sending_paused"]) == 1


def test_no_account(sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub) -> None:
    change(settings, token="")
    send_id = owe(sqlite_store, settings)
    with capture_logs() as logs, sending(settings, sqlite_store, clock) as sender:
        until(lambda: [one for one in logs if one["event"] == "carrierx_not_configured"], "said", 20)
        sender.wake()
        assert entry(sqlite_store, send_id).state == "owed"
        change(settings, token="sandbox")
        becomes(sqlite_store, send_id, "sent")
    assert len([one for one in logs if one["event"] == "carrierx_not_configured"]) == 1


def note(store: Store, *, out: bool) -> None:
    def work(conn: Connection) -> None:
        message_status.record_opt_out(conn, NUMBER, PHONE, "STOP", time.time(), out=out)

    store.writer.write(work)


def test_opted_out_meanwhile(store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub) -> None:
    send_id = owe(store, settings)
    note(store, out=True)
    with sending(settings, store, clock):
        refused = becomes(store, send_id, "refused")
    assert "opted out" in refused.reason
    assert arrived(carrierx) == []


def test_who_says_stop_is_told_so(store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub) -> None:
    """The confirmation leaves though its recipient has opted out by then."""
    first, *others = settings.current.numbers
    settings._current = replace(settings.current, numbers=(replace(first, opt_out="reply"), *others))
    now = datetime.now(UTC)
    callback = Callback(format="carrierx", body=acme.text(message="STOP"), content_type=None, remote="", now=now)
    accept.accept(callback, settings.current, store)
    with sending(settings, store, clock):
        (message,) = until(carrierx.engine.messages.all, "sent", 20)
    assert (message.request.to, "unsubscribed" in message.request.message) == (PHONE, True)


def test_killed_before_it_left(store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub) -> None:
    send_id = owe(store, settings)
    claimed_and_dead(store, settings, clock, send_id)
    clock.ahead += 60
    with sending(settings, store, clock):
        becomes(store, send_id, "sent")
    assert arrived(carrierx) == [send_id]


def test_killed_after_it_left(store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub) -> None:
    send_id = owe(store, settings)
    claimed_and_dead(store, settings, clock, send_id)
    (row,) = rows(store, "SELECT body FROM deliveries WHERE endpoint = '@carrierx'")
    CoreAPI(carrierx.url, token="sandbox").send_raw(bytes(row.body))
    clock.ahead += 60
    with sending(settings, store, clock):
        becomes(store, send_id, "sent")
    assert arrived(carrierx) == [send_id]


def test_killed_over_and_over(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More often than there are tries; CarrierX had no part in that, and nobody is told that it failed."""
    monkeypatch.setattr(outcome_module, "INTERRUPTED_RETRY_SECONDS", 1.0)
    send_id = owe(sqlite_store, settings)
    claimed_and_dead(sqlite_store, settings, clock, send_id)
    for _ in range(12):
        clock.ahead += 60
        sqlite_store.writer.write(SubmitBatch(owner="dead", config=settings.current, now=clock(), limit=1).write)
    clock.ahead += 60
    with sending(settings, sqlite_store, clock):
        becomes(sqlite_store, send_id, "sent")
    assert arrived(carrierx) == [send_id]


ALIKE = json.dumps({"from": NUMBER, "to": PHONE, "message": "Hi"}).encode()


def test_what_nobody_can_tell(store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub) -> None:
    """Somebody else has sent the same, and CarrierX does not say whose it is."""
    CoreAPI(carrierx.url, token="sandbox").send_raw(ALIKE)
    carrierx.engine.force(["lost_before"])
    send_id = owe(store, settings)
    with sending(settings, store, clock):
        undecided = becomes(store, send_id, "undecided")
    assert undecided.reason == reconcile.ALIKE
    assert len(arrived(carrierx)) == 1


def test_one_of_ours_is_no_riddle(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub
) -> None:
    """CarrierX does not say whose the first one is, but we know."""
    first = owe(sqlite_store, settings)
    with sending(settings, sqlite_store, clock):
        becomes(sqlite_store, first, "sent")
        forget_user_data(carrierx)
        carrierx.engine.force(["lost_before"])
        second = owe(sqlite_store, settings)
        until(lambda: entry(sqlite_store, second).reason.startswith("CarrierX does not have it"), "looked up", 20)
        clock.ahead += 8
        becomes(sqlite_store, second, "sent")
    assert len(arrived(carrierx)) == 2


def test_one_of_ours_does_not_explain_the_other(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub
) -> None:
    """We know one of two messages that are alike: the other may be the one whose answer was lost."""
    first = owe(sqlite_store, settings)
    with sending(settings, sqlite_store, clock):
        becomes(sqlite_store, first, "sent")
        CoreAPI(carrierx.url, token="sandbox").send_raw(ALIKE)
        forget_user_data(carrierx)
        carrierx.engine.force(["lost_before"])
        second = owe(sqlite_store, settings)
        undecided = becomes(sqlite_store, second, "undecided")
    assert undecided.reason == reconcile.ALIKE
    assert len(arrived(carrierx)) == 2


def test_nobody_takes_it_for_a_day(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub
) -> None:
    send_id = owe(sqlite_store, settings)
    with sending(settings, sqlite_store, clock) as sender:
        for _ in range(10):
            carrierx.engine.force(["conflict"])
            until(lambda: not carrierx.engine._forced, "asked", 20)
            until(lambda: entry(sqlite_store, send_id).state != "sending", "settled", 20)
            clock.ahead += 60_000
            sender.wake()
        refused = becomes(sqlite_store, send_id, "refused")
    assert refused.status == "failed"
    assert arrived(carrierx) == []


def test_a_listing_that_is_closed_to_us(
    sqlite_store: Store, settings: Settings, clock: Clock, carrierx: CarrierXStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person has to look, as soon as the update that might still come has had its time."""

    def closed(api: CoreAPI, limit: int = 0, offset: int = 0) -> Any:
        raise Forbidden(403, "Not for you.")

    monkeypatch.setattr(CoreAPI, "messages", closed)
    carrierx.engine.force(["lost_after"])
    send_id = owe(sqlite_store, settings)
    with sending(settings, sqlite_store, clock):
        undecided = becomes(sqlite_store, send_id, "undecided")
    assert undecided.reason.startswith("CarrierX answered 403")
    assert arrived(carrierx) == [send_id]


@pytest.mark.parametrize(
    ("numbers", "warned"),
    [
        ({"from": NUMBER, "to": PHONE}, 0),
        ({"from_did": f"+{NUMBER}", "to_did": f"+{PHONE}"}, 0),
        ({"from": NUMBER, "to": "15550007777"}, 1),
        ({"from": "15550007777", "to": PHONE}, 1),
    ],
)
def test_an_answer_that_speaks_of_other_numbers(
    sqlite_store: Store, settings: Settings, clock: Clock, numbers: dict[str, str], warned: int
) -> None:
    """It was sent all the same: CarrierX took it. The log says so, without the numbers."""
    said = {"message_sid": "5f4c", "direction": "outbound", "status": "queued", **numbers}
    with Server(replying(ok(json.dumps(said).encode(), "Content-Type: application/json"))) as carrierx:
        change(settings, base_url=carrierx.url().rstrip("/"))
        send_id = owe(sqlite_store, settings)
        with capture_logs() as logs, sending(settings, sqlite_store, clock):
            sent = becomes(sqlite_store, send_id, "sent")
    assert sent.message_sid == "5f4c" and len(carrierx.requests) == 1
    warnings = [one for one in logs if one["event"] == "send_answer_strange"]
    assert [(one["log_level"], one["send"]) for one in warnings] == [("warning", send_id)] * warned
    assert PHONE not in str(logs) and "15550007777" not in str(logs)


def forget_user_data(carrierx: CarrierXStub) -> None:
    for message in carrierx.engine.messages.all():
        message.request = replace(message.request, user_data=None)
        message._json = (-1, "")
