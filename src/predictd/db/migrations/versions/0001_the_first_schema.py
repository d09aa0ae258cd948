"""the first schema."""

import sqlalchemy as sa
from alembic import op

from predictd.db.types import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("username_key", sa.String(length=64), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("display_name", sa.String(length=128), nullable=True),
        sa.Column("bio", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("email_preferences", sa.JSON(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("username_key", name=op.f("uq_accounts_username_key")),
    )
    op.create_table(
        "data_versions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("is_deprecated", sa.Boolean(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_versions")),
        sa.UniqueConstraint("name", name=op.f("uq_data_versions_name")),
    )
    op.create_table(
        "rounds",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tournament", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("scheduled_at", UtcDateTime(), nullable=True),
        sa.Column("open_time", UtcDateTime(), nullable=False),
        sa.Column("close_time", UtcDateTime(), nullable=False),
        sa.Column("score_time", UtcDateTime(), nullable=False),
        sa.Column("resolve_time", UtcDateTime(), nullable=False),
        sa.Column("is_closed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rounds")),
        sa.UniqueConstraint("tournament", "number", name=op.f("uq_rounds_tournament_number")),
        sa.UniqueConstraint("tournament", "scheduled_at", name=op.f("uq_rounds_tournament_scheduled_at")),
    )
    op.create_table(
        "runtimes",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("image", sa.String(length=128), nullable=False),
        sa.Column("tag", sa.String(length=64), nullable=False),
        sa.Column("python", sa.String(length=8), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("is_deprecated", sa.Boolean(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runtimes")),
        sa.UniqueConstraint("image", "tag", name=op.f("uq_runtimes_image_tag")),
    )
    op.create_table(
        "pickles",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("model_id", sa.String(length=36), nullable=True),
        sa.Column("runtime_id", sa.String(length=36), nullable=False),
        sa.Column("data_version_id", sa.String(length=36), nullable=False),
        sa.Column("filename", sa.String(length=300), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=True),
        sa.Column("storage_key", sa.String(length=400), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=100), nullable=True),
        sa.Column("validation_status", sa.String(length=16), nullable=False),
        sa.Column("diagnostics_status", sa.String(length=16), nullable=True),
        sa.Column("takes_slot", sa.Boolean(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_pickles_account_id")),
        sa.ForeignKeyConstraint(["data_version_id"], ["data_versions.id"], name=op.f("fk_pickles_data_version_id")),
        sa.ForeignKeyConstraint(["runtime_id"], ["runtimes.id"], name=op.f("fk_pickles_runtime_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pickles")),
    )
    with op.batch_alter_table("pickles", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_pickles_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_pickles_model_id"), ["model_id"], unique=False)

    op.create_table(
        "tokens",
        sa.Column("public_id", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_tokens_account_id")),
        sa.PrimaryKeyConstraint("public_id", name=op.f("pk_tokens")),
    )
    with op.batch_alter_table("tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tokens_account_id"), ["account_id"], unique=False)

    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("filename", sa.String(length=300), nullable=False),
        sa.Column("model_id", sa.String(length=36), nullable=True),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("registered_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_uploads_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sa.UniqueConstraint("filename", name=op.f("uq_uploads_filename")),
    )
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_uploads_account_id"), ["account_id"], unique=False)

    op.create_table(
        "models",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("tournament", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("name_key", sa.String(length=20), nullable=False),
        sa.Column("bio", sa.Text(), nullable=True),
        sa.Column("link_url", sa.Text(), nullable=True),
        sa.Column("link_text", sa.Text(), nullable=True),
        sa.Column("submission_webhook", sa.Text(), nullable=True),
        sa.Column("pickle_id", sa.String(length=36), nullable=True),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("archived_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_models_account_id")),
        sa.ForeignKeyConstraint(["pickle_id"], ["pickles.id"], name=op.f("fk_models_pickle_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("tournament", "name_key", name=op.f("uq_models_tournament_name_key")),
    )
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_models_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_models_pickle_id"), ["pickle_id"], unique=False)

    op.create_table(
        "triggers",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("pickle_id", sa.String(length=36), nullable=False),
        sa.Column("round_id", sa.String(length=36), nullable=True),
        sa.Column("submission_id", sa.String(length=36), nullable=True),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failure_code", sa.String(length=32), nullable=True),
        sa.Column("not_before", UtcDateTime(), nullable=False),
        sa.Column("log_cut_bytes", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.String(length=100), nullable=True),
        sa.Column("lease_expires_at", UtcDateTime(), nullable=True),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["pickle_id"], ["pickles.id"], name=op.f("fk_triggers_pickle_id")),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_triggers_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_triggers")),
    )
    with op.batch_alter_table("triggers", schema=None) as batch_op:
        batch_op.create_index("ix_triggers_pickle_id_inserted_at", ["pickle_id", "inserted_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_triggers_round_id"), ["round_id"], unique=False)
        batch_op.create_index("ix_triggers_state_not_before", ["state", "not_before"], unique=False)

    op.create_table(
        "diagnostics",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("model_id", sa.String(length=36), nullable=True),
        sa.Column("pickle_id", sa.String(length=36), nullable=True),
        sa.Column("filename", sa.String(length=300), nullable=False),
        sa.Column("storage_key", sa.String(length=400), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_diagnostics_account_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_diagnostics_model_id")),
        sa.ForeignKeyConstraint(["pickle_id"], ["pickles.id"], name=op.f("fk_diagnostics_pickle_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_diagnostics")),
    )
    with op.batch_alter_table("diagnostics", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_diagnostics_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_diagnostics_model_id"), ["model_id"], unique=False)

    op.create_table(
        "submissions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("model_id", sa.String(length=36), nullable=False),
        sa.Column("round_id", sa.String(length=36), nullable=False),
        sa.Column("trigger_id", sa.String(length=36), nullable=True),
        sa.Column("filename", sa.String(length=300), nullable=False),
        sa.Column("storage_key", sa.String(length=400), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("selected", sa.Boolean(), nullable=False),
        sa.Column("is_queued", sa.Boolean(), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("data_datestamp", sa.Integer(), nullable=True),
        sa.Column("source", sa.String(length=100), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_submissions_account_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_submissions_model_id")),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_submissions_round_id")),
        sa.ForeignKeyConstraint(["trigger_id"], ["triggers.id"], name=op.f("fk_submissions_trigger_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submissions")),
    )
    with op.batch_alter_table("submissions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_submissions_account_id"), ["account_id"], unique=False)
        batch_op.create_index("ix_submissions_model_id_inserted_at", ["model_id", "inserted_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_submissions_round_id"), ["round_id"], unique=False)
        batch_op.create_index(
            "uq_submissions_selected",
            ["model_id", "round_id"],
            unique=True,
            sqlite_where=sa.text("selected"),
            postgresql_where=sa.text("selected"),
        )

    op.create_table(
        "trigger_logs",
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("trigger_id", sa.String(length=36), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trigger_id"], ["triggers.id"], name=op.f("fk_trigger_logs_trigger_id")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_trigger_logs")),
    )
    with op.batch_alter_table("trigger_logs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_trigger_logs_trigger_id"), ["trigger_id"], unique=False)

    op.create_table(
        "trigger_statuses",
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("trigger_id", sa.String(length=36), nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["trigger_id"], ["triggers.id"], name=op.f("fk_trigger_statuses_trigger_id")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_trigger_statuses")),
    )
    with op.batch_alter_table("trigger_statuses", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_trigger_statuses_trigger_id"), ["trigger_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("trigger_statuses", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_trigger_statuses_trigger_id"))

    op.drop_table("trigger_statuses")
    with op.batch_alter_table("trigger_logs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_trigger_logs_trigger_id"))

    op.drop_table("trigger_logs")
    with op.batch_alter_table("submissions", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_submissions_selected", sqlite_where=sa.text("selected"), postgresql_where=sa.text("selected")
        )
        batch_op.drop_index(batch_op.f("ix_submissions_round_id"))
        batch_op.drop_index("ix_submissions_model_id_inserted_at")
        batch_op.drop_index(batch_op.f("ix_submissions_account_id"))

    op.drop_table("submissions")
    with op.batch_alter_table("diagnostics", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_diagnostics_model_id"))
        batch_op.drop_index(batch_op.f("ix_diagnostics_account_id"))

    op.drop_table("diagnostics")
    with op.batch_alter_table("triggers", schema=None) as batch_op:
        batch_op.drop_index("ix_triggers_state_not_before")
        batch_op.drop_index(batch_op.f("ix_triggers_round_id"))
        batch_op.drop_index("ix_triggers_pickle_id_inserted_at")

    op.drop_table("triggers")
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_models_pickle_id"))
        batch_op.drop_index(batch_op.f("ix_models_account_id"))

    op.drop_table("models")
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_uploads_account_id"))

    op.drop_table("uploads")
    with op.batch_alter_table("tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tokens_account_id"))

    op.drop_table("tokens")
    with op.batch_alter_table("pickles", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_pickles_model_id"))
        batch_op.drop_index(batch_op.f("ix_pickles_account_id"))

    op.drop_table("pickles")
    op.drop_table("runtimes")
    op.drop_table("rounds")
    op.drop_table("data_versions")
    op.drop_table("accounts")
