"""Run by Alembic, with the connection that it is given, in the transaction that is under way."""

from alembic import context

from gateway.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter a table: it is copied
    transactional_ddl=True,  # on SQLite too, where the driver begins no transactions of its own
    compare_type=True,
)
context.run_migrations()
