"""Leases that a worker does not know of, on both databases."""

from __future__ import annotations

from functools import partial

from gateway.store import Store, leases
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
    assert (given.number, given.attempts_since_replay) == (1, 1)
    assert settle(store, known) and settle(store, theirs, owner="another")
    assert not claim(store, "other", now=NOW + LEASE - 1)
