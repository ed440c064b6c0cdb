"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only in a column of the very type INTEGER.
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def only(where: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}


def upgrade() -> None:
    events()
    deliveries()
    attempts()
    known()
    if op.get_bind().dialect.name == "postgresql":
        # A row of the outbox changes three times in its life, and what is due is looked for where those that were
        # due have been: vacuum after 2 % changed, not after 20.
        op.execute("ALTER TABLE deliveries SET (autovacuum_vacuum_scale_factor = 0.02)")


def events() -> None:
    op.create_table(
        "events",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("keyword", sa.Text(), nullable=False),
        sa.Column("message_sid", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=False),
        sa.Column("custom_ticket", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("errors", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("remote", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_custom_ticket", "events", ["custom_ticket"], **only("custom_ticket <> ''"))
    op.create_index("ix_events_keyword", "events", ["keyword", "received_at"], **only("keyword <> ''"))
    op.create_index("ix_events_message_sid", "events", ["message_sid"], **only("message_sid <> ''"))
    op.create_index("ix_events_number", "events", ["number", "received_at"])
    op.create_index("ix_events_phone", "events", ["phone"])
    op.create_index("ix_events_received_at", "events", ["received_at"])
    op.create_index("ix_events_state", "events", ["state", "received_at"], **only("state <> 'accepted'"))
    op.create_index("ix_events_ticket", "events", ["ticket"], **only("ticket <> ''"))


def deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("event_id", ID, nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("standing", sa.Text(), nullable=True),
        sa.Column("due", sa.Double(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("settled_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_deliveries_event_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deliveries_behind", "deliveries", ["endpoint", "lane", "id"], **only("standing = 'behind'"))
    op.create_index("ix_deliveries_delivery_id", "deliveries", ["delivery_id"], unique=True)
    op.create_index("ix_deliveries_due", "deliveries", ["endpoint", "due"], **only("due IS NOT NULL"))
    op.create_index("ix_deliveries_event_id", "deliveries", ["event_id"])
    op.create_index("ix_deliveries_head", "deliveries", ["lane"], unique=True, **only("standing = 'head'"))
    op.create_index(
        "ix_deliveries_settled", "deliveries", ["state", "endpoint", "settled_at"], **only("settled_at IS NOT NULL")
    )


def attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("delivery_id", ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer_headers", sa.Text(), nullable=False),
        sa.Column("answer_body", sa.LargeBinary(), nullable=False),
        sa.Column("times", sa.Text(), nullable=False),
        sa.Column("diagnosis", sa.Text(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_attempts_delivery_id")),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_attempts")),
    )
    op.create_index("ix_attempts_endpoint", "attempts", ["endpoint", "started_at"])
    op.create_index(
        "ix_attempts_failed", "attempts", ["endpoint", "started_at"], **only("outcome IN ('again', 'dead')")
    )


def known() -> None:
    op.create_table(
        "states",
        sa.Column("message_sid", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("seen", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("message_sid", "recipient", name=op.f("pk_states")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_states_updated_at", "states", ["updated_at"])
    op.create_table(
        "tickets",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("custom_ticket", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", "phone", name=op.f("pk_tickets")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tickets_sent_at", "tickets", ["sent_at"])
    op.create_table(
        "heartbeat",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_heartbeat")),
    )
