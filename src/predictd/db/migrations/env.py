"""Alembic's entry: runs the migrations on the connection that `Database.upgrade` opened."""

from alembic import context

from predictd.db.audit_table import AuditEntry
from predictd.db.score_tables import Score

connection = context.config.attributes["connection"]
# The modules that together depend on all others, so that the tables of each are known.
LAST = (AuditEntry, Score)
context.configure(connection=connection, target_metadata=LAST[0].metadata, render_as_batch=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
