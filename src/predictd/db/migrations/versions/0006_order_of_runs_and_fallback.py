"""the order of runs, and fallback."""

import sqlalchemy as sa
from alembic import op

from predictd.db.types import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ACCOUNTS = """UPDATE triggers SET account_id = COALESCE(
    (SELECT account_id FROM pickles WHERE pickles.id = triggers.pickle_id),
    (SELECT account_id FROM diagnostics WHERE diagnostics.id = triggers.diagnostics_id))"""
FORECASTS = """UPDATE pickles SET forecast_seconds = (SELECT used_seconds FROM triggers
    WHERE triggers.pickle_id = pickles.id AND used_seconds IS NOT NULL AND type != 'diagnostics'
    ORDER BY inserted_at DESC LIMIT 1)"""
# Validations had the priority of rounds.
PRIORITIES = "UPDATE triggers SET priority = 10 WHERE type = 'validation' AND state = 'pending'"


def upgrade() -> None:
    # Added without rebuilding the tables, on SQLite too: the triggers may be many.
    op.add_column("models", sa.Column("fallback", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    op.add_column("pickles", sa.Column("forecast_seconds", sa.Double(), nullable=True))
    op.add_column("triggers", sa.Column("account_id", sa.String(length=36), nullable=True))
    op.add_column("triggers", sa.Column("fallback_for", sa.String(length=36), nullable=True))
    op.add_column("triggers", sa.Column("rank", sa.Integer(), server_default="0", nullable=False))
    op.add_column("triggers", sa.Column("forecast_seconds", sa.Double(), nullable=True))
    op.add_column("triggers", sa.Column("place", sa.Integer(), server_default="0", nullable=False))
    op.add_column("triggers", sa.Column("start_by", UtcDateTime(), nullable=True))
    for change in (ACCOUNTS, FORECASTS, PRIORITIES):
        op.execute(change)
    op.drop_index("ix_triggers_state_priority_not_before", "triggers")
    op.drop_index("ix_triggers_round_id", "triggers")
    op.create_index("ix_triggers_queue", "triggers", ["state", "priority", "rank", "inserted_at", "place"])
    op.create_index("ix_triggers_round_id_account_id", "triggers", ["round_id", "account_id"])
    op.create_index("ix_triggers_account_id_state", "triggers", ["account_id", "state"])


def downgrade() -> None:
    op.drop_index("ix_triggers_account_id_state", "triggers")
    op.drop_index("ix_triggers_round_id_account_id", "triggers")
    op.drop_index("ix_triggers_queue", "triggers")
    op.create_index("ix_triggers_round_id", "triggers", ["round_id"])
    op.create_index("ix_triggers_state_priority_not_before", "triggers", ["state", "priority", "not_before"])
    for column in ("start_by", "place", "forecast_seconds", "rank", "fallback_for", "account_id"):
        op.drop_column("triggers", column)
    op.drop_column("pickles", "forecast_seconds")
    op.drop_column("models", "fallback")
