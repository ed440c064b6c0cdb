"""The delivering half with real connections: lanes, retries, leases, stopping, on both databases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from sqlalchemy import text as sql

from gateway import intake
from gateway.config import Settings
from gateway.delivery.worker import Worker
from gateway.store import Store, StoreUnavailable
from tests import acme
from tests.running import until

Answer = tuple[int, bytes]
FATAL = b"""<br />
<b>Fatal error</b>:  Uncaught Error: Call to undefined function save() in /var/www/join.php:3
Stack trace:
#0 {main}
  thrown in <b>/var/www/join.php</b> on line <b>3</b><br />"""


class Page:
    """An application that answers as it is told, and remembers what it got."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], dict[str, str]]] = []
        self.answer: Callable[[int, dict[str, str]], Answer] = lambda nth, form: (200, b"ok")
        self._lock = threading.Lock()
        page = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                form = {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
                with page._lock:
                    page.got.append((dict(self.headers), form))
                    nth = len(page.got)
                status, said = page.answer(nth, form)
                self.send_response(status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/page.php"

    @property
    def messages(self) -> list[str]:
        return [form["message"] for _, form in self.got]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Clock:
    """Real time, and jumps."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page()
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path, page: Page) -> Settings:
    return Settings.fixed(config(tmp_path, page, ""))


def config(folder: Path, page: Page, endpoint: str) -> Any:
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    return acme.loads(
        f"""
[gateway]
keys = ["{acme.KEY}"]
password = "{acme.KEY}"
[endpoint.page]
url = "{page.url}"
{endpoint}
[[number]]
number = "15162065919"
callback = ["page"]
""",
        path=folder / "gateway.toml",
        environ={},
    )


@contextmanager
def working(settings: Settings, store: Store, clock: Clock) -> Iterator[Worker]:
    worker, stop = Worker(settings, store, clock=clock, dice=lambda: 0.5), threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        yield worker
    finally:
        stop.set()
        worker.wake()
        thread.join()


def text(store: Store, settings: Settings, message: str, phone: str = "15162065515") -> None:
    body = acme.text(message=message, message_sid=f"{phone}-{message}", from_did=phone)
    callback = intake.Callback(format="carrierx", body=body, content_type=None, remote="", now=datetime.now(UTC))
    assert intake.accept(callback, settings.current, store).state == "accepted"


def rows(store: Store, query: str) -> list[Any]:
    with store.reader() as connection:
        return list(connection.execute(sql(query)))


def states(store: Store) -> list[str]:
    return [row.state for row in rows(store, "SELECT state FROM deliveries ORDER BY id")]


def outcomes(store: Store) -> list[str | None]:
    return [row.outcome for row in rows(store, "SELECT outcome FROM attempts ORDER BY started_at, number")]


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
        until(lambda: "second" in page.messages, "the lane goes on")
    assert page.messages.index("second") > [nth for nth, one in enumerate(page.messages) if one == "first"][1]


def test_a_slow_answer_holds_up_nobody_else(store: Store, tmp_path: Path, page: Page, clock: Clock) -> None:
    settings = Settings.fixed(config(tmp_path, page, "timeout = 1\nconnect_timeout = 1"))
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
    assert "1 s" in slow.sentence or "time" in slow.sentence


def test_no_more_side_by_side_than_the_endpoint_bears(store: Store, tmp_path: Path, page: Page, clock: Clock) -> None:
    settings = Settings.fixed(config(tmp_path, page, "concurrency = 2"))
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
    with working(settings, store, clock):
        assert begun.wait(10)
        threading.Timer(0.2, go_on.set).start()
    assert states(store) == ["succeeded", "pending"] and len(page.got) == 1


def test_a_worker_that_is_not_heard_of_again(store: Store, settings: Settings, page: Page, clock: Clock) -> None:
    from gateway.store import outbox

    text(store, settings, "claimed by a dead one")
    claimed = store.writer.write(lambda c: outbox.claim(c, "dead", {"page": 1}, clock(), {"page": 45.0}))
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
        with working(Settings.fixed(without), store, clock) as worker:
            worker.wake()
            until(lambda: worker._look_at > 0, "a look")
    finally:
        other.close()
    assert states(store) == ["pending"] and not page.got
    with working(settings, store, clock):
        until(lambda: states(store) == ["succeeded"], "delivered when it is back")


def test_a_store_that_goes_away_and_comes_back(
    monkeypatch: pytest.MonkeyPatch, store: Store, settings: Settings, page: Page, clock: Clock
) -> None:
    write, failed = store.writer.write, []

    def flaky(*given: Any, **named: Any) -> Any:
        # It goes away twice: when the first attempt is to be claimed, and when it is to be settled.
        if len(failed) == 0 or (len(failed) == 1 and page.got):
            failed.append(1)
            raise StoreUnavailable("gone")
        return write(*given, **named)

    text(store, settings, "kept")
    monkeypatch.setattr(store.writer, "write", flaky)
    with working(settings, store, clock):
        until(lambda: states(store) == ["succeeded"], "settled when it is back")
    assert len(failed) == 2 and len(page.got) == 1 and outcomes(store) == ["succeeded"]


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
    settings = Settings.fixed(config(tmp_path, page, trio))
    page.answer = lambda nth, form: (200, f"got {form['password']} and {form['api_key']}".encode())
    text(store, settings, "hello")
    with working(settings, store, clock):
        until(lambda: states(store) == ["succeeded"], "delivered")
    assert page.got[0][1]["password"] == "canary-password"
    (attempt,) = rows(store, "SELECT answer_body FROM attempts")
    assert b"got" in bytes(attempt.answer_body) and b"canary" not in bytes(attempt.answer_body)
    assert b"canary" not in bytes(rows(store, "SELECT body FROM deliveries")[0].body)
