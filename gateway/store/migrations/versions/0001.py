"""The first tables, as `gateway.store.schema` declares them.

Nothing is released yet: a change of the schema changes this revision. The first revision after a release writes the
tables of that day out here.
"""

from alembic import op

from gateway.store.schema import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind(), checkfirst=False)
