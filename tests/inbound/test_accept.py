"""Keeping a callback and owing its deliveries, on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from sqlalchemy import text as sql

from gateway.config import Config, Key, loads
from gateway.config.known_secrets import BLANKED
from gateway.inbound import accept as intake
from gateway.inbound.accept import BUDGET_BYTES, MIN_EVENT_BYTES, WHOLE_BYTES, RefusedBudget, keys_used_up
from gateway.inbound.callback import Accepted, Callback
from gateway.store import Store, StoreUnavailable, search
from tests import acme

Accept = Callable[..., Accepted]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return acme.config(tmp_path)


@pytest.fixture
def accept(store: Store, config: Config) -> Accept:
    def accepting(body: bytes, source: str = "carrierx", content_type: str | None = None, **more: Any) -> Accepted:
        callback = Callback(
            format=source, body=body, content_type=content_type, remote="192.0.2.7", now=more.get("now", acme.NOW)
        )
        return intake.accept(callback, more.get("config", config), store)

    return accepting


def rows(store: Store, query: str) -> list[Any]:
    with store.reader() as connection:
        return list(connection.execute(sql(query)))


def owed(store: Store) -> list[Any]:
    return rows(store, "SELECT * FROM deliveries ORDER BY id")


def kept(store: Store) -> list[Any]:
    return rows(store, "SELECT * FROM events ORDER BY id")


def refuse(body: bytes, config: Config, store: Store, budget: RefusedBudget, key: str = "crm", days: int = 0) -> Any:
    now = acme.NOW + timedelta(days=days)
    callback = Callback(format="carrierx", body=body, content_type=None, remote="192.0.2.7", now=now, key=key)
    accepted = intake.accept(callback, config, store, budget)
    assert accepted.state == "refused" and accepted.errors, "the answer is the same, kept or not"
    return accepted.event_id


def test_a_holder_of_a_key_cannot_fill_the_disk(store: Store, config: Config, accept: Accept) -> None:
    budget = RefusedBudget()
    for _ in range(190):
        assert refuse(b"x" * 1024 * 1024, config, store, budget)
    (size, least, most), *_ = rows(store, "SELECT sum(length(body)), min(length(body)), max(length(body)) FROM events")
    assert (size, least, most) == (190 * 4_096, 4_096, 4_096)
    assert rows(store, "SELECT notes FROM events LIMIT 1")[0].notes == (
        '["Of its 1,048,576 bytes the first 4,096 are kept."]'
    )
    if store.name == "sqlite":
        (file,) = rows(store, "SELECT page_count * page_size AS size FROM pragma_page_count(), pragma_page_size()")
        assert file.size < 4_000_000
    assert accept(acme.text()).state == "accepted"


def test_refused_ones_have_a_budget_for_each_key_and_day(
    store: Store, another: Callable[[], Store], config: Config
) -> None:
    body, budget, other_process = b"x" * WHOLE_BYTES, RefusedBudget(), RefusedBudget()
    most = BUDGET_BYTES // WHOLE_BYTES
    with another() as same:
        for number in range(most):
            assert refuse(body, config, same if number % 2 else store, other_process if number % 2 else budget)
        assert refuse(body, config, store, budget) is None
        assert refuse(body, config, same, other_process) is None
    with store.reader() as connection:
        named = replace(config, named_keys=(Key(name="crm", value=("x" * 20,)), Key(name="other", value=("y" * 20,))))
        assert keys_used_up(connection, named, acme.NOW.timestamp()) == ["crm"]
    assert len(kept(store)) == most
    assert refuse(body, config, store, budget, key="other") and refuse(body, config, store, budget, days=1)


def test_a_used_up_budget_costs_no_transaction(store: Store, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.inbound.accept.BUDGET_BYTES", 2 * MIN_EVENT_BYTES)
    budget = RefusedBudget()
    assert [bool(refuse(b"x", config, store, budget)) for _ in range(3)] == [True, True, False], "however small"
    monkeypatch.setattr(store.writer, "write", None)
    assert refuse(b"x", config, store, budget) is None


def test_a_secret_in_any_field_is_not_kept(store: Store, accept: Accept) -> None:
    """Neither with the event nor in what is owed."""
    bodies = {
        "carrierx": acme.text(user_data=acme.KEY)[:-1] + b', "unknown": ["%s"]}' % acme.KEY.encode(),
        "legacy-callback": acme.keyword_callback() + b"&unknown=" + acme.KEY.encode(),
        "legacy-status": b"broken=1&unknown=" + acme.KEY.encode(),
    }
    states = [accept(body, source).state for source, body in bodies.items()]
    assert states == ["accepted", "accepted", "refused"]
    assert all(BLANKED in json.loads(event.notes) for event in kept(store))
    assert not [row for row in [*kept(store), *owed(store)] if acme.KEY.encode() in row.body]
    accept(acme.text(message_sid="two", message=acme.KEY))
    assert json.loads(kept(store)[-1].body)["message"] == acme.KEY, "a text is never lost"


def form(delivery: Any) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(delivery.body.decode(), keep_blank_values=True).items()}


def test_a_text_is_owed_in_both_formats(store: Store, accept: Accept) -> None:
    assert accept(acme.text()).state == "accepted"
    page, app = owed(store)
    assert (page.endpoint, page.wire_format, page.state, page.queue_position) == (
        "page",
        "legacy-callback",
        "pending",
        "head",
    )
    assert form(page) == {
        "title": "Summer sign-up",
        "code": "12345",
        "shortcode": "12345",
        "message": "join é 🎉 &=+%",
        "phone": "15162065515",
        "carrier": "T-Mobile US",
        "keyword": "JOIN",
        "group": "Acme",
        "custom_ticket": "",
        "default_keyword": "ACME1234",
    }
    assert ["X-Message-Sid", "87a1ee29-1954-4a22-a243-be21711f28dd"] in json.loads(page.headers)
    assert (app.endpoint, app.wire_format) == ("app", "carrierx") and json.loads(app.body)["to_did"] == "15162065919"


def test_the_event_has_the_bytes_and_what_they_said(store: Store, accept: Accept) -> None:
    accept(acme.text())
    (event,) = kept(store)
    assert bytes(event.body) == acme.text() and event.source == "carrierx" and event.remote == "192.0.2.7"
    assert (event.phone, event.number, event.keyword) == ("15162065515", "15162065919", "JOIN")


@pytest.mark.parametrize("body", [acme.text(), b"{"])
def test_no_content_type_is_an_empty_one(store: Store, accept: Accept, body: bytes) -> None:
    accept(body)
    assert [event.content_type for event in kept(store)] == [""]


@pytest.mark.parametrize("body", [acme.text(message="hello"), acme.text(message="join"), acme.update()])
def test_an_endpoint_that_is_named_twice_is_owed_once(tmp_path: Path, sqlite_store: Store, body: bytes) -> None:
    twice = acme.TOML.replace('["app"]', '["app", "page", "app"]').replace('["page", "app"]', '["page", "app", "page"]')
    config = loads(twice.format(database="sqlite:///x.db"), path=tmp_path / "gateway.toml", environ={})
    callback = Callback(format="carrierx", body=body, content_type=None, remote="", now=acme.NOW)
    assert intake.accept(callback, config, sqlite_store).state == "accepted"
    assert sorted(one.endpoint for one in owed(sqlite_store)) == ["app", "page"]


def test_a_keyword_callback_is_owed_as_json(store: Store, accept: Accept) -> None:
    assert accept(acme.keyword_callback(), "legacy-callback").state == "accepted"
    page, app = owed(store)
    assert form(page)["custom_ticket"] == "order-7"
    said = json.loads(app.body)
    assert (said["from_did"], said["to_did"], said["status"]) == ("15162065515", "15162065919", "received")
    assert said["legacy"]["group"] == "Acme" and said["date_created"] == "2026-11-20T09:30:00.000Z"
    assert said["partner_sid"] == "66352290-bd20-4ed0-a403-8c00792f15b8"


def test_the_same_text_again_is_sent_once(store: Store, accept: Accept) -> None:
    assert [accept(acme.text()).state for _ in range(3)] == ["accepted", "duplicate", "duplicate"]
    assert len(owed(store)) == 2 and len(kept(store)) == 3


def test_the_same_keyword_callback_again_is_another_text(store: Store, accept: Accept) -> None:
    assert [accept(acme.keyword_callback(), "legacy-callback").state for _ in range(2)] == ["accepted"] * 2
    assert len(owed(store)) == 4


def test_never_backwards(store: Store, accept: Accept) -> None:
    said = ["queued", "sent", "queued", "delivered", "sent", "delivered", "queued", "undelivered", "strange"]
    states = [accept(acme.update(status=word)).state for word in said]
    expected = ["accepted", "accepted", "duplicate", "accepted", "duplicate", "duplicate", "duplicate", "accepted"]
    assert states == [*expected, "stale"]


def test_words_of_one_stage_follow_each_other(store: Store, accept: Accept) -> None:
    """Nothing in the words says which of the two was first."""
    said = ["queued", "sent", "internal_error", "sending_timed_out", "sending_failed"]
    assert [accept(acme.update(status=word)).state for word in said] == ["accepted"] * 5
    told = [json.loads(one.body)["status"] for one in owed(store) if one.endpoint == "app"]
    assert told == said


def test_a_late_non_final_word_is_stale(store: Store, accept: Accept) -> None:
    said = [accept(acme.update(status=word)).state for word in ("delivered", "sent", "queued")]
    assert said == ["accepted", "stale", "stale"] and len(owed(store)) == 2


def test_recipients_of_one_ticket_are_apart(store: Store, accept: Accept) -> None:
    for recipient in ("15162065515", "15162065516"):
        post = acme.status_post(ticket="f6ac6e90-4c38-4ba1-a8ce-25a911a422db", sendTo=recipient, status="Delivered")
        assert accept(post, "legacy-status").state == "accepted"
    assert len(owed(store)) == 4


def test_a_group_gets_a_status_post_each(store: Store, accept: Accept) -> None:
    group = ["17575000929", "17208200012", "15162065515"]
    accept(acme.update(status="delivered", type="mms", group_recipients=group))
    posts = [form(one)["sendTo"] for one in owed(store) if one.endpoint == "page"]
    assert sorted(posts) == sorted(group)
    assert [one.wire_format for one in owed(store)].count("carrierx") == 1


def test_the_ticket_of_the_last_message_comes_back(store: Store, accept: Accept) -> None:
    accept(acme.update(message_sid="newer", user_data="order-8", date_created="2026-11-20T09:29:55.000Z"))
    accept(acme.update(user_data="order-7"))
    accept(acme.text())
    (page,) = [one for one in owed(store) if one.wire_format == "legacy-callback"]
    assert form(page)["custom_ticket"] == "order-8"


@pytest.mark.parametrize("body", [acme.text(to_did="15550001111"), acme.text(to_did="15162065900", message="nowhere")])
def test_what_goes_nowhere_is_kept_as_unrouted(store: Store, accept: Accept, body: bytes) -> None:
    assert accept(body).state == "unrouted" and not owed(store)


def test_an_unrouted_text_is_routed_later(tmp_path: Path, store: Store, accept: Accept) -> None:
    event_id = accept(acme.text(to_did="15550001111", message="hello")).event_id
    with store.reader() as connection:
        whole = search.load_event(connection, event_id)
    assert whole is not None
    event = whole.event
    assert not intake.reroute_event(event, acme.config(tmp_path), store)
    more = '\n[[number]]\nnumber = "15550001111"\ncallback = ["page"]\n'
    assert intake.reroute_event(event, acme.config(tmp_path, more=more), store)
    assert not intake.reroute_event(event, acme.config(tmp_path, more=more), store)
    assert [form(one)["message"] for one in owed(store)] == ["hello"] and kept(store)[0].state == "accepted"


def test_updates_that_nobody_wants_are_orphans(store: Store, accept: Accept) -> None:
    assert accept(acme.update(**{"from": "15162065900"})).state == "orphan" and not owed(store)


@pytest.mark.parametrize(
    ("source", "body"),
    [("carrierx", b"[]"), ("carrierx", b""), ("legacy-callback", b"phone=1"), ("legacy-status", b"")],
)
def test_what_is_not_the_format_is_kept_as_refused(store: Store, accept: Accept, source: str, body: bytes) -> None:
    found = accept(body, source)
    assert found.state == "refused" and found.errors and not found.forbidden
    (event,) = kept(store)
    assert bytes(event.body) == body and json.loads(event.errors).keys() == found.errors.keys()


LEGACY = '\n[legacy]\nuser_name = "acme"\npassword = "canary-password"\napi_key = "canary-key"\n'


@pytest.mark.parametrize(
    ("trio", "state"),
    [
        ({"user_name": "acme", "password": "canary-password", "api_key": "canary-key"}, "accepted"),
        ({"user_name": "acme", "password": "canary-password", "api_key": "canary-wrong"}, "refused"),
        ({"user_name": "acme", "password": "canary-password"}, "refused"),
        ({}, "refused"),
    ],
)
def test_credentials_are_checked_then_blanked(
    tmp_path: Path, store: Store, accept: Accept, trio: dict[str, str], state: str
) -> None:
    found = accept(acme.keyword_callback(**trio), "legacy-callback", config=acme.config(tmp_path, more=LEGACY))
    assert found.state == state and found.forbidden == (state == "refused")
    assert all(b"canary" not in bytes(value) for row in (*kept(store), *owed(store)) for value in _texts(row))


def test_status_posts_come_without_credentials(tmp_path: Path, accept: Accept) -> None:
    config = acme.config(tmp_path, more=LEGACY)
    assert accept(acme.status_post(), "legacy-status", config=config).state == "accepted"
    wrong = acme.status_post(user_name="acme", password="canary-wrong", api_key="canary-key")
    assert accept(wrong, "legacy-status", config=config).forbidden


def _texts(row: Any) -> list[bytes]:
    return [value.encode() if isinstance(value, str) else bytes(value or b"") for value in row if _is_text(value)]


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, bytes, memoryview))


def test_a_full_disk_is_said_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, store: Store, accept: Accept
) -> None:
    monkeypatch.setattr(store, "has_room", lambda: False)
    with pytest.raises(StoreUnavailable):
        accept(acme.text())


def test_order_is_that_of_the_acceptance(store: Store, accept: Accept) -> None:
    for second in range(3):
        accept(acme.text(message_sid=f"sid-{second}"), now=acme.NOW + timedelta(seconds=second))
    ordering_keys = rows(store, "SELECT queue_position FROM deliveries WHERE endpoint = 'page' ORDER BY id")
    assert [row.queue_position for row in ordering_keys] == ["head", "behind", "behind"]


def test_one_conversation_does_not_hold_up_another(tmp_path: Path, store: Store, accept: Accept) -> None:
    config = acme.config(tmp_path, more='\n[[number]]\nnumber = "15550001111"\ncallback = ["page"]\n')
    one, ours = "15162065515", "15162065919"
    conversations = ((one, ours), (one, "15550001111"), ("15162065516", ours), (one, ours))
    for nth, (phone, number) in enumerate(conversations):
        accept(acme.text(message_sid=f"sid-{nth}", from_did=phone, to_did=number), config=config)
    ordering_keys = rows(store, "SELECT queue_position FROM deliveries WHERE endpoint = 'page' ORDER BY id")
    assert [row.queue_position for row in ordering_keys] == ["head", "head", "head", "behind"]
