"""What we send, who wants no more of it, and which deliveries are answered."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("replies", sa.Boolean(), nullable=True))
    op.create_table(
        "ledger",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("send_id", sa.Text(), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=False),
        sa.Column("alias", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.Column("custom_ticket", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("status_url", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("message_sid", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("doubt_at", sa.Double(), nullable=True),
        sa.Column("fetch_at", sa.Double(), nullable=True),
        sa.Column("fetches", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "opt_outs",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("out", sa.Boolean(), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", "phone", name=op.f("pk_opt_outs")),
        sqlite_with_rowid=False,
    )
    for name, columns, where, unique in INDICES:
        condition = sa.text(where) if where else None
        op.create_index(
            f"ix_ledger_{name}", "ledger", columns, unique=unique, sqlite_where=condition, postgresql_where=condition
        )


INDICES = (
    ("send_id", ["send_id"], "", True),
    ("ticket", ["ticket"], "", False),
    ("alias", ["alias"], "", False),
    ("custom_ticket", ["custom_ticket"], "custom_ticket <> ''", False),
    ("message_sid", ["message_sid"], "message_sid <> ''", False),
    ("sending", ["phone", "number"], "state = 'sending'", False),
    ("state", ["state", "created_at"], "state <> 'sent'", False),
    ("fetch_at", ["fetch_at"], "fetch_at IS NOT NULL", False),
    ("created_at", ["created_at"], "", False),
    ("phone", ["phone"], "", False),
)
