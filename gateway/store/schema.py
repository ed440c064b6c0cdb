"""The tables. Times are epoch seconds as floats; columns said to be JSON hold ASCII text.

Each index costs every callback a few microseconds and a page of the log, so its reader is named beside it. The
migrations make exactly this: a test compares them on both databases.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)
# SQLite numbers rows by itself only in a column whose type is INTEGER.
Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _table(name: str, *columns: sa.schema.SchemaItem, **options: Any) -> sa.Table:
    return sa.Table(name, metadata, *columns, **options)


def _texts(*names: str, primary_key: bool = False) -> list[sa.Column[str]]:
    """Makes columns of text that need no explanation; none of them is ever null."""
    return [sa.Column(name, sa.Text, nullable=False, primary_key=primary_key) for name in names]


def _partial(name: str, *columns: sa.Column[object], where: str, unique: bool = False) -> sa.Index:
    # PostgreSQL's condition is set where its driver is loaded: to name it here would load its dialect into every start.
    return sa.Index(name, *columns, unique=unique, sqlite_where=sa.text(where))


events = _table(
    "events",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("source", sa.Text, nullable=False),  # carrierx, legacy-callback, legacy-status, legacy-send, command
    sa.Column("state", sa.Text, nullable=False),  # accepted, duplicate, stale, unrouted, refused, waiting, orphan
    sa.Column("received_at", sa.Double, nullable=False),
    *_texts("direction", "phone", "number", "keyword", "message_sid", "status", "ticket", "custom_ticket"),
    *_texts("content_type"),
    sa.Column("body", sa.LargeBinary, nullable=False),  # as it came, credentials blanked
    sa.Column("errors", sa.Text, nullable=False),  # JSON: {field: [fault]}, what was wrong with it
    sa.Column("notes", sa.Text, nullable=False),  # JSON: [sentence], what reading it had to decide
    sa.Column("remote", sa.Text, nullable=False),  # the address that called
    sa.Column("key", sa.Text, nullable=False),  # the name of the key that let it in; calls have none
    # When its body and what was sent of it were blanked; 0: something was owed when it was time; null: they are kept.
    sa.Column("blanked_at", sa.Double),
    sqlite_autoincrement=True,  # an id is never given twice, not even after all events were deleted
)

deliveries = _table(
    "deliveries",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("delivery_id", sa.Text, nullable=False),  # UUID, the same on every attempt
    sa.Column("event_id", Id, sa.ForeignKey("events.id"), nullable=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("wire_format", sa.Text, nullable=False),  # a wire format's name
    sa.Column("ordering_key", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # pending, succeeded, dead
    sa.Column("queue_position", sa.Text),  # in its ordering key: behind, head, released; null when settled
    # The one column that claims look at: when it may be claimed next. Behind, settled: null. Head, released: the time
    # due; while leased, the end of the lease, so that a lease that ran out is claimable by itself.
    sa.Column("due", sa.Double),
    sa.Column("owner", sa.Text),  # the worker that has the lease: an attempt is in flight, until `due` at the latest
    sa.Column("attempts", sa.Integer, nullable=False),  # ever made
    sa.Column("attempts_since_replay", sa.Integer, nullable=False),  # made since it was owed or replayed
    sa.Column("content_type", sa.Text, nullable=False),  # empty: the format cannot say it, there is no body to send
    sa.Column("headers", sa.Text, nullable=False),  # JSON: [[name, value]]
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("notes", sa.Text, nullable=False),  # JSON: [sentence]
    sa.Column("last_error", sa.Text),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("settled_at", sa.Double),
    sa.Column("started_at", sa.Double),  # when the attempt in flight began; without an owner it means nothing
    sa.Column("replies", sa.Boolean),  # the endpoint's answer is texted back; null: it is not
    sqlite_autoincrement=True,
)

# Attempts that ended. An attempt in flight is in its delivery's row: owner, started_at, and its number in `attempts`.
attempts = _table(
    "attempts",
    sa.Column("delivery_id", Id, sa.ForeignKey("deliveries.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),  # the delivery's n-th
    *_texts("endpoint", "owner"),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("finished_at", sa.Double),
    sa.Column("outcome", sa.Text),  # succeeded, again, dead; unknown: it was cut off, and may have arrived
    sa.Column("sentence", sa.Text),  # why it did not succeed
    sa.Column("status", sa.Integer),
    sa.Column("answer_headers", sa.Text, nullable=False),  # JSON: [[name, value]]
    sa.Column("answer_body", sa.LargeBinary, nullable=False),  # the first 2 KB
    sa.Column("times", sa.Text, nullable=False),  # JSON: {"total": milliseconds, …}
    sa.Column("diagnosis", sa.Text, nullable=False),  # JSON: [sentence]
    sa.Column("late", sa.Boolean, nullable=False),  # it ended after its lease: recorded, not applied
    sa.PrimaryKeyConstraint("delivery_id", "number"),
)

states = _table(
    "states",
    *_texts("message_sid", "recipient", primary_key=True),
    sa.Column("status", sa.Text, nullable=False),  # the newest in the flow
    sa.Column("seen", sa.Text, nullable=False),  # JSON: every status that was recorded
    sa.Column("updated_at", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)

tickets = _table(
    "tickets",
    *_texts("number", "phone", primary_key=True),
    sa.Column("custom_ticket", sa.Text, nullable=False),  # of the last message sent
    sa.Column("sent_at", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)

# Every message that we send, one row for each recipient: its ids on either side, and what became of it.
ledger = _table(
    "ledger",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("send_id", sa.Text, nullable=False),  # UUID: its delivery's delivery_id, and its user_data at CarrierX
    sa.Column("ticket", sa.Text, nullable=False),  # UUID of the call: all its recipients have the same
    sa.Column("ticket_number", sa.BigInteger, nullable=False),  # the same ticket as a number: the call's event
    sa.Column("ticket_shown", sa.Text, nullable=False),  # the ticket as the caller was told it
    sa.Column("custom_ticket", sa.Text, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),  # legacy, command, reply, opt-out
    sa.Column("number", sa.Text, nullable=False),  # ours, as CarrierX knows it
    sa.Column("code", sa.Text, nullable=False),  # our number, as legacy systems know it
    *_texts("phone"),
    sa.Column("status_url", sa.Text, nullable=False),  # empty: the number's status endpoints
    sa.Column("state", sa.Text, nullable=False),  # owed, sending, sent, refused, undecided
    sa.Column("message_sid", sa.Text, nullable=False),  # empty until CarrierX tells it
    sa.Column("status", sa.Text, nullable=False),  # CarrierX's word, the newest in the flow; empty: none yet
    sa.Column("reason", sa.Text, nullable=False),  # why it was refused, or is undecided
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("changed_at", sa.Double, nullable=False),
    # The last moment at which a request may have reached CarrierX whose answer we do not have; null: there is none.
    sa.Column("uncertain_until", sa.Double),
    sa.Column("fetch_at", sa.Double),  # when CarrierX is asked, if no update comes before; null: it is not asked
    sa.Column("fetches", sa.Integer, nullable=False),
    sqlite_autoincrement=True,
)

opt_outs = _table(
    "opt_outs",
    *_texts("number", "phone", primary_key=True),
    sa.Column("out", sa.Boolean, nullable=False),  # false: it was, and came back
    sa.Column("word", sa.Text, nullable=False),  # STOP, START …; "import"
    sa.Column("at", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)

heartbeat = _table(
    "heartbeat",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # whose: see `gateway.store.health`
    sa.Column("at", sa.Double, nullable=False),
)

breakers = _table(
    "breakers",
    *_texts("endpoint", "owner", primary_key=True),  # the owner is the worker whose breaker it is
    sa.Column("state", sa.Text, nullable=False),  # open, half_open, ramp; closed: no row
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),  # in a row
    sa.Column("noted_at", sa.Double, nullable=False),  # written again now and then; where not, its worker is dead
    sqlite_with_rowid=False,
)

clock = _table(
    "clock",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # 1: there is one row
    sa.Column("seen", sa.Double, nullable=False),  # by the worker that wrote last
    sa.Column("handled", sa.Double, nullable=False),  # the clock was set back from then, and that is handled
)

# How far blanking came, the oldest event first.
blanking = _table(
    "blanking",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # 1: there is one row
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("event_id", Id, nullable=False),
)

# The console's logins. Who logs out, or is logged out, has no row any more.
sessions = _table(
    "sessions",
    *_texts("id", primary_key=True),  # SHA-256 of the id in the cookie
    *_texts("operator", "password_mark", "remote"),
    sa.Column("began_at", sa.Double, nullable=False),
    sa.Column("seen_at", sa.Double, nullable=False),  # to about a minute
    sqlite_with_rowid=False,
)

# Windows in which something is counted; and programs whose credentials were right: others' guesses do not hold them up.
limits = _table(
    "limits",
    *_texts("name", primary_key=True),  # what is counted, of whom
    sa.Column("until", sa.Double, nullable=False),  # the end of the window; the next count begins a new one
    sa.Column("count", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

audit = _table(
    "audit",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Double, nullable=False),
    *_texts("who", "remote", "action", "subject"),
    sa.Column("details", sa.Text, nullable=False),  # JSON: {name: value}
    sa.Column("once", sa.Text, unique=True),  # what several processes see, and one writes down
    sqlite_autoincrement=True,
)


event, delivery, attempt = events.c, deliveries.c, attempts.c

# The console's search, the newest first. Times come in order: the index on them only ever grows at its end.
sa.Index("ix_events_received_at", event.received_at)  # also retention
sa.Index("ix_events_number", event.number, event.received_at)
_partial("ix_events_keyword", event.keyword, event.received_at, where="keyword <> ''")
_partial("ix_events_state", event.state, event.received_at, where="state <> 'accepted'")
sa.Index("ix_events_phone", event.phone)
_partial("ix_events_message_sid", event.message_sid, where="message_sid <> ''")
_partial("ix_events_ticket", event.ticket, where="ticket <> ''")
_partial("ix_events_custom_ticket", event.custom_ticket, where="custom_ticket <> ''")
_partial("ix_events_unblanked", event.id, where="blanked_at = 0")  # retention

sa.Index("ix_deliveries_delivery_id", delivery.delivery_id, unique=True)  # as a receiver's log names it
sa.Index("ix_deliveries_event_id", delivery.event_id)  # one event whole; retention
# Claims: first attempts, which have places of their own, and deliveries attempted before, leased ones among them.
_partial("ix_deliveries_first", delivery.endpoint, delivery.due, where="due IS NOT NULL AND attempts_since_replay = 0")
_partial("ix_deliveries_tried", delivery.endpoint, delivery.due, where="due IS NOT NULL AND attempts_since_replay > 0")
# One head an ordering key.
_partial("ix_deliveries_head", delivery.ordering_key, where="queue_position = 'head'", unique=True)
# Promotion.
_partial(
    "ix_deliveries_behind", delivery.endpoint, delivery.ordering_key, delivery.id, where="queue_position = 'behind'"
)
# Dead letters, replays.
_partial(
    "ix_deliveries_settled", delivery.state, delivery.endpoint, delivery.settled_at, where="settled_at IS NOT NULL"
)

sa.Index("ix_attempts_endpoint", attempt.endpoint, attempt.started_at)  # the last latency; below, the last error
_partial("ix_attempts_failed", attempt.endpoint, attempt.started_at, where="outcome IN ('again', 'dead')")

sa.Index("ix_states_updated_at", states.c.updated_at)  # retention
sa.Index("ix_tickets_sent_at", tickets.c.sent_at)  # retention

entry = ledger.c
sa.Index("ix_ledger_send_id", entry.send_id, unique=True)
sa.Index("ix_ledger_ticket", entry.ticket)  # getTransactionStatus
sa.Index("ix_ledger_ticket_number", entry.ticket_number)  # getTransactionStatus by number; one event's sends
_partial("ix_ledger_custom_ticket", entry.custom_ticket, where="custom_ticket <> ''")  # getCustomTransactionStatus
_partial("ix_ledger_message_sid", entry.message_sid, where="message_sid <> ''")  # every update
_partial("ix_ledger_sending", entry.phone, entry.number, where="state = 'sending'")  # updates that are not found so
_partial("ix_ledger_state", entry.state, entry.created_at, where="state <> 'sent'")  # the search; counts
_partial("ix_ledger_fetch_at", entry.fetch_at, where="fetch_at IS NOT NULL")  # messages without an update
sa.Index("ix_ledger_created_at", entry.created_at)  # the newest first; retention
sa.Index("ix_ledger_phone", entry.phone)  # the console's search

sa.Index("ix_sessions_operator", sessions.c.operator)  # an operator's own, and the end of all of them
sa.Index("ix_limits_until", limits.c.until)  # windows that are over
sa.Index("ix_audit_at", audit.c.at)  # retention
