"""Whatever workers do, in whatever order: what was owed is owed, succeeded or dead, and ordering keys keep their order.

A model of the outbox in plain Python goes along with a real one, on both databases, and both are compared whole after
every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run
from sqlalchemy import text

from gateway.store import Connection, Store, replay, retention, search
from gateway.store.leases import AttemptOutcome, ClaimedDelivery, release_interrupted, release_unattempted, settle_all
from tests import examples
from tests.store_samples import LEASE, NOW, claim, ended, letter, owe, settle

ORDERING_KEYS = st.sampled_from(["crm|1", "crm|2", "crm|3"])
OWNERS = st.sampled_from(["ann", "bob"])
NEVER = NOW * 2
"""A time that does not come."""


@dataclass
class Twin:
    """A delivery, as the model has it."""

    ordering_key: str
    event: int
    queue_position: str | None = None
    due: float | None = None
    state: str = "pending"
    owner: str | None = None
    attempts_since_replay: int = 0
    replayed: bool = False
    outcomes: list[str | None] = field(default_factory=list)
    """Of its attempts, in order."""


class Machine(RuleBasedStateMachine):
    store: Store
    leases: Bundle[tuple[ClaimedDelivery, str]] = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.events = 0
        self.twins: dict[str, Twin] = {}  # in the order owed
        self.store.writer.write(_empty)

    @rule(seconds=st.sampled_from([0.5, 5.0, LEASE, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([0.5, LEASE, 3600.0]))
    def the_clock_is_set_back(self, seconds: float) -> None:
        """What is due and what is leased comes later then, and that is all."""
        self.now -= seconds

    @rule(ordering_keys=st.lists(ORDERING_KEYS, min_size=1, max_size=4))
    def owe(self, ordering_keys: list[str]) -> None:
        self.events += 1
        for delivery_id, ordering_key in zip(
            owe(self.store, *map(letter, ordering_keys), now=self.now), ordering_keys, strict=True
        ):
            self.twins[delivery_id] = Twin(ordering_key, self.events)
            self.line_up(self.twins[delivery_id], self.now)

    @rule(target=leases, owner=OWNERS, most=st.integers(0, 4), first=st.integers(0, 3))
    def claim(self, owner: str, most: int, first: int) -> Any:
        """Whose lease ran out was killed, or hung: nobody asks which."""
        tried, fresh = (
            self.ready(lambda one: one.attempts_since_replay > 0),
            self.ready(lambda one: one.attempts_since_replay == 0),
        )
        claimed = claim(self.store, slots=most, first=first, now=self.now, owner=owner)
        again, news = (
            [each for each in claimed if each.attempts_since_replay > 1],
            [each for each in claimed if each.attempts_since_replay == 1],
        )
        assert len(again) == min(len(tried), max(most - first, 0))
        assert len(news) == min(len(fresh), most - len(again))
        self.longest_due_first(again, tried)
        self.longest_due_first(news, fresh)
        for each in claimed:
            self.lease(each, owner)
        return multiple(*((each, owner) for each in claimed))

    @rule(lease=leases, outcome=st.sampled_from(["succeeded", "again", "dead"]), wait=st.sampled_from([5.0, 600.0]))
    def settle(self, lease: tuple[ClaimedDelivery, str], outcome: AttemptOutcome, wait: float) -> None:
        claimed, owner = lease
        due = self.now + wait if outcome == "again" else None
        held = self.holds(claimed, owner)
        assert settle(self.store, claimed, outcome, now=self.now, due=due, owner=owner) == held
        if held:
            self.end(self.twins[claimed.delivery_id], outcome, self.now + wait)
            self.promote(claimed.ordering_key)
        self.note(claimed, outcome)

    @rule(ends=st.lists(st.tuples(leases, st.sampled_from(["succeeded", "again", "dead"])), min_size=1, max_size=4))
    def settle_several(self, ends: list[tuple[tuple[ClaimedDelivery, str], Any]]) -> None:
        """Of one owner, as a worker does it; some late, some twice."""
        owner = ends[0][0][1]
        mine = {lease[0].attempt_id: (lease[0], outcome) for lease, outcome in ends if lease[1] == owner}
        due = self.now + 5.0
        several = [
            ended(claimed, outcome, self.now, due if outcome == "again" else None) for claimed, outcome in mine.values()
        ]
        work = partial(settle_all, owner=owner, settled=several, now=self.now)
        expected = [self.holds(claimed, owner) for claimed, _ in mine.values()]
        assert self.store.writer.write(work, ordering_keys=[one.claimed.ordering_key for one in several]) == expected
        for applied, (claimed, outcome) in zip(expected, mine.values(), strict=True):
            if applied:
                self.end(self.twins[claimed.delivery_id], outcome, due)
            self.note(claimed, outcome)
        for applied, (claimed, _) in zip(expected, mine.values(), strict=True):
            if applied:
                self.promote(claimed.ordering_key)

    @rule(lease=consumes(leases))
    def give_back(self, lease: tuple[ClaimedDelivery, str]) -> None:
        claimed, owner = lease
        held = self.holds(claimed, owner)
        work = partial(release_unattempted, owner=owner, claimed=[claimed], due=self.now)
        assert self.store.writer.write(work) == held
        if held:
            twin = self.twins[claimed.delivery_id]
            twin.due, twin.owner, twin.attempts_since_replay = self.now, None, twin.attempts_since_replay - 1
            twin.outcomes.pop()

    @rule(lease=leases)
    def let_go(self, lease: tuple[ClaimedDelivery, str]) -> None:
        claimed, owner = lease
        held = self.holds(claimed, owner)
        work = partial(release_interrupted, owner=owner, claimed=[claimed], due=self.now)
        assert self.store.writer.write(work) == held
        if held:
            twin = self.twins[claimed.delivery_id]
            twin.due, twin.owner, twin.outcomes[-1] = self.now, None, "unknown"

    @rule(state=st.sampled_from(["dead", "succeeded"]), pace=st.sampled_from([0.0, 2.0]))
    def replay(self, state: Any, pace: float) -> None:
        back = [twin for twin in self.twins.values() if twin.state == state]
        assert replay.replay_all(self.store, replay.ReplayFilter(state=state), self.now, pace) == len(back)
        for turn, twin in enumerate(back):
            twin.state, twin.attempts_since_replay, twin.replayed = "pending", 0, True
            self.line_up(twin, self.now + turn * pace)

    @rule()
    def sweep(self) -> None:
        owing = {twin.event for twin in self.twins.values() if twin.state == "pending"}
        gone = {twin.event for twin in self.twins.values()} - owing
        swept = self.store.writer.write(partial(retention.sweep, before=NEVER, seconds=60.0))
        assert (swept.events, swept.reached) == (len(gone), None)
        self.twins = {name: twin for name, twin in self.twins.items() if twin.event in owing}

    @invariant()
    def both_are_the_same(self) -> None:
        with self.store.reader() as conn:
            rows = conn.execute(text("SELECT * FROM deliveries ORDER BY id")).all()
            made = {row.delivery_id: search.load_delivery(conn, row.delivery_id) for row in rows}
        assert [
            (
                row.delivery_id,
                row.state,
                row.queue_position,
                row.due,
                row.owner,
                row.attempts_since_replay,
                row.attempts,
            )
            for row in rows
        ] == [
            (name, one.state, one.queue_position, one.due, one.owner, one.attempts_since_replay, len(one.outcomes))
            for name, one in self.twins.items()
        ]
        for name, found in made.items():
            assert found is not None
            # Without holes, none of them twice.
            assert [(attempt.number, attempt.outcome) for attempt in found.attempts] == [
                (turn + 1, outcome) for turn, outcome in enumerate(self.twins[name].outcomes)
            ]

    @invariant()
    def no_ordering_key_waits_for_nobody(self) -> None:
        for ordering_key in {twin.ordering_key for twin in self.twins.values()}:
            inside = [
                twin for twin in self.twins.values() if twin.ordering_key == ordering_key and twin.state == "pending"
            ]
            waiting = [twin.queue_position for twin in inside if twin.queue_position != "released"]
            assert waiting.count("head") == bool(waiting)
            assert waiting.count("behind") == len(waiting) - bool(waiting)
            assert all((twin.due is None) == (twin.queue_position == "behind") for twin in inside)
            assert all(twin.attempts_since_replay >= 2 for twin in inside if twin.queue_position == "released")

    @invariant()
    def what_was_owed_is_owed_succeeded_or_dead(self) -> None:
        with self.store.reader() as conn:
            states = conn.execute(
                text("SELECT state, queue_position IS NULL, due IS NULL, owner IS NULL FROM deliveries")
            ).all()
        assert len(states) == len(self.twins)
        for state, *nothing in states:
            assert (state == "pending" and not nothing[0]) or (state in ("succeeded", "dead") and all(nothing))

    def ready(self, which: Callable[[Twin], bool]) -> dict[str, float]:
        return {
            name: one.due
            for name, one in self.twins.items()
            if one.due is not None and one.due <= self.now and which(one)
        }

    def longest_due_first(self, claimed: Sequence[ClaimedDelivery], ready: dict[str, float]) -> None:
        taken = {each.delivery_id for each in claimed}
        assert taken <= ready.keys()
        left = [due for name, due in ready.items() if name not in taken]
        assert all(ready[each] <= due for each in taken for due in left)

    def end(self, twin: Twin, outcome: str, due: float) -> None:
        if outcome == "again":
            twin.due, twin.owner = due, None
            twin.queue_position = "released" if twin.attempts_since_replay >= 2 else twin.queue_position
        else:
            twin.state, twin.queue_position, twin.due, twin.owner = outcome, None, None, None

    def line_up(self, twin: Twin, due: float) -> None:
        led = any(one.ordering_key == twin.ordering_key and one.queue_position == "head" for one in self.twins.values())
        twin.queue_position, twin.due = ("behind", None) if led else ("head", due)

    def promote(self, ordering_key: str) -> None:
        inside = [twin for twin in self.twins.values() if twin.ordering_key == ordering_key]
        behind = [twin for twin in inside if twin.queue_position == "behind"]
        if behind and all(twin.queue_position != "head" for twin in inside):
            behind[0].queue_position, behind[0].due = "head", self.now

    def lease(self, claimed: ClaimedDelivery, owner: str) -> None:
        twin = self.twins[claimed.delivery_id]
        if twin.owner is not None and twin.outcomes[-1] is None:
            twin.outcomes[-1] = "unknown"
        twin.owner, twin.due, twin.attempts_since_replay = owner, self.now + LEASE, twin.attempts_since_replay + 1
        twin.outcomes.append(None)
        assert (claimed.number, claimed.attempts_since_replay) == (len(twin.outcomes), twin.attempts_since_replay)
        if claimed.number == 1:
            self.comes_in_order(claimed.delivery_id)

    def comes_in_order(self, delivery_id: str) -> None:
        """The law itself: who goes out for the first time leaves nobody older behind who has not had two tries."""
        for name, twin in self.twins.items():
            if name == delivery_id:
                return
            if twin.ordering_key == self.twins[delivery_id].ordering_key and not twin.replayed:
                assert twin.state != "pending" or twin.attempts_since_replay >= 2

    def holds(self, claimed: ClaimedDelivery, owner: str) -> bool:
        twin = self.twins.get(claimed.delivery_id)
        return twin is not None and (twin.owner, len(twin.outcomes)) == (owner, claimed.number)

    def note(self, claimed: ClaimedDelivery, outcome: str) -> None:
        """Late or not, what became of an attempt is written down; the first word that tells counts."""
        twin = self.twins.get(claimed.delivery_id)
        if twin is None or claimed.number > len(twin.outcomes):
            return
        if twin.outcomes[claimed.number - 1] in (None, "unknown"):
            twin.outcomes[claimed.number - 1] = outcome


def _empty(conn: Connection) -> None:
    for table in ("attempts", "deliveries", "events"):
        conn.execute(text(f"DELETE FROM {table}"))


def test_the_outbox_does_as_its_model(store: Store) -> None:
    machine = type("MachineOf" + store.name, (Machine,), {"store": store})
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    run(
        machine, settings=settings(max_examples=examples(12, 200), stateful_step_count=40, suppress_health_check=checks)
    )
