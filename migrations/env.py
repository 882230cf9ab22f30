"""Runs the revisions on the connection that :mod:`migrations` gives."""

from alembic import context

from sinks.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
