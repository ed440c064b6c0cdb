"""Leases that a worker does not know of, on both databases."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from gateway.store import Store, leases, search
from tests.store_samples import LEASE, NOW, claim, letter, owe, settle


def test_only_those_are_given_back_that_nobody_knows(store: Store) -> None:
    owe(store, *[letter(f"crm|{nth}") for nth in range(4)], letter("other|1", "other"))
    known, again, *_ = claim(store, slots=3)
    claim(store, "other")
    (theirs,) = claim(store, slots=1, owner="another")
    settle(store, again, "again", due=NOW + 5)
    work = partial(leases.reclaim_uncertain, owner="worker", endpoints=["crm"], known={known.id}, now=NOW + 1)
    assert store.writer.write(work) == 1 and store.writer.write(work) == 0
    (given,) = claim(store, now=NOW + 1)
    assert given.id not in (known.id, again.id) and (given.number, given.attempts_since_replay) == (1, 1)
    assert settle(store, known) and settle(store, theirs, owner="another")
    assert not claim(store, "other", now=NOW + LEASE - 1)


def test_leases_at_several_endpoints_are_given_back_together(store: Store) -> None:
    owe(store, *[letter(f"{name}|{nth}", name) for name in ("crm", "other") for nth in range(2)])
    for name in ("crm", "other"):
        claim(store, name)
    work = partial(leases.reclaim_uncertain, owner="worker", endpoints=["crm", "other"], known=(), now=NOW + 1)
    assert store.writer.write(work) == 4


def test_a_lease_is_extended_by_its_owner_alone(store: Store) -> None:
    owe(store, letter())
    (mine,) = claim(store)
    for owner, extended in (("another", False), ("worker", True)):
        work = partial(leases.extend, owner=owner, claimed=mine, until=NOW + 10 * LEASE)
        assert store.writer.write(work) is extended
    assert not claim(store, now=NOW + 10 * LEASE - 1) and claim(store, now=NOW + 10 * LEASE)


def test_attempts_that_were_cut_off_are_unknown_and_due_again(store: Store) -> None:
    made = owe(store, letter("crm|1"), letter("crm|2"), letter("crm|3"))
    one, two, lost = claim(store)
    settle(store, lost, "dead")
    work = partial(leases.release_interrupted, owner="worker", claimed=[one, two, lost], due=NOW + 5)
    assert store.writer.write(work) == 2
    with store.reader() as conn:
        found = [search.load_delivery(conn, delivery_id) for delivery_id in made]
    attempts = [delivery.attempts[0] for delivery in found if delivery is not None]
    assert [(each.outcome, each.late, each.answer_body) for each in attempts] == [
        ("unknown", False, b""),
        ("unknown", False, b""),
        ("dead", False, b"ok"),
    ]
    assert not claim(store, now=NOW + 4)
    assert [each.number for each in claim(store, now=NOW + 5)] == [2, 2]


def test_whose_answer_is_texted_back_is_known_to_the_worker(store: Store) -> None:
    owe(store, replace(letter("crm|1"), replies=True), letter("crm|2"))
    assert [each.replies for each in claim(store)] == [True, False]
