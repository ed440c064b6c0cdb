"""Attempts are kept when they end, and what was never tried has an index of its own."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# What is in flight is the delivery's own row from now on: the row of the attempt comes when it ends.
TAKE_OVER = """
    UPDATE deliveries SET started_at = (SELECT a.started_at FROM attempts a
                                         WHERE a.delivery_id = deliveries.id AND a.number = deliveries.attempts)
     WHERE owner IS NOT NULL
"""
FORGET = """
    DELETE FROM attempts WHERE outcome IS NULL
       AND EXISTS (SELECT 1 FROM deliveries d
                    WHERE d.id = attempts.delivery_id AND d.attempts = attempts.number AND d.owner IS NOT NULL)
"""


def only(where: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("started_at", sa.Double(), nullable=True))
    op.execute(TAKE_OVER)
    op.execute(FORGET)
    op.drop_index("ix_deliveries_due", "deliveries")
    op.create_index("ix_deliveries_first", "deliveries", ["endpoint", "due"], **only("due IS NOT NULL AND tries = 0"))
    op.create_index("ix_deliveries_tried", "deliveries", ["endpoint", "due"], **only("due IS NOT NULL AND tries > 0"))
