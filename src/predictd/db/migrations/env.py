"""Alembic's entry: runs the migrations on the connection that `Database.upgrade` opened."""

from alembic import context

from predictd.db import notice_tables, score_tables
from predictd.db.tables import Base

connection = context.config.attributes["connection"]
# Modules that nothing else here imports, so that their tables are known too.
assert notice_tables and score_tables
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
