"""The stand-in for CarrierX chooses what becomes of a message by the handset's number, and by chance."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from gateway.sandbox.carrierx.faults import (
    DELIVERED,
    FAILED,
    FAULTS_AFTER,
    FAULTS_BEFORE,
    INTERNAL_ERROR,
    READ_ANSWERS,
    SCENARIOS,
    SENDING_TIMED_OUT,
    TIMED_OUT,
    UNDELIVERED,
    UPDATE_FAULTS,
    Misbehaviour,
    PlannedFaults,
    changed,
    plan_faults,
    plan_read_faults,
    scenario_for,
    scenario_table,
)
from schemas.status import WORDS, is_final, supersedes

FLOWS = (DELIVERED, UNDELIVERED, TIMED_OUT, SENDING_TIMED_OUT, INTERNAL_ERROR, FAILED)
PLAIN = scenario_for("15165559999")


def test_flows_are_the_documented_ones() -> None:
    for flow in FLOWS:
        assert set(flow) <= set(WORDS) and flow[0] == "queued" and is_final(flow[-1])
        assert all(supersedes(old, new) for old, new in pairwise(flow))
    reached = {word for flow in FLOWS for word in flow}
    assert reached == set(WORDS) - {"received"}


def test_each_ending_once() -> None:
    endings = [one.ending for one in SCENARIOS]
    assert len(set(endings)) == len(endings) and all(len(one) == 4 and one.isdigit() for one in endings)
    assert {one.flow for one in SCENARIOS} == set(FLOWS)
    assert {one.answer for one in SCENARIOS} == {"", "refused", *FAULTS_BEFORE, *FAULTS_AFTER}
    assert {one.update_fault for one in SCENARIOS} == {"", "early", *UPDATE_FAULTS}
    assert len(scenario_table().splitlines()) == len(SCENARIOS)


def test_any_other_number_is_delivered() -> None:
    assert (PLAIN.flow[-1], PLAIN.answer, PLAIN.silent) == ("delivered", "", False)


def planned(settings: Misbehaviour, number: str = "15165559999", tried: int = 0, seed: int = 1) -> PlannedFaults:
    return plan_faults(settings, scenario_for(number), tried, random.Random(seed).random)


def test_nothing_goes_wrong_by_itself() -> None:
    assert all(
        (found.answer, found.early, found.updates) == ("", 0, (frozenset(),) * 3)
        for found in (planned(Misbehaviour(), seed=seed) for seed in range(50))
    )


@pytest.mark.parametrize("name", [*FAULTS_BEFORE, *FAULTS_AFTER])
def test_each_answer_by_chance(name: str) -> None:
    always = planned(Misbehaviour(**{name: 1.0}))
    assert (always.answer, always.accepts) == (name, name not in FAULTS_BEFORE)
    some = [planned(Misbehaviour(**{name: 0.3}), seed=seed).answer for seed in range(1000)]
    assert set(some) == {"", name} and 200 < some.count(name) < 400


@pytest.mark.parametrize("name", UPDATE_FAULTS)
def test_each_manner_by_chance(name: str) -> None:
    assert planned(Misbehaviour(**{name: 1.0})).updates == (frozenset({name}),) * 3


def test_early_updates_by_chance() -> None:
    assert {planned(Misbehaviour(early=1.0), seed=seed).early for seed in range(50)} == {1, 2, 3}


def test_the_same_seed_plans_the_same() -> None:
    settings = Misbehaviour(conflict=0.2, lost_after=0.2, duplicate=0.5, early=0.3)
    assert [planned(settings, seed=seed) for seed in range(30)] == [planned(settings, seed=seed) for seed in range(30)]


def test_a_number_counts_more_than_chance() -> None:
    found = planned(Misbehaviour(lost_after=1.0), "15165550008")
    assert found.answer == "conflict"
    assert planned(Misbehaviour(lost_after=1.0), "15165550008", tried=2).accepts
    assert planned(Misbehaviour(), "15165550012", tried=7).answer == "lost_after"
    assert planned(Misbehaviour(), "15165550019").early == 3
    assert planned(Misbehaviour(), "15165550020").updates == (frozenset({"duplicate"}),) * 3


def test_reads_go_wrong_too() -> None:
    chance = random.Random(1).random
    assert plan_read_faults(Misbehaviour(), chance) == PlannedFaults()
    assert {plan_read_faults(Misbehaviour(reads=1.0), chance).answer for _ in range(200)} == set(READ_ANSWERS)


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
