"""runs of nodes."""

import sqlalchemy as sa
from alembic import op

from predictd.db.types import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "node_runs",
        sa.Column("trigger_id", sa.String(length=36), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("node", sa.String(length=100), nullable=False),
        sa.Column("beats", sa.Integer(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("trigger_id", "attempt", name=op.f("pk_node_runs")),
    )


def downgrade() -> None:
    op.drop_table("node_runs")
