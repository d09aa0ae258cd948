"""The schema of the first release."""

import sqlalchemy as sa
from alembic import op

from predictd.db.types import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "accounts",
    "data_versions",
    "node_runs",
    "object_hashes",
    "rounds",
    "runtimes",
    "secrets",
    "sign_in_attempts",
    "audit_log",
    "notifications",
    "password_links",
    "pickles",
    "sessions",
    "stored_files",
    "tokens",
    "uploads",
    "webhook_endpoints",
    "deliveries",
    "models",
    "runs",
    "diagnostics",
    "reputations",
    "run_logs",
    "run_records",
    "run_statuses",
    "submissions",
    "scores",
)


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("username_key", sa.String(length=64), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("email_confirmed_at", UtcDateTime(), nullable=True),
        sa.Column("link_signing_key", sa.String(length=64), nullable=True),
        sa.Column("display_name", sa.String(length=128), nullable=True),
        sa.Column("bio", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("email_preferences", sa.JSON(), nullable=False),
        sa.Column("password_hash", sa.String(length=200), nullable=True),
        sa.Column("is_admin", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("suspended_at", UtcDateTime(), nullable=True),
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
        "node_runs",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("node", sa.String(length=100), nullable=False),
        sa.Column("heartbeats", sa.Integer(), nullable=False),
        sa.Column("log_batch", sa.Integer(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "attempt", name=op.f("pk_node_runs")),
    )
    op.create_table(
        "object_hashes",
        sa.Column("key", sa.String(length=500), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_object_hashes")),
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
        sa.Column("score_days", sa.Integer(), server_default="0", nullable=False),
        sa.Column("scored_at", UtcDateTime(), nullable=True),
        sa.Column("resolved_at", UtcDateTime(), nullable=True),
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
        "secrets",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=128), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_secrets")),
    )
    op.create_table(
        "sign_in_attempts",
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_sign_in_attempts")),
    )
    with op.batch_alter_table("sign_in_attempts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sign_in_attempts_at"), ["at"], unique=False)
        batch_op.create_index("ix_sign_in_attempts_subject_at", ["subject", "at"], unique=False)

    op.create_table(
        "audit_log",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("interface", sa.String(length=16), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=True),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("object_kind", sa.String(length=24), nullable=False),
        sa.Column("object_id", sa.String(length=64), nullable=False),
        sa.Column("object_name", sa.String(length=300), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_audit_log_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    with op.batch_alter_table("audit_log", schema=None) as batch_op:
        batch_op.create_index("ix_audit_log_account_id_id", ["account_id", "id"], unique=False)
        batch_op.create_index("ix_audit_log_action_id", ["action", "id"], unique=False)
        batch_op.create_index("ix_audit_log_object_id_id", ["object_id", "id"], unique=False)

    op.create_table(
        "notifications",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("event", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=True),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("round_id", sa.String(length=36), nullable=True),
        sa.Column("facts", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("fanned_out_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_notifications_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
    )
    with op.batch_alter_table("notifications", schema=None) as batch_op:
        batch_op.create_index(
            "ix_notifications_fanned_out_at_inserted_at", ["fanned_out_at", "inserted_at"], unique=False
        )

    op.create_table(
        "password_links",
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_password_links_account_id")),
        sa.PrimaryKeyConstraint("secret_hash", name=op.f("pk_password_links")),
    )
    with op.batch_alter_table("password_links", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_password_links_account_id"), ["account_id"], unique=False)

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
        sa.Column("assign_when_validated", sa.Boolean(), nullable=False),
        sa.Column("tables_key", sa.String(length=400), nullable=True),
        sa.Column("imports", sa.String(length=200), server_default="", nullable=False),
        sa.Column("forecast_seconds", sa.Double(), nullable=True),
        sa.Column("removed_at", UtcDateTime(), nullable=True),
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
        "sessions",
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_sessions_account_id")),
        sa.PrimaryKeyConstraint("secret_hash", name=op.f("pk_sessions")),
    )
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sessions_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_sessions_expires_at"), ["expires_at"], unique=False)

    op.create_table(
        "stored_files",
        sa.Column("key", sa.String(length=500), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_stored_files_account_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_stored_files")),
    )
    with op.batch_alter_table("stored_files", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_stored_files_account_id"), ["account_id"], unique=False)

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
        sa.Column("max_bytes", sa.BigInteger(), nullable=True),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("registered_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_uploads_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sa.UniqueConstraint("filename", name=op.f("uq_uploads_filename")),
    )
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_uploads_account_id"), ["account_id"], unique=False)

    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.String(length=100), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("deleted_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_webhook_endpoints_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    with op.batch_alter_table("webhook_endpoints", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_webhook_endpoints_account_id"), ["account_id"], unique=False)

    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("notification_id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("channel", sa.String(length=8), nullable=False),
        sa.Column("endpoint_id", sa.String(length=36), nullable=True),
        sa.Column("mail_id", sa.String(length=36), nullable=True),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("not_before", UtcDateTime(), nullable=False),
        sa.Column("claimed_by", sa.String(length=150), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_deliveries_account_id")),
        sa.ForeignKeyConstraint(["endpoint_id"], ["webhook_endpoints.id"], name=op.f("fk_deliveries_endpoint_id")),
        sa.ForeignKeyConstraint(["notification_id"], ["notifications.id"], name=op.f("fk_deliveries_notification_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index("ix_deliveries_account_id_inserted_at", ["account_id", "inserted_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_deliveries_claimed_by"), ["claimed_by"], unique=False)
        batch_op.create_index(batch_op.f("ix_deliveries_endpoint_id"), ["endpoint_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_deliveries_mail_id"), ["mail_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_deliveries_notification_id"), ["notification_id"], unique=False)
        batch_op.create_index(
            "ix_deliveries_state_channel_not_before", ["state", "channel", "not_before"], unique=False
        )

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
        sa.Column("meta_model_weight", sa.Double(), server_default="1", nullable=False),
        sa.Column("fallback", sa.Boolean(), server_default=sa.true(), nullable=False),
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
        "runs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("pickle_id", sa.String(length=36), nullable=True),
        sa.Column("diagnostics_id", sa.String(length=36), nullable=True),
        sa.Column("round_id", sa.String(length=36), nullable=True),
        sa.Column("account_id", sa.String(length=36), nullable=True),
        sa.Column("submission_id", sa.String(length=36), nullable=True),
        sa.Column("fallback_model_id", sa.String(length=36), nullable=True),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("rank", sa.Integer(), server_default="0", nullable=False),
        sa.Column("position", sa.Integer(), server_default="0", nullable=False),
        sa.Column("forecast_seconds", sa.Double(), nullable=True),
        sa.Column("start_by", UtcDateTime(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failure_code", sa.String(length=32), nullable=True),
        sa.Column("not_before", UtcDateTime(), nullable=False),
        sa.Column("log_dropped_bytes", sa.BigInteger(), nullable=False),
        sa.Column("used_seconds", sa.Double(), nullable=True),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("lease_owner", sa.String(length=100), nullable=True),
        sa.Column("lease_expires_at", UtcDateTime(), nullable=True),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["pickle_id"], ["pickles.id"], name=op.f("fk_runs_pickle_id")),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_runs_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("diagnostics_id", name=op.f("uq_runs_diagnostics_id")),
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index("ix_runs_account_id_state", ["account_id", "state"], unique=False)
        batch_op.create_index("ix_runs_pickle_id_inserted_at", ["pickle_id", "inserted_at"], unique=False)
        batch_op.create_index("ix_runs_queue", ["state", "priority", "rank", "inserted_at", "position"], unique=False)
        batch_op.create_index("ix_runs_round_id_account_id", ["round_id", "account_id"], unique=False)

    op.create_table(
        "diagnostics",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("model_id", sa.String(length=36), nullable=True),
        sa.Column("pickle_id", sa.String(length=36), nullable=True),
        sa.Column("data_version_id", sa.String(length=36), nullable=True),
        sa.Column("filename", sa.String(length=300), nullable=False),
        sa.Column("storage_key", sa.String(length=400), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("figures", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("process_seconds", sa.Double(), nullable=True),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_diagnostics_account_id")),
        sa.ForeignKeyConstraint(["data_version_id"], ["data_versions.id"], name=op.f("fk_diagnostics_data_version_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_diagnostics_model_id")),
        sa.ForeignKeyConstraint(["pickle_id"], ["pickles.id"], name=op.f("fk_diagnostics_pickle_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_diagnostics")),
    )
    with op.batch_alter_table("diagnostics", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_diagnostics_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_diagnostics_model_id"), ["model_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_diagnostics_pickle_id"), ["pickle_id"], unique=False)

    op.create_table(
        "reputations",
        sa.Column("model_id", sa.String(length=36), nullable=False),
        sa.Column("day", UtcDateTime(), nullable=False),
        sa.Column("tournament", sa.Integer(), nullable=False),
        sa.Column("rounds", sa.Integer(), nullable=False),
        sa.Column("corr", sa.Double(), nullable=True),
        sa.Column("mmc", sa.Double(), nullable=True),
        sa.Column("bmc", sa.Double(), nullable=True),
        sa.Column("fnc", sa.Double(), nullable=True),
        sa.Column("fnc_v3", sa.Double(), nullable=True),
        sa.Column("corr_rank", sa.Integer(), nullable=True),
        sa.Column("mmc_rank", sa.Integer(), nullable=True),
        sa.Column("bmc_rank", sa.Integer(), nullable=True),
        sa.Column("fnc_rank", sa.Integer(), nullable=True),
        sa.Column("fnc_v3_rank", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_reputations_model_id")),
        sa.PrimaryKeyConstraint("model_id", "day", name=op.f("pk_reputations")),
    )
    with op.batch_alter_table("reputations", schema=None) as batch_op:
        batch_op.create_index("ix_reputations_tournament_day", ["tournament", "day"], unique=False)

    op.create_table(
        "run_logs",
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_logs_run_id")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_run_logs")),
    )
    with op.batch_alter_table("run_logs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_run_logs_run_id"), ["run_id"], unique=False)

    op.create_table(
        "run_records",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_records_run_id")),
        sa.PrimaryKeyConstraint("run_id", "attempt", name=op.f("pk_run_records")),
    )
    op.create_table(
        "run_statuses",
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("inserted_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_statuses_run_id")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_run_statuses")),
    )
    with op.batch_alter_table("run_statuses", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_run_statuses_run_id"), ["run_id"], unique=False)

    op.create_table(
        "submissions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("model_id", sa.String(length=36), nullable=False),
        sa.Column("round_id", sa.String(length=36), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=True),
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
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_submissions_run_id")),
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
        "scores",
        sa.Column("submission_id", sa.String(length=36), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model_id", sa.String(length=36), nullable=False),
        sa.Column("round_id", sa.String(length=36), nullable=False),
        sa.Column("scored_at", UtcDateTime(), nullable=False),
        sa.Column("resolved", sa.Boolean(), nullable=False),
        sa.Column("is_latest", sa.Boolean(), nullable=False),
        sa.Column("corr", sa.Double(), nullable=True),
        sa.Column("mmc", sa.Double(), nullable=True),
        sa.Column("bmc", sa.Double(), nullable=True),
        sa.Column("fnc", sa.Double(), nullable=True),
        sa.Column("fnc_v3", sa.Double(), nullable=True),
        sa.Column("corr_percentile", sa.Double(), nullable=True),
        sa.Column("mmc_percentile", sa.Double(), nullable=True),
        sa.Column("bmc_percentile", sa.Double(), nullable=True),
        sa.Column("fnc_percentile", sa.Double(), nullable=True),
        sa.Column("fnc_v3_percentile", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_scores_model_id")),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_scores_round_id")),
        sa.ForeignKeyConstraint(["submission_id"], ["submissions.id"], name=op.f("fk_scores_submission_id")),
        sa.PrimaryKeyConstraint("submission_id", "day", name=op.f("pk_scores")),
    )
    with op.batch_alter_table("scores", schema=None) as batch_op:
        batch_op.create_index("ix_scores_latest", ["is_latest", "scored_at"], unique=False)
        batch_op.create_index("ix_scores_model_id_round_id", ["model_id", "round_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_scores_round_id"), ["round_id"], unique=False)


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
