"""A person decides about texts of which nobody can tell whether they were sent, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.sender import settle as settling
from gateway.sender.settle import AlreadyDecided
from gateway.store import Store, ledger, search
from tests import acme
from tests.store_samples import NOW, claim, count, entry_of, ids, owe_text, send, settle

SID = "5f4c0b36-0a2c-4b39-8f0e-9e8f6b1c1f11"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return acme.config(tmp_path)


def undecided(store: Store, **fields: object) -> str:
    """As the Sender leaves it: its answer was lost, and CarrierX's listing did not tell."""
    send_id = owe_text(store, **fields)  # type: ignore[arg-type]
    [claimed] = claim(store, ledger.ENDPOINT)
    store.writer.write(partial(ledger.mark_submitting, send_id=send_id, now=NOW, uncertain_until=NOW + 15))
    settle(store, claimed, "dead")
    store.writer.write(partial(ledger.mark_undecided, send_id=send_id, reason="The answer was lost.", now=NOW))
    return send_id


def delivery_of(store: Store, send_id: str) -> search.Delivery:
    with store.reader() as conn:
        delivery = search.load_delivery(conn, send_id)
    assert delivery is not None
    return delivery


def posts(store: Store, send_id: str) -> list[tuple[str, str]]:
    """Endpoint and state of what is owed about it."""
    with store.reader() as conn:
        whole = search.load_event(conn, entry_of(store, send_id).ticket_number)
    assert whole is not None
    return sorted((one.endpoint, one.state) for one in whole.deliveries if one.delivery_id != send_id)


def test_it_is_sent_again_by_the_same_delivery(store: Store) -> None:
    send_id = undecided(store)
    assert settling.decide_send_again(store, send_id, NOW + 100) == {ledger.ENDPOINT}
    entry = entry_of(store, send_id)
    assert (entry.state, entry.uncertain_until, entry.reason, entry.changed_at) == ("owed", None, "", NOW + 100)
    assert ids(claim(store, ledger.ENDPOINT, now=NOW + 100)) == [send_id]


def test_it_is_given_up_and_that_is_told_once(store: Store, config: Config) -> None:
    send_id = undecided(store)
    assert settling.decide_given_up(store, send_id, config, NOW + 100) == {"page", "app"}
    entry = entry_of(store, send_id)
    assert (entry.state, entry.status, entry.reason) == ("refused", "failed", settling.GIVEN_UP)
    assert delivery_of(store, send_id).state == "dead"
    assert posts(store, send_id) == [("app", "pending"), ("page", "pending")]


def test_it_was_sent_under_a_name_and_what_became_of_it_is_asked_next(store: Store, config: Config) -> None:
    send_id = undecided(store)
    assert settling.decide_sent(store, send_id, f" {SID} ", config, NOW + 100) == {"page", "app"}
    entry = entry_of(store, send_id)
    assert (entry.state, entry.message_sid, entry.status, entry.fetch_at) == ("sent", SID, "queued", NOW + 100)
    assert (delivery_of(store, send_id).state, delivery_of(store, send_id).last_error) == ("succeeded", None)
    assert posts(store, send_id) == [("app", "pending"), ("page", "pending")]


def test_it_was_sent_under_a_name_that_nobody_knows(store: Store, config: Config) -> None:
    send_id = undecided(store)
    assert settling.decide_sent(store, send_id, "", config, NOW + 100) == frozenset()
    entry = entry_of(store, send_id)
    assert (entry.state, entry.message_sid, entry.fetch_at, entry.reason) == ("sent", "", None, settling.BY_HAND)
    assert delivery_of(store, send_id).state == "succeeded"
    assert posts(store, send_id) == []


def test_of_two_decisions_the_first_counts(store: Store, config: Config) -> None:
    send_id = undecided(store)
    settling.decide_send_again(store, send_id, NOW + 100)
    before = entry_of(store, send_id)
    for decide in (
        partial(settling.decide_send_again, store, send_id, NOW + 101),
        partial(settling.decide_given_up, store, send_id, config, NOW + 101),
        partial(settling.decide_sent, store, send_id, "", config, NOW + 101),
        partial(settling.decide_sent, store, send_id, SID, config, NOW + 101),
    ):
        with pytest.raises(AlreadyDecided, match="it is owed"):
            decide()
    assert entry_of(store, send_id) == before
    assert len(claim(store, ledger.ENDPOINT, now=NOW + 101)) == 1


def test_of_many_who_decide_at_once_one_does(store: Store, another: Callable[[], Store], config: Config) -> None:
    """On several machines: the text goes out once, or not at all."""
    for turn in range(5):
        send_id = undecided(store, phone=f"1555000000{turn}")
        colleagues = [store, another()]
        decisions = [partial(settling.decide_send_again, each, send_id, NOW + 100) for each in colleagues]
        decisions += [partial(settling.decide_sent, each, send_id, f"{SID}-{turn}", config, NOW) for each in colleagues]
        with ThreadPoolExecutor(len(decisions)) as pool:
            done = [future for future in [pool.submit(each) for each in decisions] if future.exception() is None]
        assert len(done) == 1
        was_owed = entry_of(store, send_id).state == "owed"
        assert [one.delivery_id for one in claim(store, ledger.ENDPOINT, now=NOW + 100)] == [send_id] * was_owed


def test_an_update_that_told_after_all_was_quicker(store: Store, config: Config) -> None:
    send_id = undecided(store)
    store.writer.write(partial(ledger.mark_sent, send_id=send_id, message_sid=SID, now=NOW, fetch_at=NOW))
    with pytest.raises(AlreadyDecided, match="it is sent"):
        settling.decide_send_again(store, send_id, NOW + 101)
    assert claim(store, ledger.ENDPOINT, now=NOW + 101) == []


def test_no_two_texts_have_one_name(store: Store, config: Config) -> None:
    other = send(store, phone="15550000009")
    store.writer.write(partial(ledger.mark_sent, send_id=other, message_sid=SID, now=NOW, fetch_at=NOW))
    send_id = undecided(store)
    with pytest.raises(AlreadyDecided, match=other):
        settling.decide_sent(store, send_id, SID, config, NOW)
    assert entry_of(store, send_id).state == "undecided"


def test_what_is_not_there_cannot_be_decided(store: Store, config: Config) -> None:
    with pytest.raises(AlreadyDecided, match="no such send"):
        settling.decide_send_again(store, "nothing", NOW)


def test_without_its_delivery_it_cannot_be_sent_again(store: Store) -> None:
    send_id = send(store, state="undecided")
    with pytest.raises(AlreadyDecided, match="nothing to send"):
        settling.decide_send_again(store, send_id, NOW)
    assert entry_of(store, send_id).state == "undecided"
    assert count(store, "deliveries") == 0
