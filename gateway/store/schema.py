"""The tables. Times are epoch seconds as floats; columns said to be JSON hold ASCII text.

Each index costs every callback a few microseconds and a page of the log, so its reader is named beside it. The
migrations make exactly this: a test compares them on both databases.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)
# SQLite numbers rows by itself only in a column whose type is INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")

events = Table(
    "events",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("source", Text, nullable=False),  # carrierx, legacy-callback, legacy-status; legacy-send, command
    Column("state", Text, nullable=False),  # accepted, duplicate, stale, unrouted, refused, waiting, orphan
    Column("received_at", Double, nullable=False),
    Column("direction", Text, nullable=False),
    Column("phone", Text, nullable=False),
    Column("number", Text, nullable=False),
    Column("keyword", Text, nullable=False),
    Column("message_sid", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("ticket", Text, nullable=False),
    Column("custom_ticket", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),  # as it came, credentials blanked
    Column("errors", Text, nullable=False),  # JSON: {field: [fault]}
    Column("notes", Text, nullable=False),  # JSON: [sentence]
    Column("remote", Text, nullable=False),  # the address that called
    sqlite_autoincrement=True,  # an id is never given twice, not even after all events were deleted
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("delivery_id", Text, nullable=False),  # UUID, the same on every attempt
    Column("event_id", Id, ForeignKey("events.id"), nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("wire_format", Text, nullable=False),  # a wire format's name
    Column("ordering_key", Text, nullable=False),
    Column("state", Text, nullable=False),  # pending, succeeded, dead
    Column("queue_position", Text),  # in its ordering key: behind, head, released; null when settled
    # The one column that claims look at: when it may be claimed next. Behind, settled: null. Head, released: the time
    # due; while leased, the end of the lease, so that a lease that ran out is claimable by itself.
    Column("due", Double),
    Column("owner", Text),  # the worker that has the lease
    Column("attempts", Integer, nullable=False),  # ever made
    Column("attempts_since_replay", Integer, nullable=False),  # made since it was owed or replayed
    Column("content_type", Text, nullable=False),  # empty: there is no body to send (the format cannot say it)
    Column("headers", Text, nullable=False),  # JSON: [[name, value]]
    Column("body", LargeBinary, nullable=False),
    Column("notes", Text, nullable=False),  # JSON: [sentence]
    Column("last_error", Text),
    Column("created_at", Double, nullable=False),
    Column("settled_at", Double),
    Column("started_at", Double),  # when the attempt in flight began; without an owner it means nothing
    Column("replies", Boolean),  # the endpoint's answer is texted back; null: it is not
    sqlite_autoincrement=True,
)

# Attempts that ended. An attempt in flight is in its delivery's row: owner, started_at, and its number in `attempts`.
attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", Id, ForeignKey("deliveries.id"), nullable=False),
    Column("number", Integer, nullable=False),  # the delivery's n-th
    Column("endpoint", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("outcome", Text),  # succeeded, again, dead, unknown
    Column("sentence", Text),  # why it did not succeed
    Column("status", Integer),
    Column("answer_headers", Text, nullable=False),  # JSON: [[name, value]]
    Column("answer_body", LargeBinary, nullable=False),  # the first 2 KB
    Column("times", Text, nullable=False),  # JSON: {"total": milliseconds, …}
    Column("diagnosis", Text, nullable=False),  # JSON: [sentence]
    Column("late", Boolean, nullable=False),  # it ended after its lease: recorded, not applied
    PrimaryKeyConstraint("delivery_id", "number"),
)

states = Table(
    "states",
    metadata,
    Column("message_sid", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("status", Text, nullable=False),  # the newest in the flow
    Column("final", Boolean, nullable=False),
    Column("seen", Text, nullable=False),  # JSON: every status that was recorded
    Column("updated_at", Double, nullable=False),
    PrimaryKeyConstraint("message_sid", "recipient"),
    sqlite_with_rowid=False,
)

tickets = Table(
    "tickets",
    metadata,
    Column("number", Text, nullable=False),
    Column("phone", Text, nullable=False),
    Column("custom_ticket", Text, nullable=False),  # of the last message sent
    Column("sent_at", Double, nullable=False),
    PrimaryKeyConstraint("number", "phone"),
    sqlite_with_rowid=False,
)

# Every message that we send, one row for each recipient: its ids on either side, and what became of it.
ledger = Table(
    "ledger",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("send_id", Text, nullable=False),  # UUID: its delivery's delivery_id, and its user_data at CarrierX
    Column("ticket", Text, nullable=False),  # UUID of the call: all its recipients have the same
    Column("ticket_number", BigInteger, nullable=False),  # the same ticket as a number: the call's event
    Column("ticket_shown", Text, nullable=False),  # the ticket as the caller was told it
    Column("custom_ticket", Text, nullable=False),
    Column("origin", Text, nullable=False),  # legacy, command, reply, opt-out
    Column("number", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("phone", Text, nullable=False),
    Column("status_url", Text, nullable=False),  # empty: the number's status endpoints
    Column("state", Text, nullable=False),  # owed, sending, sent, refused, undecided
    Column("message_sid", Text, nullable=False),  # empty until CarrierX tells it
    Column("status", Text, nullable=False),  # CarrierX's word, the newest in the flow; empty: none yet
    Column("reason", Text, nullable=False),  # why it was refused, or is undecided
    Column("created_at", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
    # The last moment at which a request may have reached CarrierX whose answer we do not have; null: there is none.
    Column("uncertain_until", Double),
    Column("fetch_at", Double),  # when CarrierX is asked, if no update comes before; null: it is not asked
    Column("fetches", Integer, nullable=False),
    sqlite_autoincrement=True,
)

opt_outs = Table(
    "opt_outs",
    metadata,
    Column("number", Text, nullable=False),
    Column("phone", Text, nullable=False),
    Column("out", Boolean, nullable=False),  # false: it was, and came back
    Column("word", Text, nullable=False),  # STOP, START …; "import"
    Column("at", Double, nullable=False),
    PrimaryKeyConstraint("number", "phone"),
    sqlite_with_rowid=False,
)

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # whose: see `gateway.store.health`
    Column("at", Double, nullable=False),
)

breakers = Table(
    "breakers",
    metadata,
    Column("endpoint", Text, nullable=False),
    Column("owner", Text, nullable=False),  # the worker whose breaker it is
    Column("state", Text, nullable=False),  # open, half_open, ramp; closed: no row
    Column("since", Double, nullable=False),
    Column("until", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Column("failures", Integer, nullable=False),  # in a row
    Column("noted_at", Double, nullable=False),  # written again now and then; where not, its worker is dead
    PrimaryKeyConstraint("endpoint", "owner"),
    sqlite_with_rowid=False,
)

clock = Table(
    "clock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # whose: see `gateway.store.health`
    Column("seen", Double, nullable=False),  # by the worker that wrote last
    Column("handled", Double, nullable=False),  # the clock was set back from then, and that is handled
)


def _partial(name: str, *columns: Column[object], where: str, unique: bool = False) -> Index:
    condition = text(where)
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


event, delivery, attempt = events.c, deliveries.c, attempts.c

# The console's search, the newest first. Times come in order: the index on them only ever grows at its end.
Index("ix_events_received_at", event.received_at)  # also retention
Index("ix_events_number", event.number, event.received_at)
_partial("ix_events_keyword", event.keyword, event.received_at, where="keyword <> ''")
_partial("ix_events_state", event.state, event.received_at, where="state <> 'accepted'")
Index("ix_events_phone", event.phone)
_partial("ix_events_message_sid", event.message_sid, where="message_sid <> ''")
_partial("ix_events_ticket", event.ticket, where="ticket <> ''")
_partial("ix_events_custom_ticket", event.custom_ticket, where="custom_ticket <> ''")

Index("ix_deliveries_delivery_id", delivery.delivery_id, unique=True)  # as a receiver's log names it
Index("ix_deliveries_event_id", delivery.event_id)  # one event whole; retention
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

Index("ix_attempts_endpoint", attempt.endpoint, attempt.started_at)  # the last latency
_partial("ix_attempts_failed", attempt.endpoint, attempt.started_at, where="outcome IN ('again', 'dead')")  # its error

Index("ix_states_updated_at", states.c.updated_at)  # retention
Index("ix_tickets_sent_at", tickets.c.sent_at)  # retention

entry = ledger.c
Index("ix_ledger_send_id", entry.send_id, unique=True)
Index("ix_ledger_ticket", entry.ticket)  # getTransactionStatus
Index("ix_ledger_ticket_number", entry.ticket_number)  # getTransactionStatus by number; one event's sends
_partial("ix_ledger_custom_ticket", entry.custom_ticket, where="custom_ticket <> ''")  # getCustomTransactionStatus
_partial("ix_ledger_message_sid", entry.message_sid, where="message_sid <> ''")  # every update
_partial("ix_ledger_sending", entry.phone, entry.number, where="state = 'sending'")  # every update not found so
_partial("ix_ledger_state", entry.state, entry.created_at, where="state <> 'sent'")  # the search; counts
_partial("ix_ledger_fetch_at", entry.fetch_at, where="fetch_at IS NOT NULL")  # messages without an update
Index("ix_ledger_created_at", entry.created_at)  # the newest first; retention
Index("ix_ledger_phone", entry.phone)  # the console's search
