"""What Alembic runs: with the connection it is given, in the transaction that is under way."""

from alembic import context

from gateway.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters no tables: they are copied
    transactional_ddl=True,  # SQLite's, too, once the driver keeps its hands off transactions
    compare_type=True,
)
context.run_migrations()
