"""records of runs, and the hashes of objects that they compare."""

import sqlalchemy as sa
from alembic import op

from predictd.db.types import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "object_hashes",
        sa.Column("key", sa.String(length=500), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_object_hashes")),
    )
    op.create_table(
        "run_records",
        sa.Column("trigger_id", sa.String(length=36), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["trigger_id"], ["triggers.id"], name=op.f("fk_run_records_trigger_id")),
        sa.PrimaryKeyConstraint("trigger_id", "attempt", name=op.f("pk_run_records")),
    )


def downgrade() -> None:
    op.drop_table("run_records")
    op.drop_table("object_hashes")
