"""A delivery's life, on both databases."""

from __future__ import annotations

import uuid
from functools import partial

import pytest

from gateway.store import Store, leases, outbox, replay, search
from schemas.message import Body, CannotSay
from tests.store_samples import BODY, LEASE, NOW, add, claim, ended, ids, letter, owe, settle


def one(store: Store, delivery_id: str) -> search.Delivery:
    with store.reader() as conn:
        found = search.load_delivery(conn, delivery_id)
    assert found is not None
    return found


def due(store: Store) -> dict[str, float]:
    with store.reader() as conn:
        return outbox.due_endpoints(conn)


def test_what_was_owed_is_claimed_byte_for_byte(store: Store) -> None:
    [delivery_id] = owe(store, letter())
    [claimed] = claim(store)
    assert uuid.UUID(claimed.delivery_id).version == 7
    assert claimed.delivery_id == delivery_id
    assert (claimed.endpoint, claimed.wire_format, claimed.ordering_key) == ("crm", "legacy-callback", "crm|1")
    assert (claimed.content_type, claimed.headers, claimed.body) == (BODY.content_type, BODY.headers, BODY.data)
    assert (claimed.number, claimed.attempts_since_replay, claimed.created_at) == (1, 1, NOW)
    assert claimed.attempt_id == (claimed.id, 1)
    assert one(store, delivery_id).notes == BODY.notes


def test_bytes_of_any_value_and_none_at_all_survive(store: Store) -> None:
    every = Body(content_type="text/plain", data=bytes(range(256)), headers=(("X-Odd", "é\0\ud800"),))
    owe(store, letter("a", body=every), letter("b", body=Body(content_type="text/plain", data=b"")))
    first, second = claim(store)
    assert (first.body, first.headers, second.body) == (every.data, every.headers, b"")


def test_a_claimed_delivery_is_not_claimed_again_before_its_lease_ends(store: Store) -> None:
    owe(store, letter())
    assert len(claim(store)) == 1
    assert claim(store, now=NOW + LEASE - 0.1, owner="another") == []
    [again] = claim(store, now=NOW + LEASE, owner="another")
    assert again.number == 2


def test_the_attempt_is_written_before_it_is_made_and_unknown_after_a_crash(store: Store) -> None:
    [delivery_id] = owe(store, letter())
    claim(store)
    [attempt] = one(store, delivery_id).attempts
    assert (attempt.number, attempt.owner, attempt.started_at) == (1, "worker", NOW)
    assert (attempt.outcome, attempt.finished_at) == (None, None)
    claim(store, now=NOW + LEASE, owner="another")
    assert [made.outcome for made in one(store, delivery_id).attempts] == ["unknown", None]


def test_success_settles(store: Store) -> None:
    [delivery_id] = owe(store, letter())
    [claimed] = claim(store)
    assert settle(store, claimed, now=NOW + 1) is True
    found = one(store, delivery_id)
    assert (found.state, found.queue_position, found.due, found.owner) == ("succeeded", None, None, None)
    assert (found.settled_at, found.last_error, found.attempts_made) == (NOW + 1, None, 1)
    [attempt] = found.attempts
    assert (attempt.outcome, attempt.status, attempt.sentence, attempt.late) == ("succeeded", 200, None, False)
    assert (attempt.answer_headers, attempt.answer_body) == ((("Server", "Apache"),), b"ok")
    assert (attempt.times, attempt.diagnosis) == ({"total": 12.5}, ("A ColdFusion error page.",))
    assert claim(store, now=NOW + 10 * LEASE) == []


def test_a_retry_is_due_when_it_was_said(store: Store) -> None:
    [delivery_id] = owe(store, letter())
    [claimed] = claim(store)
    assert settle(store, claimed, "again", due=NOW + 5) is True
    assert one(store, delivery_id).last_error == "It answered 500."
    assert claim(store, now=NOW + 4.9) == []
    [again] = claim(store, now=NOW + 5)
    assert (again.delivery_id, again.number, again.attempts_since_replay) == (delivery_id, 2, 2)


def test_a_retry_needs_a_time_and_nothing_else_has_one(store: Store) -> None:
    owe(store, letter())
    [claimed] = claim(store)
    with pytest.raises(ValueError, match="only then"):
        settle(store, claimed, "again")
    with pytest.raises(ValueError, match="only then"):
        settle(store, claimed, "dead", due=NOW)


def test_an_ordering_key_goes_one_after_another_in_order(store: Store) -> None:
    first, second, third = (owe(store, letter("crm|1"))[0] for _ in range(3))
    for expected in (first, second, third):
        [claimed] = claim(store)
        assert claimed.delivery_id == expected
        assert claim(store, owner="another") == []
        settle(store, claimed)
    assert claim(store) == []


def test_ordering_keys_go_side_by_side(store: Store) -> None:
    made = owe(store, letter("crm|1"), letter("crm|2"), letter("crm|3"))
    assert sorted(ids(claim(store))) == sorted(made)


def test_several_of_one_event_in_one_ordering_key_keep_their_order(store: Store) -> None:
    made = owe(store, letter("crm|1"), letter("crm|2"), letter("crm|1"), letter("crm|1"))
    seen = []
    while claimed := claim(store):
        seen += ids(claimed)
        for each in claimed:
            settle(store, each)
    assert [each for each in seen if each != made[1]] == [made[0], made[2], made[3]]


def test_death_promotes_the_next_too(store: Store) -> None:
    [first] = owe(store, letter())
    [second] = owe(store, letter())
    [claimed] = claim(store)
    settle(store, claimed, "dead", now=NOW + 3)
    assert one(store, first).state == "dead"
    assert one(store, second).queue_position == "head"
    assert ids(claim(store, now=NOW + 3)) == [second]


def test_the_second_attempt_still_holds_up_its_ordering_key_the_third_no_longer(store: Store) -> None:
    [first] = owe(store, letter())
    [second] = owe(store, letter())
    [claimed] = claim(store)
    settle(store, claimed, "again", due=NOW + 5)
    assert claim(store, now=NOW + 4) == []
    [claimed] = claim(store, now=NOW + 5)
    settle(store, claimed, "again", due=NOW + 35, now=NOW + 5)
    assert one(store, first).queue_position == "released"
    assert ids(claim(store, now=NOW + 5)) == [second]
    assert ids(claim(store, now=NOW + 35)) == [first, second]  # the second's lease ran out with that


def test_a_released_one_and_its_ordering_key_do_not_meet_again(store: Store) -> None:
    owe(store, letter())
    for due in (NOW, NOW + 1):
        [claimed] = claim(store, now=due)
        settle(store, claimed, "again", due=due + 1)
    [released] = claim(store, now=NOW + 2)
    [second] = owe(store, letter(), now=NOW + 2)
    [third] = owe(store, letter(), now=NOW + 2)
    settle(store, released, now=NOW + 3)
    assert (one(store, second).queue_position, one(store, third).queue_position) == ("head", "behind")


def test_who_lost_the_lease_is_heard_and_not_obeyed(store: Store) -> None:
    [delivery_id] = owe(store, letter())
    [lost] = claim(store)
    [held] = claim(store, now=NOW + LEASE, owner="another")
    assert settle(store, lost, "dead", now=NOW + LEASE + 1) is False
    found = one(store, delivery_id)
    assert (found.state, found.owner) == ("pending", "another")
    assert [(made.outcome, made.late) for made in found.attempts] == [("dead", True), (None, False)]
    assert settle(store, held, now=NOW + LEASE + 2, owner="another") is True


def test_a_lease_lost_and_got_again_by_the_same_owner_is_another_lease(store: Store) -> None:
    [delivery_id] = owe(store, letter())
    [lost] = claim(store)
    [held] = claim(store, now=NOW + LEASE)
    assert settle(store, lost, "succeeded", now=NOW + LEASE) is False
    assert one(store, delivery_id).state == "pending"
    assert settle(store, held, now=NOW + LEASE) is True


def test_settling_twice_is_late_the_second_time(store: Store) -> None:
    """As after a commit whose answer was lost: what was written down then stays."""
    [delivery_id] = owe(store, letter())
    [claimed] = claim(store)
    assert settle(store, claimed) is True
    assert settle(store, claimed, "dead") is False
    [attempt] = one(store, delivery_id).attempts
    assert (attempt.outcome, attempt.late) == ("succeeded", False)


def test_what_was_not_begun_is_given_back_uncounted(store: Store) -> None:
    [delivery_id] = owe(store, letter())
    claimed = claim(store)
    work = partial(leases.release_unattempted, owner="worker", claimed=claimed, due=NOW + 2)
    assert store.writer.write(work) == 1
    assert store.writer.write(work) == 0
    found = one(store, delivery_id)
    assert (found.attempts, found.attempts_made, found.attempts_since_replay, found.owner) == ((), 0, 0, None)
    [again] = claim(store, now=NOW + 2)
    assert again.number == 1


def test_what_was_cut_off_is_let_go_counted_and_unknown(store: Store) -> None:
    [delivery_id] = owe(store, letter())
    claimed = claim(store)
    work = partial(leases.release_interrupted, owner="worker", claimed=claimed, due=NOW + 2)
    assert store.writer.write(work) == 1
    assert store.writer.write(work) == 0
    assert [made.outcome for made in one(store, delivery_id).attempts] == ["unknown"]
    [again] = claim(store, now=NOW + 2)
    assert again.number == 2


def test_nobody_gives_back_what_is_not_his(store: Store) -> None:
    [delivery_id] = owe(store, letter())
    lost = claim(store)
    claim(store, now=NOW + LEASE, owner="another")
    assert store.writer.write(partial(leases.release_unattempted, owner="worker", claimed=lost, due=NOW)) == 0
    assert store.writer.write(partial(leases.release_interrupted, owner="worker", claimed=lost, due=NOW)) == 0
    assert one(store, delivery_id).owner == "another"


def test_a_lease_that_was_lost_ends_and_extends_none_that_its_owner_got_again(store: Store) -> None:
    [delivery_id] = owe(store, letter())
    lost = claim(store)
    claim(store, now=NOW + LEASE)
    held = one(store, delivery_id)
    assert not store.writer.write(partial(leases.extend, owner="worker", claimed=lost[0], until=NOW + 9 * LEASE))
    assert store.writer.write(partial(leases.release_unattempted, owner="worker", claimed=lost, due=NOW)) == 0
    assert store.writer.write(partial(leases.release_interrupted, owner="worker", claimed=lost, due=NOW)) == 0
    assert one(store, delivery_id) == held


def test_slots_are_kept_and_the_longest_due_go_first(store: Store) -> None:
    made = [owe(store, letter(f"crm|{turn}"), now=NOW - turn)[0] for turn in range(5)]
    assert ids(claim(store, slots=2)) == [made[4], made[3]]
    assert claim(store, slots=0) == []
    assert claim(store, slots=-1) == []
    assert ids(claim(store, slots=9)) == [made[2], made[1], made[0]]


def test_each_endpoint_has_its_own_slots_and_lease(store: Store) -> None:
    owe(store, *(letter(f"{name}|{turn}", name) for name in ("a", "b", "c") for turn in range(3)))
    rooms = {"a": leases.ClaimLimit(2), "b": leases.ClaimLimit(1), "unheard": leases.ClaimLimit(9)}
    work = partial(leases.claim, owner="worker", limits=rooms, now=NOW, lease_seconds={"a": 10.0, "b": 20.0})
    claimed = store.writer.write(work)
    assert sorted(each.endpoint for each in claimed) == ["a", "a", "b"]
    assert due(store) == {"a": NOW, "b": NOW, "c": NOW}
    assert len(store.writer.write(work)) == 2
    assert due(store) == {"a": NOW + 10, "b": NOW, "c": NOW}


def test_first_attempts_have_places_of_their_own(store: Store) -> None:
    made = owe(store, *(letter(f"crm|{turn}") for turn in range(4)))
    for each in claim(store):
        settle(store, each, "again", due=NOW + 5)
    later = owe(store, *(letter(f"crm|{turn}") for turn in range(4, 7)), now=NOW + 6)
    claimed = ids(claim(store, slots=3, first=2, now=NOW + 6))
    assert (len(set(claimed) & set(made)), len(set(claimed) & set(later))) == (1, 2)
    claimed += ids(claim(store, slots=3, first=2, now=NOW + 6))  # one first attempt is left: one place stays free
    assert (len(set(claimed) & set(made)), len(set(claimed) & set(later))) == (2, 3)
    assert claim(store, slots=2, first=2, now=NOW + 6) == []
    assert claim(store, slots=2, first=9, now=NOW + 6) == []
    assert len(claim(store, slots=9, first=1, now=NOW + 6)) == 2


def test_places_that_what_was_tried_does_not_need_are_for_first_attempts(store: Store) -> None:
    owe(store, *(letter(f"crm|{turn}") for turn in range(4)))
    assert len(claim(store, slots=3, first=1)) == 3


def test_a_lease_that_ran_out_was_tried_before(store: Store) -> None:
    owe(store, letter())
    claim(store)
    assert claim(store, slots=2, first=2, now=NOW + LEASE, owner="another") == []
    assert len(claim(store, slots=2, first=1, now=NOW + LEASE, owner="another")) == 1


def test_the_outbox_says_for_each_endpoint_when_something_is_due(store: Store) -> None:
    assert due(store) == {}
    owe(store, letter("late|1", "late"), now=NOW + 60)
    owe(store, letter("b|1", "b"), letter("b|1", "b"), letter("b|2", "b"), now=NOW - 1)
    owe(store, letter("a|1", "a"), now=NOW)
    assert due(store) == {"a": NOW, "b": NOW - 1, "late": NOW + 60}
    [a], [b] = claim(store, "a"), claim(store, "b", slots=1)
    assert due(store) == {"a": NOW + LEASE, "b": NOW - 1, "late": NOW + 60}
    claim(store, "b")
    settle(store, a)
    settle(store, b, "again", due=NOW + 5)
    assert due(store) == {"b": NOW + 5, "late": NOW + 60}


def test_what_a_format_cannot_say_is_dead_from_the_start_and_holds_up_nobody(store: Store) -> None:
    dead, alive = owe(store, letter(body=CannotSay("No form has room for that.")), letter())
    found = one(store, dead)
    assert (found.state, found.last_error, found.content_type) == ("dead", "No form has room for that.", "")
    assert ids(claim(store)) == [alive]
    assert replay.replay_all(store, replay.ReplayFilter(), NOW, 0.0) == 0


def test_an_event_may_owe_nothing(store: Store) -> None:
    event_id = add(store)
    assert store.writer.write(partial(outbox.owe, event_id=event_id, owed=[], now=NOW)) == []


def test_an_ordering_key_of_any_length_and_of_odd_characters_is_one_ordering_key(store: Store) -> None:
    long, odd = "x" * 5000, "crm|\0\ud800é\n"
    for ordering_key in (long, odd, long + "y"):
        owe(store, letter(ordering_key), letter(ordering_key))
    claimed = claim(store)
    assert len(claimed) == 3
    for each in claimed:
        settle(store, each)
    assert len(claim(store)) == 3


def test_an_endpoint_may_be_a_long_url(store: Store) -> None:
    url = "https://example.com/" + "q" * 2028
    owe(store, letter("x" * 300, url), letter("x" * 300, url))
    [claimed] = claim(store, url)
    assert claimed.endpoint == url
    settle(store, claimed)
    assert [each.endpoint for each in claim(store, url)] == [url]


def test_several_are_settled_at_once_and_each_gets_its_answer(store: Store) -> None:
    made = [owe(store, letter(f"crm|{turn}"), letter(f"crm|{turn}"))[0] for turn in range(4)]
    first, second, third, lost = claim(store)
    settle(store, lost)
    ends = [
        ended(first, "succeeded", NOW + 1),
        ended(second, "again", NOW + 1, NOW + 6),
        ended(third, "dead", NOW + 1),
        ended(lost, "dead", NOW + 1),
    ]
    work = partial(leases.settle_all, owner="worker", settled=ends, now=NOW + 1)
    keys = [each.claimed.ordering_key for each in ends]
    assert store.writer.write(work, ordering_keys=keys) == [True, True, True, False]
    found = [one(store, each) for each in made]
    assert [each.state for each in found] == ["succeeded", "pending", "dead", "succeeded"]
    assert [each.attempts[0].outcome for each in found] == ["succeeded", "again", "dead", "succeeded"]
    assert [each.settled_at for each in found] == [NOW + 1, None, NOW + 1, NOW]
    assert [each.last_error for each in found] == [None, "It answered 500.", "It answered 500.", None]
    assert len(claim(store, now=NOW + 1)) == 3  # the next of each ordering key, but of the second


def test_nothing_at_all_may_be_settled(store: Store) -> None:
    assert store.writer.write(partial(leases.settle_all, owner="worker", settled=[], now=NOW)) == []


@pytest.mark.parametrize(
    ("now", "begins"), [(1_700_000_000.123, "018bcfe5-687b-7"), (0.0, "0" * 8 + "-0000-7"), (-5.0, "0" * 8 + "-0000-7")]
)
def test_ids_grow_with_time_and_are_never_the_same(now: float, begins: str) -> None:
    made = [outbox.new_id(now) for _ in range(2_000)]
    assert all(each.startswith(begins) and uuid.UUID(each).variant == uuid.RFC_4122 for each in made)
    assert len(set(made)) == len(made) and len(made[0]) == 36
    # Each of the 74 random bits is set in some of them, and in some it is not.
    bits = [uuid.UUID(each).int for each in made]
    varies = [any(one >> at & 1 for one in bits) and not all(one >> at & 1 for one in bits) for at in range(128)]
    assert [at for at in range(128) if varies[at]] == [*range(62), *range(64, 76)]


def test_when_the_first_delivery_of_an_endpoint_is_due(store: Store) -> None:
    def due(endpoint: str) -> float | None:
        with store.reader() as conn:
            return outbox.next_due(conn, endpoint)

    assert due("crm") is None
    owe(store, letter("crm|1"), now=NOW)
    [claimed] = claim(store)
    assert due("crm") == NOW + LEASE
    settle(store, claimed, "again", due=NOW + 5)
    assert due("crm") == NOW + 5
    owe(store, letter("crm|2"), letter("crm|2"), now=NOW + 3)
    assert due("crm") == NOW + 3 and due("other") is None
