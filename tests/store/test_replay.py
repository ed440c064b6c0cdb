"""Dead letters put back, on both databases."""

from __future__ import annotations

from functools import partial

import pytest

from gateway.store import Store, ledger, replay, search
from schemas.message import CannotSay
from tests.store_samples import NOW, claim, entry_of, ids, letter, owe, owe_text, settle


def bury(store: Store, ordering_key: str, endpoint: str = "crm", now: float = NOW) -> str:
    [delivery_id] = owe(store, letter(ordering_key, endpoint), now=now)
    [claimed] = claim(store, endpoint, now=now)
    settle(store, claimed, "dead", now=now)
    return delivery_id


def queue_positions(store: Store, delivery_ids: list[str]) -> list[tuple[str | None, float | None]]:
    with store.reader() as conn:
        found = [search.load_delivery(conn, each) for each in delivery_ids]
    return [(each.queue_position, each.due) for each in found if each]


def test_the_dead_live_again_with_all_their_tries(store: Store) -> None:
    dead = bury(store, "crm|1")
    assert replay.replay_all(store, replay.ReplayFilter(), NOW + 60, 1.0) == 1
    [claimed] = claim(store, now=NOW + 60)
    assert (claimed.delivery_id, claimed.number, claimed.attempts_since_replay) == (dead, 2, 1)
    assert replay.replay_all(store, replay.ReplayFilter(), NOW + 60, 1.0) == 0


def test_they_are_paced_each_ordering_key_on_its_own(store: Store) -> None:
    dead = [bury(store, f"crm|{turn}") for turn in range(3)]
    assert replay.replay_all(store, replay.ReplayFilter(), NOW, 0.5) == 3
    assert queue_positions(store, dead) == [("head", NOW), ("head", NOW + 0.5), ("head", NOW + 1)]


def test_pacing_goes_on_over_many_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_PER_TRANSACTION", 2)
    dead = [bury(store, f"crm|{turn}") for turn in range(5)]
    assert replay.replay_all(store, replay.ReplayFilter(), NOW, 1.0) == 5
    assert queue_positions(store, dead) == [("head", NOW + turn) for turn in range(5)]


def test_within_an_ordering_key_the_order_is_the_old_one(store: Store) -> None:
    dead = [bury(store, "crm|1") for _ in range(3)]
    replay.replay_all(store, replay.ReplayFilter(), NOW, 1.0)
    assert [queue_position for queue_position, _ in queue_positions(store, dead)] == ["head", "behind", "behind"]
    for expected in dead:
        [claimed] = claim(store)
        assert claimed.delivery_id == expected
        settle(store, claimed)


@pytest.mark.parametrize("page", [1, 200])
def test_the_order_is_that_of_owing_not_of_dying(store: Store, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    """The first failed twice and was released: its ordering key went on without it, and it died after the second
    did."""
    monkeypatch.setattr(replay, "MAX_PER_TRANSACTION", page)
    [first], [second] = owe(store, letter()), owe(store, letter())
    for now in (NOW, NOW + 1):
        settle(store, claim(store, now=now)[0], "again", now=now, due=now + 1)
    released, follower = claim(store, now=NOW + 2)
    settle(store, follower, "dead", now=NOW + 2)
    settle(store, released, "dead", now=NOW + 3)
    assert replay.replay_all(store, replay.ReplayFilter(), NOW + 9, 0.0) == 2
    for expected in (first, second):
        [claimed] = claim(store, now=NOW + 9)
        assert claimed.delivery_id == expected
        settle(store, claimed)


def test_who_leads_an_ordering_key_keeps_leading_it_and_the_old_come_next(store: Store) -> None:
    dead = bury(store, "crm|1")
    [head] = owe(store, letter())
    [behind] = owe(store, letter())
    replay.replay_all(store, replay.ReplayFilter(), NOW, 1.0)
    for expected in (head, dead, behind):
        [claimed] = claim(store)
        assert claimed.delivery_id == expected
        settle(store, claimed)


def test_only_those_asked_for(store: Store) -> None:
    crm = bury(store, "crm|1", "crm", NOW)
    signup = bury(store, "signup|1", "signup", NOW + 10)
    bury(store, "crm|2", "crm", NOW + 20)
    with store.reader() as conn:
        first, second, third = replay.find(conn, replay.ReplayFilter())
        assert replay.find(conn, replay.ReplayFilter(endpoint="signup")) == [second]
        assert replay.find(conn, replay.ReplayFilter(since=NOW + 10)) == [second, third]
        assert replay.find(conn, replay.ReplayFilter(delivery_ids=[crm, signup, "no\0ne"])) == [first, second]
        assert replay.find(conn, replay.ReplayFilter(state="succeeded")) == []


def test_what_never_had_a_body_is_not_found(store: Store) -> None:
    owe(store, letter(body=CannotSay("there is no such field")))
    with store.reader() as conn:
        assert replay.find(conn, replay.ReplayFilter()) == []
    assert replay.replay_all(store, replay.ReplayFilter(), NOW, 0.0) == 0


def test_what_succeeded_can_be_sent_once_more(store: Store) -> None:
    [delivery_id] = owe(store, letter())
    settle(store, claim(store)[0])
    assert replay.replay_all(store, replay.ReplayFilter(), NOW, 0.0) == 0
    assert replay.replay_all(store, replay.ReplayFilter(state="succeeded", delivery_ids=[delivery_id]), NOW, 0.0) == 1
    assert ids(claim(store)) == [delivery_id]


def test_those_of_a_page_go_back_in_order_however_they_were_read(store: Store) -> None:
    dead = [bury(store, "crm|1") for _ in range(2)]
    with store.reader() as conn:
        found = sorted(replay.load_candidates(conn, replay.find(conn, replay.ReplayFilter())), key=lambda one: -one.id)
    store.writer.write(
        partial(replay.replay, candidates=found, state="dead", now=NOW, interval_seconds=1.0), ordering_keys=["crm|1"]
    )
    assert queue_positions(store, dead) == [("head", NOW), ("behind", None)]


def test_what_somebody_else_put_back_meanwhile_is_left_alone(store: Store) -> None:
    dead = bury(store, "crm|1")
    with store.reader() as conn:
        found = replay.load_candidates(conn, replay.find(conn, replay.ReplayFilter()))
    replay.replay_all(store, replay.ReplayFilter(), NOW, 0.0)
    [claimed] = claim(store)
    work = partial(replay.replay, candidates=found, state="dead", now=NOW, interval_seconds=0.0)
    assert store.writer.write(work, ordering_keys=["crm|1"]) == 0
    assert (claimed.delivery_id, settle(store, claimed)) == (dead, True)


# Texts to phones


def text(store: Store, state: str, phone: str) -> str:
    """A text that came to its end so, as the Sender leaves it; its send_id."""
    send_id = owe_text(store, phone=phone)
    for claimed in claim(store, ledger.ENDPOINT):
        settle(store, claimed, "succeeded" if state == "sent" else "dead")
    if state == "sent":
        store.writer.write(
            partial(ledger.mark_sent, send_id=send_id, message_sid=f"sid-{phone}", now=NOW, fetch_at=NOW)
        )
    else:
        work = ledger.mark_refused if state == "refused" else ledger.mark_undecided
        store.writer.write(partial(work, send_id=send_id, reason="why", now=NOW))
    return send_id


def test_a_replay_never_sends_a_text_that_may_have_been_sent(store: Store) -> None:
    sent, refused, undecided = (text(store, state, state) for state in ("sent", "refused", "undecided"))
    every = [sent, refused, undecided]
    assert replay.replay_all(store, replay.ReplayFilter(state="succeeded"), NOW, 0.0) == 0
    assert replay.replay_all(store, replay.ReplayFilter(state="succeeded", delivery_ids=every), NOW, 0.0) == 0
    assert replay.replay_all(store, replay.ReplayFilter(delivery_ids=[sent, undecided]), NOW, 0.0) == 0
    assert replay.replay_all(store, replay.ReplayFilter(endpoint=ledger.ENDPOINT), NOW, 0.0) == 1
    assert ids(claim(store, ledger.ENDPOINT)) == [refused]
    found = entry_of(store, refused)
    assert (found.state, found.status, found.reason) == ("owed", "", "")
    assert entry_of(store, undecided).state == "undecided"


def test_a_text_that_was_dead_and_is_known_to_be_sent_by_now_is_left_alone(store: Store) -> None:
    undecided = text(store, "undecided", "1")
    store.writer.write(partial(ledger.mark_sent, send_id=undecided, message_sid="sid", now=NOW, fetch_at=NOW))
    assert replay.replay_all(store, replay.ReplayFilter(), NOW, 0.0) == 0


def test_a_refused_text_is_put_back_for_whoever_asks_for_it(store: Store) -> None:
    refused = text(store, "refused", "1")
    assert replay.replay_all(store, replay.ReplayFilter(), NOW, 0.0) == 0
    assert replay.replay_all(store, replay.ReplayFilter(delivery_ids=[refused]), NOW, 0.0) == 1


def test_a_text_that_was_sent_meanwhile_does_not_hold_up_the_others(store: Store) -> None:
    first, second = text(store, "refused", "1"), text(store, "refused", "2")
    with store.reader() as conn:
        found = replay.load_candidates(conn, replay.find(conn, OF_CARRIERX))
    store.writer.write(partial(ledger.mark_sent, send_id=first, message_sid="sid", now=NOW, fetch_at=NOW))
    work = partial(replay.replay, candidates=found, state="dead", now=NOW, interval_seconds=0.0)
    assert store.writer.write(work, ordering_keys=[one.ordering_key for one in found]) == 1
    assert ids(claim(store, ledger.ENDPOINT)) == [second]


def test_a_person_puts_one_text_back(store: Store) -> None:
    undecided = text(store, "undecided", "1")
    with store.reader() as conn:
        delivery = search.load_delivery(conn, undecided)
        assert delivery is not None
        [row_id] = conn.exec_driver_sql("SELECT id FROM deliveries").scalars()
    work = partial(replay.put_back, id_=row_id, ordering_key="1", now=NOW + 9)
    assert store.writer.write(work, ordering_keys=["1"]) is True
    assert store.writer.write(work, ordering_keys=["1"]) is False, "it is not dead any more"
    assert not claim(store, ledger.ENDPOINT, now=NOW + 8)
    assert ids(claim(store, ledger.ENDPOINT, now=NOW + 9)) == [undecided]


OF_CARRIERX = replay.ReplayFilter(endpoint=ledger.ENDPOINT)


def test_a_refused_text_that_is_replayed_by_two_goes_once(store: Store) -> None:
    refused = text(store, "refused", "1")
    assert replay.replay_all(store, replay.ReplayFilter(), NOW, 0.0) == 0, (
        "whoever replays what is dead does not mean texts"
    )
    with store.reader() as conn:
        found = replay.load_candidates(conn, replay.find(conn, OF_CARRIERX))
    assert replay.replay_all(store, OF_CARRIERX, NOW, 0.0) == 1
    [claimed] = claim(store, ledger.ENDPOINT)
    settle(store, claimed)
    store.writer.write(partial(ledger.mark_sent, send_id=refused, message_sid="sid", now=NOW, fetch_at=NOW))
    work = partial(replay.replay, candidates=found, state="dead", now=NOW, interval_seconds=0.0)
    assert store.writer.write(work, ordering_keys=[found[0].ordering_key]) == 0
    assert entry_of(store, refused).state == "sent"
