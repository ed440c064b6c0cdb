"""What runs for every callback and delivery finds its rows by an index, however many there are: SQLite says which."""

from __future__ import annotations

import pytest

from gateway.store import Store, lanes, leases, outbox, retention, settling, states, tickets
from gateway.store.statement import Statement

BY = {
    "TRIED": (leases.TRIED, "ix_deliveries_tried (endpoint=? AND due>? AND due<?)"),
    "FIRST": (leases.FIRST, "ix_deliveries_first (endpoint=? AND due>? AND due<?)"),
    "TAKE": (leases.TAKE, "deliveries USING INTEGER PRIMARY KEY"),
    "LOST": (leases.LOST, "deliveries USING INTEGER PRIMARY KEY"),
    "SETTLE": (settling.SETTLE, "deliveries USING INTEGER PRIMARY KEY"),
    "AGAIN": (settling.AGAIN, "deliveries USING INTEGER PRIMARY KEY"),
    "LATE": (settling.LATE, "(delivery_id=? AND number=?)"),
    "PROMOTE": (lanes.PROMOTE, "ix_deliveries_behind (endpoint=? AND lane=?)"),
    "OWE": (outbox.OWE, "ix_deliveries_head (lane=?)"),
    "AGENDA first": (outbox.AGENDA[0], "ix_deliveries_first (endpoint>?)"),
    "AGENDA tried": (outbox.AGENDA[1], "ix_deliveries_tried (endpoint>?)"),
    "KNOWN": (states.KNOWN, "PRIMARY KEY (message_sid=? AND recipient=?)"),
    "LAST": (tickets.LAST, "PRIMARY KEY (number=? AND phone=?)"),
    "OLD": (retention.OLD, "ix_events_received_at (received_at>? AND received_at<?)"),
    "SETTLED": (retention.SETTLED, "ix_deliveries_event_id (event_id=?)"),
    "FORGET_EVENT": (retention.FORGET_EVENT, "ix_deliveries_event_id (event_id=?)"),
    "FORGET_STATES": (retention.FORGET_STATES, "ix_states_updated_at (updated_at<?)"),
    "FORGET_TICKETS": (retention.FORGET_TICKETS, "ix_tickets_sent_at (sent_at<?)"),
}


class Anything(dict[str, object]):
    """A value for every name."""

    def __missing__(self, name: str) -> object:
        return 0


@pytest.mark.parametrize("name", BY)
def test_rows_are_found_by_an_index(sqlite_store: Store, name: str) -> None:
    statement, expected = BY[name]
    with sqlite_store.reader() as conn:
        explained = Statement(f"EXPLAIN QUERY PLAN {statement._spell(conn.dialect)[0]}".replace("?", ":any"))
        plan = [row[3] for row in explained.run(conn, Anything()).fetchall()]
    assert any(expected in step for step in plan), plan
    assert not [step for step in plan if step.startswith("SCAN deliveries") and "INDEX" not in step], plan
    assert not [step for step in plan if "TEMP B-TREE" in step], plan
