"""What an endpoint answers is owed to who texted, in the very transaction that settles its attempt; both databases."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, Settings
from gateway.delivery.batch import Batch
from gateway.inbound import accept
from gateway.inbound.callback import Callback
from gateway.outbound import replies
from gateway.store import Connection, Store, StoreUnavailable, events, leases, ledger, outbox
from gateway.store.leases import SettledDelivery
from schemas.message import Body
from tests import acme
from tests.delivering import Clock, Page, clock, config, page, rows, states, working
from tests.running import until
from tests.store_samples import EVENT, add, ended

__all__ = ["clock", "page"]
BODY = Body(content_type="application/x-www-form-urlencoded", data=b"message=ask")


@pytest.fixture
def settings(tmp_path: Path, page: Page) -> Settings:
    page.headers = {"Content-Type": "text/plain; charset=utf-8"}
    page.answer = lambda nth, form: (200, "Grüße!\n".encode())
    trio = 'credentials = { user_name = "acme", api_key = "canary-key" }'
    return Settings(config(tmp_path, page, trio))


class Owing:
    """Owes an event for each reply, so that what was rolled back is gone; remembers how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.rung = threading.Event()

    def __call__(
        self, conn: Connection, settled: Sequence[SettledDelivery], config: Config, now: float
    ) -> Sequence[str]:
        self.asked.append([one.reply for one in settled])
        for one in settled:
            events.add(conn, replace(EVENT, source="reply", body=one.reply.encode()))
        return ["@carrierx"]

    @property
    def more(self) -> dict[str, Any]:
        return {"owe_replies": self, "wake_others": {"@carrierx": self.rung.set}}


def owe(store: Store, clock: Clock, replying: bool | None = True, endpoint: str = "page") -> None:
    event_id = add(store)
    one = outbox.OwedDelivery(
        endpoint=endpoint,
        wire_format="legacy-callback",
        ordering_key=f"{endpoint}/{event_id}",
        body=BODY,
        replies=replying,
    )
    store.writer.write(
        partial(outbox.owe, event_id=event_id, owed=[one], now=clock()), ordering_keys=[one.ordering_key]
    )


def owed(store: Store) -> list[str]:
    return [
        bytes(row.body).decode() for row in rows(store, "SELECT body FROM events WHERE source = 'reply' ORDER BY id")
    ]


def diagnoses(store: Store) -> list[list[str]]:
    return [json.loads(row.diagnosis) for row in rows(store, "SELECT diagnosis FROM attempts ORDER BY started_at")]


def test_the_answer_is_owed_and_the_sender_woken(store: Store, settings: Settings, clock: Clock) -> None:
    owe(store, clock)
    owing = Owing()
    with working(settings, store, clock, **owing.more):
        until(lambda: owed(store) == ["Grüße!"], "owed")
        assert states(store) == ["succeeded"] and owing.rung.wait(20)
    assert owing.asked == [["Grüße!"]] and diagnoses(store) == [[]]


def test_other_deliveries_are_not_asked_about(store: Store, settings: Settings, clock: Clock) -> None:
    owe(store, clock, None)
    owe(store, clock, False)
    owing = Owing()
    with working(settings, store, clock, **owing.more):
        until(lambda: states(store) == ["succeeded"] * 2, "delivered")
    assert owing.asked == [] and diagnoses(store) == [[], []]


def test_only_the_attempt_that_succeeds_is_the_answer(
    store: Store, settings: Settings, page: Page, clock: Clock
) -> None:
    page.answer = lambda nth, form: (503, b"later") if nth == 1 else (200, b"now")
    owe(store, clock)
    owing = Owing()
    with working(settings, store, clock, **owing.more):
        until(lambda: len(diagnoses(store)) == 1, "an attempt")
        clock.ahead += 7
        until(lambda: owed(store) == ["now"], "owed")
    assert "no reply" not in str(diagnoses(store))


@pytest.mark.parametrize(
    ("headers", "body", "why"),
    [
        ({"Content-Type": "text/html"}, b"hello", "the answer's Content-Type is not text/plain"),
        ({"Content-Type": "text/plain"}, b"", "the answer is empty"),
        ({"Content-Type": "text/plain"}, b"<html>hello", "the answer looks like HTML"),
        ({"Content-Type": "text/plain"}, b"x" * 1601, "the answer is longer than 1,600 characters"),
        ({"Content-Type": "text/plain"}, b"x" * 70_000, "the answer was not read to its end"),
        ({"Content-Type": "text/plain"}, b"your api_key is canary-key", "the answer holds a secret of the endpoint"),
    ],
)
def test_why_there_is_no_reply_stands_with_the_attempt(
    sqlite_store: Store, settings: Settings, page: Page, clock: Clock, headers: dict[str, str], body: bytes, why: str
) -> None:
    page.headers, page.answer = headers, lambda nth, form: (200, body)
    owe(sqlite_store, clock)
    owing = Owing()
    with working(settings, sqlite_store, clock, **owing.more):
        until(lambda: states(sqlite_store) == ["succeeded"], "delivered")
    assert owing.asked == [] and diagnoses(sqlite_store) == [[f"no reply was sent: {why}"]]


def test_without_anybody_who_owes_replies_there_are_none(sqlite_store: Store, settings: Settings, clock: Clock) -> None:
    owe(sqlite_store, clock)
    with working(settings, sqlite_store, clock):
        until(lambda: states(sqlite_store) == ["succeeded"], "delivered")


def test_a_late_answer_is_none(store: Store, settings: Settings, clock: Clock) -> None:
    """Its lease ran out, and another worker has the delivery by now."""
    owe(store, clock)
    now, owing = clock(), Owing()
    (late,) = _claim(store, "a", now)
    (mine,) = _claim(store, "b", now + 60)
    for owner, one, said in (("a", late, "late"), ("b", mine, "mine")):
        settled = replace(ended(one, "succeeded", now + 61), reply=said)
        round_ = Batch(owner=owner, config=settings.current, now=now + 61, settled=[settled], owe_replies=owing)
        written = store.writer.write(round_.write, ordering_keys=round_.ordering_keys)
        assert list(written.owed) == (["@carrierx"] if said == "mine" else [])
    assert owed(store) == ["mine"] and owing.asked == [["mine"]]


def _claim(store: Store, owner: str, now: float) -> list[leases.ClaimedDelivery]:
    limits, seconds = {"page": leases.ClaimLimit(1)}, {"page": 30.0}
    work = partial(leases.claim, owner=owner, limits=limits, now=now, lease_seconds=seconds)
    return store.writer.write(work)


def test_what_was_rolled_back_is_owed_once(
    store: Store, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failed = Batch.write, []

    def fails(self: Batch, conn: Connection) -> Any:
        written = write(self, conn)
        if self.settled and not failed:
            failed.append(1)
            raise StoreUnavailable("gone")
        return written

    monkeypatch.setattr(Batch, "write", fails)
    owe(store, clock)
    owing = Owing()
    with working(settings, store, clock, **owing.more):
        until(lambda: states(store) == ["succeeded"], "settled")
        assert owing.rung.wait(20)
    assert failed and owed(store) == ["Grüße!"] and len(owing.asked) >= 2


def test_the_last_round_owes_too(sqlite_store: Store, settings: Settings, page: Page, clock: Clock) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def answer(nth: int, form: dict[str, str]) -> tuple[int, bytes]:
        begun.set()
        go_on.wait(20)
        return 200, b"just in time"

    page.answer = answer
    owe(sqlite_store, clock)
    owing = Owing()
    with working(settings, sqlite_store, clock, **owing.more):
        assert begun.wait(20)
        threading.Timer(0.2, go_on.set).start()
    assert owed(sqlite_store) == ["just in time"] and owing.rung.is_set()


def test_a_text_to_a_keyword_that_answers(store: Store, tmp_path: Path, page: Page, clock: Clock) -> None:
    """From the text to the message owed to CarrierX."""
    page.headers, page.answer = {"Content-Type": "text/plain"}, lambda nth, form: (200, b"You are number 7.")
    (tmp_path / "data").mkdir(mode=0o700, exist_ok=True)
    written = f"""
        [gateway]
        keys = ["{acme.KEY}"]
        password = "{acme.KEY}"
        [endpoint.page]
        url = "{page.url}"
        [[number]]
        number = "15162065919"
        [[number.keyword]]
        word = "ASK"
        callback = ["page"]
        reply = "response"
        """
    settings = Settings(acme.loads(written, path=tmp_path / "gateway.toml", environ={}))
    body = acme.text(message="ask me", from_did="15162065515")
    callback = Callback(format="carrierx", body=body, content_type=None, remote="", now=acme.NOW)
    assert accept.accept(callback, settings.current, store).state == "accepted"
    rung = threading.Event()
    others = {ledger.ENDPOINT: rung.set}
    with working(settings, store, clock, owe_replies=replies.owe_replies, wake_others=others):
        query = "SELECT body, state FROM deliveries WHERE endpoint = '@carrierx'"
        (sent,) = until(lambda: rows(store, query), "owed")
        assert rung.wait(20)
    said = json.loads(bytes(sent.body))
    assert (said["from"], said["to"], said["message"], sent.state) == (
        "15162065919",
        "15162065515",
        "You are number 7.",
        "pending",
    )
