"""Status updates of texts that we sent: which text, which endpoints, and updates that come early; on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config
from gateway.inbound import accept, status_update
from gateway.inbound.callback import Accepted, Callback
from gateway.outbound.enqueue import conversation_key
from gateway.sender import settle
from gateway.store import Store
from tests import acme, sends

Update = Callable[..., Accepted]
URL = "https://legacy.example.com/status.php?id=7"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return sends.config(tmp_path)


@pytest.fixture
def update(store: Store, config: Config) -> Update:
    """Accepts an update of CarrierX; without `user_data`, as in the older shape."""

    def updating(sid: str, status: str, **changes: Any) -> Accepted:
        said = {"user_data": None, "message_sid": sid, "status": status} | changes
        callback = Callback(format="carrierx", body=acme.update(**said), content_type=None, remote="", now=acme.NOW)
        return accept.accept(callback, config, store)

    return updating


def states(store: Store) -> list[str]:
    return [row.state for row in sends.rows(store, "SELECT state FROM events WHERE source = 'carrierx' ORDER BY id")]


def sent(store: Store, config: Config, sid: str = "sid-1", **changes: Any) -> str:
    """Accepts a text and sends it; its ticket."""
    ticket = sends.accept(store, config, **changes).answer.ticket
    one = sends.entries(store)[-1]
    sends.begin(store, one)
    sends.answered(store, config, one, sid)
    return ticket


def test_the_way_of_a_message(store: Store, config: Config, update: Update) -> None:
    ticket = sent(store, config)
    for status in ("sent", "delivered"):
        assert update("sid-1", status).state == "accepted"
    assert sends.posts(store) == [(sends.PHONE, status, ticket) for status in ("queued", "sent", "delivered")]
    entry = sends.entry(store)
    assert (entry.state, entry.message_sid, entry.status, entry.fetch_at) == ("sent", "sid-1", "delivered", None)
    events = sends.rows(store, "SELECT ticket, custom_ticket FROM events WHERE source = 'carrierx'")
    assert {tuple(row) for row in events} == {(ticket, "order-7")}


def test_our_id_is_nobodys_business(store: Store, config: Config, update: Update) -> None:
    sent(store, config)
    update("sid-1", "sent", user_data=sends.entry(store).send_id, type="mms")
    owed = sends.rows(store, "SELECT body FROM deliveries WHERE endpoint = 'app' ORDER BY id")
    said = [json.loads(row.body) for row in owed]
    # Only the newer shape, which an MMS has, says `user_data`.
    assert [(one["status"], one.get("user_data")) for one in said] == [("queued", None), ("sent", "order-7")]
    assert not any(sends.entry(store).send_id in bytes(row.body).decode() for row in owed)


def test_no_custom_ticket_stays_none(store: Store, config: Config, update: Update) -> None:
    sent(store, config, custom_ticket="")
    update("sid-1", "sent", user_data=sends.entry(store).send_id)
    owed = sends.rows(store, "SELECT body FROM deliveries WHERE endpoint = 'page'")
    assert [bytes(row.body).endswith(b"&custom_ticket=") for row in owed] == [True, True]


def test_queued_is_told_once(store: Store, config: Config, update: Update) -> None:
    ticket = sent(store, config)
    assert update("sid-1", "queued").state == "duplicate"
    assert sends.posts(store) == [(sends.PHONE, "queued", ticket)]


def test_a_status_url_of_its_own(store: Store, config: Config, update: Update) -> None:
    ticket = sent(store, config, status_url=URL)
    kept = update("sid-1", "sent")
    assert kept.endpoints == (URL,)
    assert sends.posts(store) == [] and sends.posts(store, URL) == [
        (sends.PHONE, "queued", ticket),
        (sends.PHONE, "sent", ticket),
    ]


def test_a_refusal_is_told_as_failed(store: Store, config: Config) -> None:
    ticket = sends.accept(store, config).answer.ticket
    sends.begin(store, sends.entry(store))
    assert sends.refused(store, config, sends.entry(store)) == {"page", "app"}
    assert sends.refused(store, config, sends.entry(store)) == frozenset(), "once"
    entry = sends.entry(store)
    assert (entry.state, entry.status, entry.reason) == ("refused", "failed", "CarrierX says no.")
    assert sends.posts(store) == [(sends.PHONE, "failed", ticket)]


@pytest.mark.parametrize("order", list(permutations(("queued", "sent", "delivered"))))
def test_too_early_they_wait(store: Store, config: Config, update: Update, order: tuple[str, ...]) -> None:
    """No update of it went out yet: they go in the order of the flow, whatever the order of arrival."""
    ticket = sends.accept(store, config).answer.ticket
    one = sends.entry(store)
    sends.begin(store, one)
    for status in order:
        assert update("sid-1", status).state == "waiting"
    assert update("sid-1", "sent").state == "waiting"
    assert sends.posts(store) == []
    assert sends.answered(store, config, one, "sid-1") == {"page", "app"}
    assert sends.posts(store) == [(sends.PHONE, status, ticket) for status in ("queued", "sent", "delivered")]
    assert sorted(states(store)) == ["accepted", "accepted", "duplicate", "duplicate"]
    assert sends.entry(store).status == "delivered"


def test_known_by_what_we_gave_along(store: Store, config: Config, update: Update) -> None:
    """An update with our id shows that CarrierX has the text, and its message_sid, before the response does."""
    ticket = sends.accept(store, config).answer.ticket
    one = sends.entry(store)
    sends.begin(store, one)
    assert update("sid-1", "sent", user_data=one.send_id).state == "accepted"
    assert (sends.entry(store).state, sends.entry(store).message_sid) == ("sent", "sid-1")
    assert sends.answered(store, config, one, "sid-1") == frozenset()
    assert sends.posts(store) == [(sends.PHONE, "queued", ticket), (sends.PHONE, "sent", ticket)]


def test_the_id_of_another_phone_is_no_proof(store: Store, config: Config, update: Update) -> None:
    sends.accept(store, config)
    kept = update("sid-1", "sent", user_data=sends.entry(store).send_id, to="15162065599")
    assert kept.orphan == "message" and sends.entry(store).message_sid == ""


def test_one_message_under_two_names_is_told_once(store: Store, config: Config, update: Update) -> None:
    ticket = sent(store, config)
    assert update("sid-2", "sent", user_data=sends.entry(store).send_id).state == "duplicate"
    assert sends.posts(store) == [(sends.PHONE, "queued", ticket)]


def test_what_waited_for_nothing_goes_its_own_way(store: Store, config: Config, update: Update) -> None:
    """The update is of somebody else's message to the same phone."""
    ticket = sends.accept(store, config).answer.ticket
    one = sends.entry(store)
    sends.begin(store, one)
    assert update("sid-of-others", "sent").state == "waiting"
    sends.answered(store, config, one, "sid-1")
    assert sends.posts(store) == [(sends.PHONE, "queued", ticket), (sends.PHONE, "sent", "sid-of-others")]
    assert states(store) == ["accepted"]


def test_it_waits_while_anything_is_in_flight(store: Store, config: Config, update: Update) -> None:
    for _ in range(2):
        sends.accept(store, config)
    one, other = sends.entries(store)
    sends.begin(store, one)
    sends.begin(store, other)
    update("sid-2", "sent")
    sends.answered(store, config, one, "sid-1")
    assert states(store) == ["waiting"]
    sends.answered(store, config, other, "sid-2")
    assert states(store) == ["accepted"] and sends.posts(store)[-1] == (sends.PHONE, "sent", other.ticket_shown)


@pytest.mark.parametrize("end", ["refused", "undecided", "put back"])
def test_no_end_leaves_anything_waiting(store: Store, config: Config, update: Update, end: str) -> None:
    sends.accept(store, config)
    one = sends.entry(store)
    sends.begin(store, one)
    update("sid-of-others", "sent")
    ends = {"refused": settle.refused, "undecided": settle.undecided, "put back": settle.put_back}
    store.writer.write(lambda conn: ends[end](conn, one, "why", config, sends.AT))
    assert states(store) == ["accepted"]


def test_a_net_below(store: Store, config: Config, update: Update) -> None:
    sends.accept(store, config)
    one = sends.entry(store)
    sends.begin(store, one)
    update("sid-1", "sent")
    store.writer.write(lambda conn: status_update.ledger.put_back_for_submission(conn, one.send_id, sends.AT))
    later = sends.AT + settle.STALE_UPDATE_SECONDS
    assert store.writer.write(lambda conn: settle.release_stale(conn, config, later)) == frozenset()
    assert store.writer.write(lambda conn: settle.release_stale(conn, config, later + 1)) == {"page", "app"}
    assert states(store) == ["accepted"]


def test_what_others_sent(store: Store, config: Config, update: Update) -> None:
    """An update of a text sent by the portal, say, goes to the number's status endpoints, and is counted."""
    kept = update("sid-of-others", "sent")
    assert (kept.state, kept.orphan) == ("accepted", "message")
    assert sends.posts(store) == [(sends.PHONE, "sent", "sid-of-others")]
    (event,) = sends.rows(store, "SELECT notes FROM events")
    assert status_update.NOT_OURS in json.loads(event.notes)


def test_an_orphan(store: Store, config: Config, update: Update) -> None:
    kept = update("sid-of-others", "sent", **{"from": "15162065900"})
    assert (kept.state, kept.orphan) == ("orphan", "endpoints") and states(store) == ["orphan"]


def test_an_update_of_an_unknown_number(store: Store, update: Update) -> None:
    kept = update("sid-of-others", "sent", **{"from": "15550001111"})
    assert (kept.state, kept.orphan) == ("unrouted", "number")
    (event,) = sends.rows(store, "SELECT notes FROM events")
    assert status_update.NOT_OURS not in json.loads(event.notes)


@pytest.mark.parametrize(
    ("code", "state", "orphan"),
    [("12345", "accepted", ""), ("15162065900", "accepted", "endpoints"), ("15550001111", "unrouted", "number")],
)
def test_a_status_post_is_of_the_keyword_platforms_own_message(
    store: Store, config: Config, code: str, state: str, orphan: str
) -> None:
    body = acme.status_post(code=code)
    callback = Callback(format="legacy-status", body=body, content_type=None, remote="", now=acme.NOW)
    kept = accept.accept(callback, config, store)
    assert (kept.state, kept.orphan) == (state, orphan)
    (event,) = sends.rows(store, "SELECT notes FROM events")
    assert status_update.NOT_OURS not in json.loads(event.notes)


def test_an_update_holds_the_keys_of_the_texts_to_its_phones(config: Config) -> None:
    """The transaction that learns the message_sid of such a text holds them, too: the two never miss each other."""
    held = []
    group = {"type": "mms", "group_recipients": [sends.PHONE, "15162065516"]}
    for wire_format, body in (("carrierx", acme.update(**group)), ("legacy-status", acme.status_post())):
        callback = Callback(format=wire_format, body=body, content_type=None, remote="", now=acme.NOW)
        work = status_update.AcceptStatusUpdate(callback, *callback.read("sid-1", config), config)
        held.append([key for key in work.ordering_keys if key.startswith(status_update.ledger.ENDPOINT)])
    assert held == [[conversation_key(sends.NUMBER, phone) for phone in (sends.PHONE, "15162065516")], []]


def test_ours_without_any_status_endpoint_is_no_orphan(store: Store, config: Config, update: Update) -> None:
    sent(store, config, auth=replace(sends.AUTH, code="15162065900"))
    kept = update("sid-1", "sent", **{"from": "15162065900"})
    assert (kept.state, kept.orphan) == ("accepted", "") and sends.entry(store).status == "sent"


def test_never_backwards(store: Store, config: Config, update: Update) -> None:
    ticket = sent(store, config)
    for status, state in (("delivered", "accepted"), ("sent", "stale"), ("delivered", "duplicate")):
        assert update("sid-1", status).state == state
    assert sends.posts(store)[1:] == [(sends.PHONE, "delivered", ticket)] and sends.entry(store).status == "delivered"


def test_what_is_missing_is_asked_for(store: Store, config: Config, update: Update) -> None:
    sent(store, config)
    after = config.carrierx.missing_after
    assert sends.entry(store).fetch_at == sends.AT + 1 + after
    update("sid-1", "sent")
    assert sends.entry(store).fetch_at == sends.AT + after

    def asked() -> None:
        with store.reader() as conn:
            (entry,) = status_update.ledger.without_status(conn, sends.AT + 10**9, 5)
        store.writer.write(lambda conn: status_update.ledger.record_poll(conn, entry, sends.AT, after))

    asked()
    assert sends.entry(store).fetch_at == sends.AT + 2 * after
    for _ in range(status_update.ledger.MAX_POLLS - 1):
        asked()
    assert sends.entry(store).fetch_at is None


def test_an_answer_that_barely_names_it(store: Store, config: Config) -> None:
    ticket = sends.accept(store, config).answer.ticket
    sends.begin(store, sends.entry(store))
    one = sends.entry(store)
    store.writer.write(lambda conn: settle.sent(conn, one, b'{"message_sid": "sid-1"}', config, sends.AT))
    assert sends.entry(store).message_sid == "sid-1" and sends.posts(store) == [(sends.PHONE, "queued", ticket)]


@pytest.mark.parametrize("answer", [b"", b"<html>", b"{}", b'{"message_sid": null}', b'{"message_sid": 7}', b"[]"])
def test_an_answer_that_does_not(sqlite_store: Store, config: Config, answer: bytes) -> None:
    sends.accept(sqlite_store, config)
    one = sends.entry(sqlite_store)
    assert settle.read(answer, one) is None
    with pytest.raises(ValueError, match="names no message"):
        sqlite_store.writer.write(lambda conn: settle.sent(conn, one, answer, config, sends.AT))


def test_groups_are_not_ours(store: Store, config: Config, update: Update) -> None:
    sends.accept(store, config)
    sends.begin(store, sends.entry(store))
    kept = update("sid-of-others", "sent", type="mms", group_recipients=[sends.PHONE, "15162065516"])
    assert kept.state == "accepted" and len(sends.posts(store)) == 2


def test_a_status_post_of_the_keyword_platform_never_waits(store: Store, config: Config) -> None:
    sends.accept(store, config)
    sends.begin(store, sends.entry(store))
    when = acme.NOW + timedelta(seconds=1)
    callback = Callback(format="legacy-status", body=acme.status_post(), content_type=None, remote="", now=when)
    assert accept.accept(callback, config, store).state == "accepted"


def test_of_a_group_only_those_are_told_to_whom_it_is_news(store: Store, update: Update) -> None:
    group = [sends.PHONE, "15162065516"]
    update("sid-1", "sent", type="mms", group_recipients=group)
    kept = update("sid-1", "sent", type="mms", group_recipients=[*group, "15162065517"])
    assert kept.state == "accepted"
    assert [phone for phone, _, _ in sends.posts(store)] == [*group, "15162065517"]
