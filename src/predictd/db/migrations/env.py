"""Alembic's entry: runs the migrations on the connection that `Database.upgrade` opened."""

from alembic import context

from predictd.db import notice_tables, score_tables
from predictd.db.tables import Base

connection = context.config.attributes["connection"]
# Imported so that their tables are known.
MODULES = (notice_tables, score_tables)
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
