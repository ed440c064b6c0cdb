"""What the stand-in of CarrierX is to do with a message: by its number, and by the dice."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from gateway.sandbox.carrierx.faults import MANNERS, READS, Fate, Misbehaviour, changed, fate, fate_of_read
from gateway.sandbox.carrierx.scenarios import AFTER, BEFORE, FLOWS, MAGIC, magic, table
from schemas.status import WORDS, is_final, supersedes

PLAIN = magic("15165559999")


def test_flows_are_the_documented_ones() -> None:
    for flow in FLOWS:
        assert set(flow) <= set(WORDS) and flow[0] == "queued" and is_final(flow[-1])
        assert all(supersedes(old, new) for old, new in pairwise(flow))
    reached = {word for flow in FLOWS for word in flow}
    assert reached == set(WORDS) - {"received"}


def test_each_ending_once() -> None:
    endings = [one.ending for one in MAGIC]
    assert len(set(endings)) == len(endings) and all(len(one) == 4 and one.isdigit() for one in endings)
    assert {one.flow for one in MAGIC} == set(FLOWS)
    assert {one.answer for one in MAGIC} == {"", "refused", *BEFORE, *AFTER}
    assert {one.manner for one in MAGIC} == {"", "early", *MANNERS}
    assert len(table().splitlines()) == len(MAGIC)


def test_any_other_number_is_delivered() -> None:
    assert (PLAIN.flow[-1], PLAIN.answer, PLAIN.silent) == ("delivered", "", False)


def fated(settings: Misbehaviour, number: str = "15165559999", tried: int = 0, seed: int = 1) -> Fate:
    return fate(settings, magic(number), tried, random.Random(seed).random)


def test_nothing_goes_wrong_by_itself() -> None:
    assert all(
        (found.answer, found.early, found.manners) == ("", 0, (frozenset(),) * 3)
        for found in (fated(Misbehaviour(), seed=seed) for seed in range(50))
    )


@pytest.mark.parametrize("name", [*BEFORE, *AFTER])
def test_each_answer_by_chance(name: str) -> None:
    always = fated(Misbehaviour(**{name: 1.0}))
    assert (always.answer, always.accepts) == (name, name not in BEFORE)
    some = [fated(Misbehaviour(**{name: 0.3}), seed=seed).answer for seed in range(1000)]
    assert set(some) == {"", name} and 200 < some.count(name) < 400


@pytest.mark.parametrize("name", MANNERS)
def test_each_manner_by_chance(name: str) -> None:
    assert fated(Misbehaviour(**{name: 1.0})).manners == (frozenset({name}),) * 3


def test_early_updates_by_chance() -> None:
    assert {fated(Misbehaviour(early=1.0), seed=seed).early for seed in range(50)} == {1, 2, 3}


def test_the_same_dice_the_same_fate() -> None:
    settings = Misbehaviour(conflict=0.2, lost_after=0.2, duplicate=0.5, early=0.3)
    assert [fated(settings, seed=seed) for seed in range(30)] == [fated(settings, seed=seed) for seed in range(30)]


def test_a_number_beats_the_dice() -> None:
    found = fated(Misbehaviour(lost_after=1.0), "15165550008")
    assert found.answer == "conflict"
    assert fated(Misbehaviour(lost_after=1.0), "15165550008", tried=2).accepts
    assert fated(Misbehaviour(), "15165550012", tried=7).answer == "lost_after"
    assert fated(Misbehaviour(), "15165550019").early == 3
    assert fated(Misbehaviour(), "15165550020").manners == (frozenset({"duplicate"}),) * 3


def test_reads_go_wrong_too() -> None:
    dice = random.Random(1).random
    assert fate_of_read(Misbehaviour(), dice) == Fate()
    assert {fate_of_read(Misbehaviour(reads=1.0), dice).answer for _ in range(200)} == set(READS)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"lost": 0.1}, "lost: is no setting"),
        ({"late": 1.5}, "late: a probability is from 0 to 1"),
        ({"late": "often"}, "late: must be a number"),
        ({"late": True}, "late: must be a number"),
        ({"conflict": 0.6, "slow": 0.6}, "together at most 1"),
        ({"late_by": -1}, "not below 0"),
    ],
)
def test_settings_that_make_no_sense(values: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        changed(Misbehaviour(), values)


def test_settings_are_changed_one_by_one() -> None:
    settings = changed(Misbehaviour(late=0.5), {"seed": 7, "early": 1})
    assert (settings.seed, settings.late, settings.early) == (7, 0.5, 1)
