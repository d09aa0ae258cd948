"""what accounts store."""

import sqlalchemy as sa
from alembic import op

from predictd.db.types import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stored_files",
        sa.Column("key", sa.String(length=500), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_stored_files_account_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_stored_files")),
    )
    op.create_index(op.f("ix_stored_files_account_id"), "stored_files", ["account_id"], unique=False)
    # Of other files no size was kept: they count once they are written again.
    op.execute(
        "INSERT INTO stored_files (key, account_id, size_bytes, inserted_at) "
        "SELECT storage_key, min(account_id), max(size_bytes), min(inserted_at) "
        "FROM pickles WHERE removed_at IS NULL GROUP BY storage_key"
    )


def downgrade() -> None:
    op.drop_table("stored_files")
