"""Deliveries to a URL that came with a request: guarded, without credentials, and however many URLs there are."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.config import Settings
from gateway.metrics import Metrics
from gateway.safe_http.ssrf import MAX_URL_CHARACTERS
from gateway.store import Store, health, leases, outbox
from gateway.store.wakeup import WorkerNotifier
from schemas.message import Body
from tests.delivering import Answer, Clock, Page, clock, config, outcomes, page, rows, states, working
from tests.running import until
from tests.store_samples import add

__all__ = ["clock", "page"]
Open = Callable[..., Settings]
BODY = Body(content_type="application/x-www-form-urlencoded", data=b"ticket=t-1&status=sent")


@pytest.fixture
def opened(tmp_path: Path, page: Page) -> Open:
    """Settings with these networks open to free-form URLs. The page is an endpoint with credentials, besides."""

    def made(*networks: str) -> Settings:
        secrets = 'username = "u"\npassword = "canary"\nheaders = { X-Secret = "canary" }\nsecret = "canary-canary"'
        trio = 'credentials = { user_name = "canary", api_key = "canary" }'
        made = config(tmp_path, page, f"{secrets}\n{trio}")
        return Settings(replace(made, allow_networks=tuple(map(ip_network, networks))))

    return made


def owe(store: Store, *urls: str, now: float) -> None:
    event_id = add(store)
    letters = [
        outbox.OwedDelivery(endpoint=url, wire_format="legacy-status", ordering_key=f"{url}/{at}", body=BODY)
        for at, url in enumerate(urls)
    ]
    for at in range(0, len(letters), 200):
        some = letters[at : at + 200]
        work = partial(outbox.owe, event_id=event_id, owed=some, now=now)
        store.writer.write(work, ordering_keys=[one.ordering_key for one in some])


def test_it_is_posted_to_without_anybodys_credentials(store: Store, opened: Open, page: Page, clock: Clock) -> None:
    url = f"{page.url}?id=7%2f8&key=canary-in-the-query"
    owe(store, url, page.url, now=clock())
    tallied: list[str] = []

    class Counted(Metrics):
        def attempt(self, endpoint: str, outcome: str, seconds: float, since_owed: float) -> None:
            tallied.append(endpoint)

        def breaker(self, endpoint: str, state: str) -> None:
            raise AssertionError

    with capture_logs() as logs, working(opened("127.0.0.0/8"), store, clock, metrics=Counted()):
        until(lambda: states(store) == ["succeeded"] * 2, "delivered")
    assert sorted(page.paths) == ["/page.php", "/page.php?id=7%2f8&key=canary-in-the-query"]
    for headers, form in page.got:
        assert form == {"ticket": "t-1", "status": "sent"} and "Authorization" not in headers
        assert "canary" not in str(headers)
    said = [line["endpoint"] for line in logs if line["event"] == "attempt"]
    assert said == [page.url] * 2 and "canary" not in str(logs)
    assert sorted(tallied) == sorted([url, page.url]), "whoever counts puts them together"


@pytest.mark.parametrize(
    ("url", "networks", "reason"),
    [
        (
            "http://127.0.0.1:{port}/?canary",
            (),
            "127.0.0.1 is this machine itself (127.0.0.0/8); allow_networks can open it",
        ),
        ("http://localhost:{port}/?canary", (), "can open it"),
        ("http://2130706433:{port}/?canary", (), "127.0.0.1 is this machine itself"),
        ("http://169.254.169.254/latest?canary", ("0.0.0.0/0",), "link-local address"),
        ("http://10.9.8.7:25/?canary", ("10.0.0.0/8",), "port 25"),
    ],
)
def test_a_refused_address_is_dead_at_once(
    store: Store, opened: Open, page: Page, clock: Clock, url: str, networks: tuple[str, ...], reason: str
) -> None:
    owe(store, url.format(port=page.server.server_port), now=clock())
    with capture_logs() as logs, working(opened(*networks), store, clock) as worker:
        until(lambda: states(store) == ["dead"], "dead")
        assert not worker._scheduler.breakers._of, "it says nothing of the endpoint"
    assert outcomes(store) == ["dead"] and not page.got and "canary" not in str(logs)
    (attempt,) = rows(store, "SELECT sentence FROM attempts")
    assert reason in attempt.sentence


def test_where_the_gateway_listens_itself_is_refused_though_the_network_is_open(
    store: Store, opened: Open, page: Page, clock: Clock
) -> None:
    owe(store, page.url, now=clock())
    own = frozenset({("127.0.0.1", page.server.server_port)})
    with working(opened("127.0.0.0/8"), store, clock, own=own):
        until(lambda: states(store) == ["dead"], "dead")
    assert not page.got and "a loop" in rows(store, "SELECT sentence FROM attempts")[0].sentence


def test_the_connection_of_an_endpoint_is_not_lent(store: Store, opened: Open, page: Page, clock: Clock) -> None:
    """The operator's own endpoint may be private; the connection that it left open is none for others."""
    event_id = add(store)
    mine = outbox.OwedDelivery(endpoint="page", wire_format="legacy-status", ordering_key="page/1", body=BODY)
    store.writer.write(
        partial(outbox.owe, event_id=event_id, owed=[mine], now=clock()), ordering_keys=[mine.ordering_key]
    )
    with working(opened(), store, clock) as worker:
        until(lambda: states(store) == ["succeeded"], "delivered")
        owe(store, page.url, now=clock())
        worker.notify([page.url])
        until(lambda: states(store) == ["succeeded", "dead"], "refused")
    assert len(page.got) == 1


def test_redirects_are_not_followed(store: Store, opened: Open, page: Page, clock: Clock) -> None:
    page.headers = {"Location": "http://169.254.169.254/latest"}
    page.answer = lambda nth, form: (302, b"")
    owe(store, page.url, now=clock())
    with working(opened("127.0.0.0/8"), store, clock):
        until(lambda: outcomes(store) == ["again"], "an attempt")
    assert len(page.got) == 1 and states(store) == ["pending"]


def test_a_failure_is_tried_again_and_an_error_page_is_one(
    store: Store, opened: Open, page: Page, clock: Clock
) -> None:
    page.answer = lambda nth, form: (200, b"<h1>Software error:</h1>" if nth == 1 else b"ok")
    owe(store, f"{page.url}?id=1", now=clock())
    with working(opened("127.0.0.0/8"), store, clock):
        until(lambda: outcomes(store) == ["again"], "an attempt")
        clock.ahead += 7
        until(lambda: states(store) == ["succeeded"], "delivered")


def test_the_longest_url_fits(store: Store, opened: Open, page: Page, clock: Clock) -> None:
    start = f"{page.url}?id="
    letters = random.Random(4).choices(
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", k=MAX_URL_CHARACTERS
    )
    url = (start + "".join(letters))[:MAX_URL_CHARACTERS]
    owe(store, url, url, now=clock())
    with working(opened("127.0.0.0/8"), store, clock):
        until(lambda: states(store) == ["succeeded"] * 2, "delivered")
    assert {len(path) for path in page.paths} == {MAX_URL_CHARACTERS - len(page.url) + len("/page.php")}


def test_a_worker_that_is_gone_is_waited_out(store: Store, opened: Open, page: Page, clock: Clock) -> None:
    url = f"{page.url}?id=1"
    owe(store, url, now=clock())
    assert store.writer.write(lambda c: leases.claim(c, "dead", {url: leases.ClaimLimit(1)}, clock(), {url: 45.0}))
    with working(opened("127.0.0.0/8"), store, clock):
        clock.ahead += 46
        until(lambda: states(store) == ["succeeded"], "delivered by another")
    assert outcomes(store) == ["unknown", "succeeded"]


def test_urls_with_an_id_each_share_the_places_of_their_origin(
    store: Store, opened: Open, page: Page, clock: Clock
) -> None:
    here, most, lock = 0, 0, threading.Lock()
    full = threading.Event()

    def answer(nth: int, form: dict[str, str]) -> Answer:
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
            if here == 8:
                full.set()
        full.wait(20)
        with lock:
            here -= 1
        return 200, b"ok"

    page.answer = answer
    owe(store, *[f"{page.url}?id={nth}" for nth in range(100)], now=clock())
    with working(opened("127.0.0.0/8"), store, clock) as worker:
        until(lambda: states(store) == ["succeeded"] * 100, "delivered")
        scheduler = worker._scheduler
        due = scheduler.due
        until(lambda: not (due._due or due._waiting or due._blocked), "nothing is left to look at")
        assert not scheduler.concurrency._of and not scheduler.breakers._of
    assert most == 8 and len(set(page.paths)) == 100


def test_the_breaker_is_the_origins_and_no_query_is_written_down(
    store: Store, opened: Open, page: Page, clock: Clock
) -> None:
    page.answer = lambda nth, form: (500, b"")
    owe(store, *[f"{page.url}?canary={nth}" for nth in range(40)], now=clock())
    where = page.url.removesuffix("/page.php")
    with capture_logs() as logs, working(opened("127.0.0.0/8"), store, clock):
        until(lambda: [row.state for row in rows(store, "SELECT state FROM breakers")] == ["open"], "open")
    assert 5 <= len(page.got) <= 12, "when the fifth came back, seven were in flight"
    assert {line["endpoint"] for line in logs if line["event"] == "breaker"} == {where}
    assert "canary" not in str(logs)
    with store.reader() as conn:
        assert health.current_breakers(conn, clock()) == {}, "the worker is gone, and has said so"


def test_whose_endpoint_is_another_threads_is_left_to_it(
    store: Store, opened: Open, page: Page, clock: Clock, tmp_path: Path
) -> None:
    rung = threading.Semaphore(0)
    event_id = add(store)
    theirs = outbox.OwedDelivery(
        endpoint="@carrierx", wire_format="carrierx-send", ordering_key="@carrierx/1", body=BODY
    )
    work = partial(outbox.owe, event_id=event_id, owed=[theirs], now=clock())

    def drained() -> bool:
        while rung.acquire(blocking=False):
            pass
        return True

    with working(opened(), store, clock, wake_others={"@carrierx": rung.release}) as worker:
        store.writer.write(work, ordering_keys=[theirs.ordering_key])
        if store.name == "postgresql":
            assert rung.acquire(timeout=20), "somebody listens to other machines"
        for ring in (["@carrierx"], ["page", "@carrierx"], [""]):
            drained()
            worker.notify(ring)
            assert rung.acquire(timeout=20), ring
        ringer = WorkerNotifier(tmp_path / "data")
        for names in (["@carrierx"], []):
            drained()
            ringer.notify(names)
            assert rung.acquire(timeout=20), names
        ringer.close()
        until(lambda: worker._maintenance.scan_at and not worker._scheduler.due._due, "looked, and let be")
        assert worker._scheduler.due.seconds_until_due(clock()) is None
    assert states(store) == ["pending"] and not page.got


def test_others_are_not_woken_for_nothing(sqlite_store: Store, opened: Open, clock: Clock) -> None:
    rung: list[str] = []
    with working(opened(), sqlite_store, clock, wake_others={"@carrierx": lambda: rung.append("x")}) as worker:
        worker.notify(["page", "http://a.test/?@carrierx"])
        until(lambda: not worker._notified, "heard")
    assert not rung
