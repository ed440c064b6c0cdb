"""200 means on disk: whatever dies between 200 and delivery, all of it arrives, and an endpoint's bad day passes."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.e2e.callbacks import (
    FORM,
    JSON,
    TEXTS,
    text_of_carrierx,
    text_of_platform,
    update_of_carrierx,
    update_of_platform,
)
from tests.e2e.conftest import World
from tests.running import until

TEXT = TEXTS["long"]


def nothing_owed(world: World) -> bool:
    return not world.gateway.rows("SELECT 1 FROM deliveries WHERE state <> 'succeeded'")


def test_kill_9_of_everything_between_200_and_delivery(quiet_world: World) -> None:
    """All four kinds are accepted while nobody is at home. Then the power goes; then everybody is back."""
    world = quiet_world
    gateway, page, consumer = world.gateway, world.page, world.consumer
    calls = (
        ("/carrierx/callback", text_of_carrierx("sid-of-the-text", TEXT), JSON),
        ("/carrierx/callback", update_of_carrierx("sid-of-the-update", "delivered"), JSON),
        ("/legacy/callback", text_of_platform(TEXT, "ticket-of-the-text"), FORM),
        ("/legacy/status", update_of_platform("ticket-of-the-update", "delivered"), FORM),
    )
    assert [gateway.post(*call).status for call in calls] == [200] * len(calls)
    gateway.kill()
    assert not page.records() and not consumer.records()
    let_a_minute_pass(world)
    page.start()
    consumer.start()
    gateway.start()
    until(lambda: nothing_owed(world), "everything delivered")
    assert sorted(one["page"] for one in page.records()) == ["/callback.php", "/status.php"]
    assert sorted(one["page"] for one in consumer.records()) == ["/mms", "/mms", "/sms", "/sms"]
    assert page.records("/callback.php")[0]["fields"]["message"] == TEXT
    assert page.records("/status.php")[0]["fields"]["ticket"] == "sid-of-the-update"
    said = {one["data"]["legacy"]["custom_ticket"]: one["data"] for one in consumer.records("/sms")}
    assert said["ticket-of-the-text"]["message"] == TEXT
    assert len({row["state"] for row in gateway.rows("SELECT state FROM events")}) == 1


def test_kill_9_while_the_page_has_the_text_in_hand(quiet_world: World) -> None:
    """Nobody can know whether it took it: it gets it again under the same id, and the first attempt says so."""
    world = quiet_world
    world.page.answer_next("slow")
    world.page.start()
    assert world.gateway.post("/carrierx/callback", text_of_carrierx("sid-1", TEXT), JSON).status == 200
    world.page.wait("/callback.php")
    world.gateway.kill()
    world.page.kill()
    world.page.start()
    let_a_minute_pass(world)
    world.gateway.start()
    until(lambda: nothing_owed(world), "delivered")
    first, second = world.page.records("/callback.php")
    assert [one["headers"]["x-delivery-attempt"] for one in (first, second)] == ["1", "2"]
    assert first["headers"]["x-delivery-id"] == second["headers"]["x-delivery-id"] and first["raw"] == second["raw"]
    outcomes = world.gateway.rows("SELECT outcome FROM attempts ORDER BY number")
    assert [row["outcome"] for row in outcomes] == ["unknown", "succeeded"]


def let_a_minute_pass(world: World) -> None:
    """Of standing still: leases of the dead have run out, and second attempts are due."""
    with closing(sqlite3.connect(world.gateway.folder / "data" / "gateway.db")) as connection:
        connection.execute("UPDATE deliveries SET due = due - 60 WHERE due IS NOT NULL")
        connection.commit()


def test_an_endpoint_that_fails_gets_the_same_bytes_again(quiet_world: World) -> None:
    """A 500, and a fatal error of PHP behind a 200: neither is a delivery. The next attempt comes in five seconds."""
    world = quiet_world
    world.page.answer_next("error", "500")
    world.page.start()
    assert world.gateway.post("/carrierx/callback", text_of_carrierx("sid-1", TEXT), JSON).status == 200
    world.page.wait("/callback.php")
    assert world.gateway.post("/carrierx/callback", update_of_carrierx("sid-2", "sent"), JSON).status == 200
    until(lambda: nothing_owed(world), "everything delivered")
    for page, first in (("/callback.php", "error"), ("/status.php", "500")):
        records = world.page.records(page)
        assert [one["answer"] for one in records] == [first, "200"]
        assert [one["headers"]["x-delivery-attempt"] for one in records] == ["1", "2"]
        assert len({one["headers"]["x-delivery-id"] for one in records}) == len({one["raw"] for one in records}) == 1
    failed = world.gateway.rows("SELECT status FROM attempts WHERE outcome = 'again' ORDER BY status")
    assert [row["status"] for row in failed] == [200, 500]


def test_a_page_that_never_answers_is_asked_again(quiet_world: World) -> None:
    """It has read the text, but did not say so: it gets it once more, under the same id, so that it can tell."""
    world = quiet_world
    world.page.answer_next("slow")
    world.page.start()
    assert world.gateway.post("/carrierx/callback", text_of_carrierx("sid-1", TEXT), JSON).status == 200
    world.page.wait("/callback.php")
    until(lambda: world.gateway.rows("SELECT 1 FROM attempts WHERE outcome = 'again'"), "the attempt timed out")
    world.page.kill()
    world.page.start()
    until(lambda: nothing_owed(world), "delivered")
    records = world.page.records("/callback.php")
    assert [one["answer"] for one in records] == ["slow", "200"]
    assert len({one["headers"]["x-delivery-id"] for one in records}) == 1


def test_sigterm_loses_nothing(quiet_world: World) -> None:
    """What was accepted just before is delivered now, or by whoever starts next."""
    world = quiet_world
    world.page.start()
    sids = [f"sid-{at}" for at in range(20)]
    for sid in sids:
        assert world.gateway.post("/carrierx/callback", text_of_carrierx(sid, "JOIN"), JSON).status == 200
    assert world.gateway.stop() == 0
    world.gateway.start()
    until(lambda: nothing_owed(world), "everything delivered")
    assert sorted({one["headers"]["x-message-sid"] for one in world.page.records()}) == sorted(sids)
    assert len({one["headers"]["x-delivery-id"] for one in world.page.records()}) == len(sids)
