"""What runs for every callback, delivery and text finds its rows by an index, however many there are: each database
says which."""

from __future__ import annotations

import re

import pytest

from gateway.store import Connection, Store, events, leases, ledger, message_status, outbox, replay, retention
from gateway.store.statement import Statement

BY = {
    "TRIED": (leases.TRIED, "ix_deliveries_tried (endpoint=? AND due>? AND due<?)"),
    "FIRST": (leases.FIRST, "ix_deliveries_first (endpoint=? AND due>? AND due<?)"),
    "TAKE": (leases.TAKE, "deliveries USING INTEGER PRIMARY KEY"),
    "LOST": (leases.LOST, "deliveries USING INTEGER PRIMARY KEY"),
    "SETTLE": (leases.SETTLE, "deliveries USING INTEGER PRIMARY KEY"),
    "AGAIN": (leases.AGAIN, "deliveries USING INTEGER PRIMARY KEY"),
    "LATE": (leases.LATE, "(delivery_id=? AND number=?)"),
    "PROMOTE": (outbox.PROMOTE, "ix_deliveries_behind (endpoint=? AND ordering_key=?)"),
    "OWE": (outbox.OWE, "ix_deliveries_head (ordering_key=?)"),
    "AGENDA first": (outbox.DUE_ENDPOINTS[0], "ix_deliveries_first (endpoint>?)"),
    "AGENDA tried": (outbox.DUE_ENDPOINTS[1], "ix_deliveries_tried (endpoint>?)"),
    "KNOWN": (message_status.KNOWN_STATUS, "PRIMARY KEY (message_sid=? AND recipient=?)"),
    "LAST": (message_status.LAST_TICKET, "PRIMARY KEY (number=? AND phone=?)"),
    "OLD": (retention.OLD, "ix_events_received_at (received_at>? AND received_at<?)"),
    "SETTLED": (retention.SETTLED, "ix_deliveries_event_id (event_id=?)"),
    "DELETE_EVENT": (retention.DELETE_EVENT, "ix_deliveries_event_id (event_id=?)"),
    "DELETE_STATES": (retention.DELETE_STATES, "ix_states_updated_at (updated_at<?)"),
    "DELETE_TICKETS": (retention.DELETE_TICKETS, "ix_tickets_sent_at (sent_at<?)"),
    "MARKED": (retention.MARKED, "ix_events_unblanked (id>?)"),
    "BODIES": (retention.BODIES, "ix_deliveries_event_id (event_id=?)"),
    "OLD, its sends": (retention.OLD, "ix_ledger_ticket_number (ticket_number=?)"),
    "DELETE_SENDS": (retention.DELETE_SENDS, "ix_ledger_ticket_number (ticket_number=?)"),
    "BY_SEND_ID": (ledger.BY_SEND_ID, "ix_ledger_send_id (send_id=?)"),
    "BY_SID": (ledger.BY_SID, "ix_ledger_message_sid (message_sid=?)"),
    "BY_TICKET": (ledger.BY_TICKET, "ix_ledger_ticket (ticket=?)"),
    "BY_TICKET_NUMBER": (ledger.BY_TICKET_NUMBER, "ix_ledger_ticket_number (ticket_number=?)"),
    "BY_CUSTOM_TICKET": (ledger.BY_CUSTOM_TICKET, "ix_ledger_custom_ticket (custom_ticket=?)"),
    "IN_FLIGHT": (ledger.IN_FLIGHT, "ix_ledger_sending (phone=? AND number=?)"),
    "MISSING": (ledger.WITHOUT_STATUS, "ix_ledger_fetch_at (fetch_at>? AND fetch_at<?)"),
    "BEGIN": (ledger.SUBMITTING, "ix_ledger_send_id (send_id=?)"),
    "DOUBT": (ledger.UNCERTAIN, "ix_ledger_send_id (send_id=?)"),
    "PUT_BACK": (ledger.PUT_BACK, "ix_ledger_send_id (send_id=?)"),
    "SENT": (ledger.SENT, "ix_ledger_send_id (send_id=?)"),
    "ENDED": (ledger.NOT_SENT, "ix_ledger_send_id (send_id=?)"),
    "SAID": (ledger.STATUS, "ledger USING INTEGER PRIMARY KEY"),
    "FETCHED": (ledger.POLLED, "ledger USING INTEGER PRIMARY KEY"),
    "OPEN": (ledger.OPEN, "COVERING INDEX ix_ledger_state (state=?)"),
    "WAITING, how many": (ledger.WAITING_UPDATES, "COVERING INDEX ix_events_state (state=?)"),
    "TAKE a decision": (ledger.TAKE_FOR_DECISION, "ix_ledger_send_id (send_id=?)"),
    "DECIDE by hand": (ledger.DECIDE, "ix_ledger_send_id (send_id=?)"),
    "FETCH": (ledger.FETCH_NOW, "ix_ledger_send_id (send_id=?)"),
    "ARRIVED": (ledger.SUCCEED_DELIVERY, "ix_deliveries_delivery_id (delivery_id=?)"),
    "UNREFUSE": (ledger.OWE_REFUSED, "ix_ledger_send_id (send_id=?)"),
    "PUT_BACK a delivery": (replay.PUT_BACK, "deliveries USING INTEGER PRIMARY KEY"),
    "WAITING": (events.WAITING, "ix_events_phone (phone=?)"),
    "KNOWN opt-out": (message_status.OPT_OUT, "PRIMARY KEY (number=? AND phone=?)"),
    "OF_NUMBER": (message_status.OPT_OUTS_OF_NUMBER, "PRIMARY KEY (number=? AND phone>?)"),
    "OF_PHONE": (message_status.OPT_OUTS_OF_PHONE, "PRIMARY KEY (number=? AND phone=?)"),
}


class Anything(dict[str, object]):
    """A value for every name."""

    def __missing__(self, name: str) -> object:
        return 0


@pytest.mark.parametrize("name", BY)
def test_rows_are_found_by_an_index(sqlite_store: Store, name: str) -> None:
    statement, expected = BY[name]
    with sqlite_store.reader() as conn:
        explained = Statement(f"EXPLAIN QUERY PLAN {statement._compile(conn.dialect)[0]}".replace("?", ":any"))
        plan = [row[3] for row in explained.run(conn, Anything()).fetchall()]
    assert any(expected in step for step in plan), plan
    assert not [step for step in plan if step.startswith("SCAN deliveries") and "INDEX" not in step], plan
    assert not [step for step in plan if "TEMP B-TREE" in step], plan


SENDS = [name for name in BY if "ledger" in BY[name][1] or "opt_outs" in str(BY[name][0]._clause)]
BY_HAND = {ledger.TAKE_FOR_DECISION, ledger.DECIDE, ledger.OWE_REFUSED}
"""Empty as the table is, the index on the few that are undecided is as good to it as the one on the send."""
_PARAMETER = re.compile(r"%\((\w+)\)s")


@pytest.mark.parametrize("name", SENDS)
def test_postgresql_finds_what_is_sent_by_an_index_too(postgresql_store: Store, name: str) -> None:
    """It reads small tables whole, index or not. Forbidden to, it says what it would do if they were large."""
    statement, expected = BY[name]
    found = re.match(r"(?:.* )?(ix_\w+)", expected)
    index = "ix_ledger_" if statement in BY_HAND else found[1] if found else "using pk_"
    with postgresql_store.reader() as conn:
        for setting in ("enable_seqscan = off", "enable_bitmapscan = off", "plan_cache_mode = force_generic_plan"):
            conn.exec_driver_sql(f"SET LOCAL {setting}")
        plan = explained(conn, statement._compile(conn.dialect)[0])
    assert any(index in step for step in plan), plan
    assert not [step for step in plan if "Seq Scan" in step], plan


def explained(conn: Connection, sql: str) -> list[str]:
    names = list(dict.fromkeys(_PARAMETER.findall(sql)))
    numbered = _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", sql)
    conn.exec_driver_sql(f"PREPARE asked AS {numbered}")
    nothing = f"({', '.join('NULL' for _ in names)})" if names else ""
    plan = [str(row[0]) for row in conn.exec_driver_sql(f"EXPLAIN EXECUTE asked{nothing}")]
    conn.exec_driver_sql("DEALLOCATE asked")
    return plan
