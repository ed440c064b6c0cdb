"""The delivering half with real connections: ordering keys, retries, leases, stopping, on both databases."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.config import Settings
from gateway.delivery.batch import Batch
from gateway.safe_http import client
from gateway.safe_http.ssrf import HIDDEN
from gateway.store import Store, StoreUnavailable, leases
from tests import acme
from tests.delivering import Answer, Clock, Page, clock, config, outcomes, page, rows, settings, states, text, working
from tests.running import until

__all__ = ["clock", "page", "settings"]

FATAL = b"""<br />
<b>Fatal error</b>:  Uncaught Error: Call to undefined function save() in /var/www/join.php:3
Stack trace:
#0 {main}
  thrown in <b>/var/www/join.php</b> on line <b>3</b><br />"""


def test_what_is_owed_is_delivered_in_order(store: Store, settings: Settings, page: Page, clock: Clock) -> None:
    for nth in range(5):
        text(store, settings, str(nth))
    with working(settings, store, clock):
        until(lambda: states(store) == ["succeeded"] * 5, "all delivered")
    assert page.messages == ["0", "1", "2", "3", "4"]
    ids = [headers["X-Delivery-Id"] for headers, _ in page.got]
    assert len(set(ids)) == 5 and {headers["X-Delivery-Attempt"] for headers, _ in page.got} == {"1"}


def test_a_failure_is_tried_again_with_the_same_bytes_and_id(
    store: Store, settings: Settings, page: Page, clock: Clock
) -> None:
    page.answer = lambda nth, form: (500, b"") if nth < 3 else (200, b"ok")
    text(store, settings, "é 🎉 &=+%")
    with working(settings, store, clock):
        for nth, wait in ((1, 5), (2, 30)):
            until(lambda nth=nth: len(outcomes(store)) == nth and None not in outcomes(store), "an attempt")  # type: ignore[misc]
            clock.ahead += wait + 1
        until(lambda: states(store) == ["succeeded"], "delivered")
    assert outcomes(store) == ["again", "again", "succeeded"]
    (first, form), (second, again), (third, last) = page.got
    assert form == again == last and first["X-Delivery-Id"] == second["X-Delivery-Id"] == third["X-Delivery-Id"]
    assert [one["X-Delivery-Attempt"] for one in (first, second, third)] == ["1", "2", "3"]


def test_ten_attempts_and_then_dead(store: Store, settings: Settings, page: Page, clock: Clock) -> None:
    page.answer = lambda nth, form: (503, b"")
    text(store, settings, "nobody home")
    with working(settings, store, clock):
        for nth in range(1, 11):
            until(lambda nth=nth: len(outcomes(store)) == nth and None not in outcomes(store), "an attempt")  # type: ignore[misc]
            clock.ahead += 100_000
        until(lambda: states(store) == ["dead"], "dead")
    assert outcomes(store) == ["again"] * 9 + ["dead"]


def test_410_is_dead_at_once(store: Store, settings: Settings, page: Page, clock: Clock) -> None:
    page.answer = lambda nth, form: (410, b"")
    text(store, settings, "gone")
    with working(settings, store, clock):
        until(lambda: states(store) == ["dead"], "dead")
    assert len(page.got) == 1


def test_a_200_that_is_an_error_page_is_no_success(store: Store, settings: Settings, page: Page, clock: Clock) -> None:
    page.answer = lambda nth, form: (200, FATAL)
    text(store, settings, "oops")
    with working(settings, store, clock):
        until(lambda: outcomes(store) == ["again"], "an attempt")
    assert states(store) == ["pending"]


def test_the_second_waits_for_the_first_until_its_third_attempt(
    store: Store, settings: Settings, page: Page, clock: Clock
) -> None:
    page.answer = lambda nth, form: (500, b"") if form["message"] == "first" else (200, b"ok")
    text(store, settings, "first")
    text(store, settings, "second")
    text(store, settings, "other", phone="15162065516")
    with working(settings, store, clock):
        until(lambda: "other" in page.messages and "again" in outcomes(store), "first attempts")
        assert "second" not in page.messages
        clock.ahead += 6
        until(lambda: "second" in page.messages, "the ordering_key goes on")
    assert page.messages.index("second") > [nth for nth, one in enumerate(page.messages) if one == "first"][1]


def test_a_slow_answer_holds_up_nobody_else(store: Store, tmp_path: Path, page: Page, clock: Clock) -> None:
    settings = Settings(config(tmp_path, page, "timeout = 1\nconnect_timeout = 1"))
    gone = threading.Event()

    def answer(nth: int, form: dict[str, str]) -> Answer:
        if form["message"] == "slow":
            gone.wait(20)
        return 200, b"ok"

    page.answer = answer
    text(store, settings, "slow")
    for nth in range(3):
        text(store, settings, "quick", phone=f"1516206552{nth}")
    with working(settings, store, clock):
        until(lambda: states(store).count("succeeded") == 3, "the quick ones")
        until(lambda: "again" in outcomes(store), "the slow one's time is up")
        gone.set()
    (slow,) = rows(store, "SELECT sentence FROM attempts WHERE outcome = 'again'")
    assert slow.sentence == "no answer within 1 s, though the server took the connection"


def test_no_more_side_by_side_than_the_endpoint_bears(store: Store, tmp_path: Path, page: Page, clock: Clock) -> None:
    settings = Settings(config(tmp_path, page, "concurrency = 2"))
    here, most, lock, enough = 0, 0, threading.Lock(), threading.Semaphore(0)

    def answer(nth: int, form: dict[str, str]) -> Answer:
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
        enough.acquire(timeout=0.05)
        with lock:
            here -= 1
        return 200, b"ok"

    page.answer = answer
    for nth in range(10):
        text(store, settings, "one of ten", phone=f"151620655{nth:02}")
    with working(settings, store, clock):
        until(lambda: states(store) == ["succeeded"] * 10, "all delivered")
    assert most == 2


def test_stopping_finishes_what_is_in_flight(store: Store, settings: Settings, page: Page, clock: Clock) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def answer(nth: int, form: dict[str, str]) -> Answer:
        begun.set()
        go_on.wait(5)
        return 200, b"ok"

    page.answer = answer
    text(store, settings, "in flight")
    text(store, settings, "behind it")
    with capture_logs() as logs, working(settings, store, clock):
        assert begun.wait(10)
        threading.Timer(0.2, go_on.set).start()
    ours = ("worker_started", "attempt", "worker_stopped")
    assert tuple(line["event"] for line in logs if line["event"] in ours) == ours
    assert states(store) == ["succeeded", "pending"] and len(page.got) == 1


def test_a_worker_that_is_not_heard_of_again(store: Store, settings: Settings, page: Page, clock: Clock) -> None:

    text(store, settings, "claimed by a dead one")
    claimed = store.writer.write(
        lambda c: leases.claim(c, "dead", {"page": leases.ClaimLimit(1)}, clock(), {"page": 45.0})
    )
    assert len(claimed) == 1
    with working(settings, store, clock):
        clock.ahead += 46
        until(lambda: states(store) == ["succeeded"], "delivered by another")
    assert outcomes(store) == ["unknown", "succeeded"] and page.got[0][0]["X-Delivery-Attempt"] == "2"


def test_an_endpoint_that_was_taken_out_is_waited_for(
    store: Store, settings: Settings, page: Page, clock: Clock, tmp_path: Path
) -> None:
    text(store, settings, "for whom?")
    without = acme.loads(
        f'[gateway]\nkeys = ["{acme.KEY}"]\npassword = "{acme.KEY}"\n', path=tmp_path / "gateway.toml", environ={}
    )
    other = Page()
    try:
        with working(Settings(without), store, clock) as worker:
            worker.wake()
            until(lambda: worker._maintenance.scan_at > 0, "a look")
    finally:
        other.close()
    assert states(store) == ["pending"] and not page.got
    with working(settings, store, clock):
        until(lambda: states(store) == ["succeeded"], "delivered when it is back")


def test_a_store_that_goes_away_and_comes_back(
    monkeypatch: pytest.MonkeyPatch, store: Store, settings: Settings, page: Page, clock: Clock
) -> None:
    submit, failed = store.writer.submit, []

    def flaky(work: Any, ordering_keys: Any = ()) -> Any:
        # It goes away twice: when the first attempt is to be claimed, and when it is to be settled.
        is_round = isinstance(getattr(work, "__self__", None), Batch)
        if is_round and (len(failed) == 0 or (len(failed) == 1 and page.got)):
            failed.append(1)
            raise StoreUnavailable("gone")
        return submit(work, ordering_keys)

    text(store, settings, "kept")
    monkeypatch.setattr(store.writer, "submit", flaky)
    with capture_logs() as logs, working(settings, store, clock):
        until(lambda: states(store) == ["succeeded"], "settled when it is back")
    assert len(failed) == 2 and len(page.got) == 1 and outcomes(store) == ["succeeded"]
    said = [line["event"] for line in logs if line["event"].startswith("store_")]
    assert said == ["store_unavailable", "store_back"] * 2


def test_that_the_store_is_back_is_said_though_there_is_nothing_to_do(
    monkeypatch: pytest.MonkeyPatch, store: Store, settings: Settings, clock: Clock
) -> None:
    reader, failed = store.reader, []

    def flaky() -> Any:
        if not failed:
            failed.append(1)
            raise StoreUnavailable("gone")
        return reader()

    monkeypatch.setattr(store, "reader", flaky)

    def said() -> list[str]:
        return [line["event"] for line in logs if line["event"].startswith("store_")]

    with capture_logs() as logs, working(settings, store, clock):
        until(lambda: len(said()) == 2, "it is back")
    assert said() == ["store_unavailable", "store_back"]


def test_a_timeout_over_a_sleep_is_an_attempt_and_nothing_against_the_endpoint(
    store: Store, tmp_path: Path, page: Page, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is held up in the midst of its loop, as one that is stopped."""
    monkeypatch.setattr(client, "SLEPT_SECONDS", 0.5)
    settings = Settings(config(tmp_path, page, "timeout = 2\nconcurrency = 8"))
    begun, go_on, held = threading.Semaphore(0), threading.Event(), threading.Event()

    def answer(nth: int, form: dict[str, str]) -> Answer:
        begun.release()
        go_on.wait(20)
        return 200, b"ok"

    def hold() -> None:
        if held.is_set():
            held.clear()
            over = time.monotonic() + 2.5
            until(lambda: time.monotonic() > over, "asleep")

    page.answer = answer
    for nth in range(8):
        text(store, settings, "hello", phone=f"1516206552{nth}")
    with working(settings, store, clock, heartbeat=hold) as worker:
        for _ in range(8):
            assert begun.acquire(timeout=10)
        held.set()
        until(lambda: outcomes(store) == ["again"] * 8, "timed out")
        assert worker._http.woke_at and not worker._scheduler.breakers.not_closed()
        go_on.set()
        clock.ahead += 6
        until(lambda: states(store) == ["succeeded"] * 8, "delivered")


def test_what_is_older_than_the_retention_is_swept(store: Store, settings: Settings, page: Page, clock: Clock) -> None:
    text(store, settings, "old")
    with working(settings, store, clock):
        until(lambda: states(store) == ["succeeded"], "delivered")
    clock.ahead += 31 * 86_400
    text(store, settings, "new", phone="15162065516")
    page.answer = lambda nth, form: (500, b"")
    with working(settings, store, clock):
        until(lambda: "old" not in str(rows(store, "SELECT body FROM events")), "swept")
    (left,) = rows(store, "SELECT body FROM events")
    assert b"new" in bytes(left.body)


def test_secrets_that_a_page_echoes_are_not_stored(store: Store, tmp_path: Path, page: Page, clock: Clock) -> None:
    trio = 'credentials = { user_name = "acme", password = "canary-password", api_key = "canary-key" }'
    settings = Settings(config(tmp_path, page, trio))
    page.answer = lambda nth, form: (200, f"got {form['password']} and {form['api_key']}".encode())
    page.headers = {"X-Echo": "you sent canary-key", "Set-Cookie": "session=canary-session"}
    text(store, settings, "hello")
    with working(settings, store, clock):
        until(lambda: states(store) == ["succeeded"], "delivered")
    assert page.got[0][1]["password"] == "canary-password"
    (attempt,) = rows(store, "SELECT answer_headers, answer_body FROM attempts")
    assert b"got" in bytes(attempt.answer_body) and b"canary" not in bytes(attempt.answer_body)
    assert f"you sent {HIDDEN}" in attempt.answer_headers and "Set-Cookie" in attempt.answer_headers
    assert "canary" not in attempt.answer_headers
    assert b"canary" not in bytes(rows(store, "SELECT body FROM deliveries")[0].body)


def test_secrets_that_were_changed_while_it_runs_are_not_stored(
    store: Store, tmp_path: Path, page: Page, clock: Clock
) -> None:
    trio = 'credentials = { user_name = "acme", password = "canary-%s", api_key = "canary-key" }'
    settings = Settings(config(tmp_path, page, trio % "before"))
    page.answer = lambda nth, form: (200, f"got {form['password']}".encode())
    with working(settings, store, clock):
        for nth, password in enumerate(("before", "after"), start=1):
            settings._current = config(tmp_path, page, trio % password)
            text(store, settings, password)
            until(lambda nth=nth: states(store) == ["succeeded"] * nth, "delivered")  # type: ignore[misc]
    assert [form["password"] for _, form in page.got] == ["canary-before", "canary-after"]
    kept = [bytes(attempt.answer_body).decode() for attempt in rows(store, "SELECT answer_body FROM attempts")]
    assert kept == [f"got {HIDDEN}"] * 2
