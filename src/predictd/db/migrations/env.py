"""Alembic's entry: runs the migrations on the connection that `Database.upgrade` opened."""

from alembic import context

from predictd.db.metadata import all_tables

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=all_tables(), render_as_batch=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
