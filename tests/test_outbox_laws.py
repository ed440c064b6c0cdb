"""Whatever workers do, in whatever order: what was owed is owed, succeeded or dead, and lanes keep their order.

A model of the outbox in plain Python goes along with a real one, on both databases, and both are compared whole after
every step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run
from sqlalchemy import text

from gateway.store import Connection, Store, outbox, retention
from tests.store_samples import LEASE, NOW, claim, letter, owe, settle

LANES = st.sampled_from(["crm|1", "crm|2", "crm|3"])
OWNERS = st.sampled_from(["ann", "bob"])


@dataclass
class Twin:
    """A delivery, as the model has it."""

    lane: str
    event: int
    standing: str | None = None
    due: float | None = None
    state: str = "pending"
    owner: str | None = None
    tries: int = 0
    replayed: bool = False
    outcomes: list[str | None] = field(default_factory=list)
    """Of its attempts, in order."""


class Machine(RuleBasedStateMachine):
    store: Store
    leases: Bundle[tuple[outbox.Claimed, str]] = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.events = 0
        self.twins: dict[str, Twin] = {}  # in the order owed
        self.store.writer.write(_empty)

    @rule(seconds=st.sampled_from([0.5, 5.0, LEASE, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(lanes=st.lists(LANES, min_size=1, max_size=4))
    def owe(self, lanes: list[str]) -> None:
        self.events += 1
        for delivery_id, lane in zip(owe(self.store, *map(letter, lanes), now=self.now), lanes, strict=True):
            self.twins[delivery_id] = Twin(lane, self.events)
            self.line_up(self.twins[delivery_id], self.now)

    @rule(target=leases, owner=OWNERS, slots=st.integers(1, 4))
    def claim(self, owner: str, slots: int) -> Any:
        ready = {name: one.due for name, one in self.twins.items() if one.due is not None and one.due <= self.now}
        claimed = claim(self.store, slots=slots, now=self.now, owner=owner)
        left = [due for name, due in ready.items() if name not in {each.delivery_id for each in claimed}]
        assert len(claimed) == min(slots, len(ready))
        assert all(ready[each.delivery_id] <= due for each in claimed for due in left)
        for each in claimed:
            self.lease(each, owner)
        return multiple(*((each, owner) for each in claimed))

    @rule(lease=leases, outcome=st.sampled_from(["succeeded", "dead"]))
    def settle(self, lease: tuple[outbox.Claimed, str], outcome: outbox.Outcome) -> None:
        claimed, owner = lease
        twin = self.twins.get(claimed.delivery_id)
        applied = settle(self.store, claimed, outcome, now=self.now, owner=owner)
        assert applied == self.holds(claimed, owner)
        if twin and applied:
            twin.state, twin.standing, twin.due, twin.owner = outcome, None, None, None
            self.promote(twin.lane)
        self.note(claimed, outcome)

    @rule(lease=leases, wait=st.sampled_from([5.0, 30.0, 600.0]))
    def settle_for_later(self, lease: tuple[outbox.Claimed, str], wait: float) -> None:
        claimed, owner = lease
        twin = self.twins.get(claimed.delivery_id)
        applied = settle(self.store, claimed, "again", now=self.now, due=self.now + wait, owner=owner)
        assert applied == self.holds(claimed, owner)
        if twin and applied:
            twin.due, twin.owner = self.now + wait, None
            twin.standing = "released" if twin.tries >= 2 else twin.standing
            self.promote(twin.lane)
        self.note(claimed, "again")

    @rule(lease=consumes(leases))
    def give_back(self, lease: tuple[outbox.Claimed, str]) -> None:
        claimed, owner = lease
        held = self.holds(claimed, owner)
        work = partial(outbox.give_back, owner=owner, unbegun=[claimed], due=self.now)
        assert self.store.writer.write(work) == held
        if held:
            twin = self.twins[claimed.delivery_id]
            twin.due, twin.owner, twin.tries = self.now, None, twin.tries - 1
            twin.outcomes.pop()

    @rule(lease=leases)
    def let_go(self, lease: tuple[outbox.Claimed, str]) -> None:
        claimed, owner = lease
        held = self.holds(claimed, owner)
        work = partial(outbox.let_go, owner=owner, begun=[claimed], due=self.now)
        assert self.store.writer.write(work) == held
        if held:
            twin = self.twins[claimed.delivery_id]
            twin.due, twin.owner, twin.outcomes[-1] = self.now, None, "unknown"

    @rule(state=st.sampled_from(["dead", "succeeded"]), pace=st.sampled_from([0.0, 2.0]))
    def replay(self, state: Any, pace: float) -> None:
        back = [twin for twin in self.twins.values() if twin.state == state]
        assert outbox.replay_all(self.store, outbox.Replay(state=state), self.now, pace) == len(back)
        for turn, twin in enumerate(back):
            twin.state, twin.tries, twin.replayed = "pending", 0, True
            self.line_up(twin, self.now + turn * pace)

    @rule()
    def sweep(self) -> None:
        owing = {twin.event for twin in self.twins.values() if twin.state == "pending"}
        gone = {twin.event for twin in self.twins.values()} - owing
        swept = self.store.writer.write(partial(retention.sweep, before=self.now + 1))
        assert swept.events == len(gone)
        self.twins = {name: twin for name, twin in self.twins.items() if twin.event in owing}

    @invariant()
    def both_are_the_same(self) -> None:
        with self.store.reader() as conn:
            rows = conn.execute(text("SELECT * FROM deliveries ORDER BY id")).all()
            made = conn.execute(text("SELECT delivery_id, outcome FROM attempts ORDER BY delivery_id, number")).all()
        outcomes: dict[int, list[str | None]] = {row.id: [] for row in rows}
        for row in made:
            outcomes[row.delivery_id].append(row.outcome)
        assert [
            (row.delivery_id, row.state, row.standing, row.due, row.owner, row.tries, row.attempts, outcomes[row.id])
            for row in rows
        ] == [
            (name, one.state, one.standing, one.due, one.owner, one.tries, len(one.outcomes), one.outcomes)
            for name, one in self.twins.items()
        ]

    @invariant()
    def no_lane_waits_for_nobody(self) -> None:
        for lane in {twin.lane for twin in self.twins.values()}:
            standings = [twin.standing for twin in self.twins.values() if twin.lane == lane]
            assert standings.count("head") <= 1
            assert "behind" not in standings or "head" in standings

    def line_up(self, twin: Twin, due: float) -> None:
        led = any(one.lane == twin.lane and one.standing == "head" for one in self.twins.values())
        twin.standing, twin.due = ("behind", None) if led else ("head", due)

    def promote(self, lane: str) -> None:
        inside = [twin for twin in self.twins.values() if twin.lane == lane]
        behind = [twin for twin in inside if twin.standing == "behind"]
        if behind and all(twin.standing != "head" for twin in inside):
            behind[0].standing, behind[0].due = "head", self.now

    def lease(self, claimed: outbox.Claimed, owner: str) -> None:
        twin = self.twins[claimed.delivery_id]
        if twin.owner is not None and twin.outcomes[-1] is None:
            twin.outcomes[-1] = "unknown"
        twin.owner, twin.due, twin.tries = owner, self.now + LEASE, twin.tries + 1
        twin.outcomes.append(None)
        assert (claimed.number, claimed.tries) == (len(twin.outcomes), twin.tries)
        if claimed.number == 1:
            self.comes_in_order(claimed.delivery_id)

    def comes_in_order(self, delivery_id: str) -> None:
        """The law itself: who goes out for the first time leaves nobody older behind who has not had two tries."""
        for name, twin in self.twins.items():
            if name == delivery_id:
                return
            if twin.lane == self.twins[delivery_id].lane and not twin.replayed:
                assert twin.state != "pending" or twin.tries >= 2

    def holds(self, claimed: outbox.Claimed, owner: str) -> bool:
        twin = self.twins.get(claimed.delivery_id)
        return twin is not None and (twin.owner, len(twin.outcomes)) == (owner, claimed.number)

    def note(self, claimed: outbox.Claimed, outcome: str) -> None:
        """Late or not, what became of an attempt is written down; the last word counts."""
        twin = self.twins.get(claimed.delivery_id)
        if twin is not None and claimed.number <= len(twin.outcomes):
            twin.outcomes[claimed.number - 1] = outcome


def _empty(conn: Connection) -> None:
    for table in ("attempts", "deliveries", "events"):
        conn.execute(text(f"DELETE FROM {table}"))


def test_the_outbox_does_as_its_model(store: Store) -> None:
    machine = type("MachineOf" + store.name, (Machine,), {"store": store})
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    run(
        machine, settings=settings(max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=checks)
    )
