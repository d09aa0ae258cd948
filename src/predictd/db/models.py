"""The main tables. Ids are random; times are aware and in UTC."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from predictd.db.types import UtcDateTime, new_id
from predictd.domain.reasons import Reason

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The root of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012 (SQLAlchemy reads it as a class attribute)


def _id() -> Mapped[str]:
    return mapped_column(String(36), primary_key=True, default=new_id)


class Account(Base):
    """An owner of models. `username_key` is the unique lower-case name.

    Only confirmation links are sent to `email` until its owner confirms it; `link_signing_key` signs links in emails.
    A suspended account can't sign in or use its tokens, and its pickles don't run.
    """

    __tablename__ = "accounts"

    id: Mapped[str] = _id()
    username: Mapped[str] = mapped_column(String(64))
    username_key: Mapped[str] = mapped_column(String(64), unique=True)
    email: Mapped[str | None] = mapped_column(String(320))
    email_confirmed_at: Mapped[datetime | None]
    link_signing_key: Mapped[str | None] = mapped_column(String(64), deferred=True)
    display_name: Mapped[str | None] = mapped_column(String(128))
    bio: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16), default="VERIFIED")
    email_preferences: Mapped[dict[str, Any]] = mapped_column(default=dict)
    password_hash: Mapped[str | None] = mapped_column(String(200), deferred=True)
    is_admin: Mapped[bool] = mapped_column(default=False, server_default=false())
    suspended_at: Mapped[datetime | None]
    inserted_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class WebSession(Base):
    """A session of an account that signed in with a password; only a hash of the secret is stored."""

    __tablename__ = "sessions"

    secret_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    inserted_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)

    account: Mapped[Account] = relationship()


class PasswordLink(Base):
    """A single-use link to set the password of an account; only a hash of the secret is stored."""

    __tablename__ = "password_links"

    secret_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    inserted_at: Mapped[datetime]
    expires_at: Mapped[datetime]

    account: Mapped[Account] = relationship()


class Token(Base):
    """An API token; only a hash of the secret is stored."""

    __tablename__ = "tokens"

    public_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    name: Mapped[str] = mapped_column(String(128))
    secret_hash: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]]
    inserted_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]

    account: Mapped[Account] = relationship()


class Model(Base):
    """A named slot of an account in a tournament, to which a pickle can be assigned.

    `meta_model_weight` is the weight of its submissions in the meta model, 0 or more. `fallback` allows its last good
    pickle to run for a round when the assigned pickle fails.
    """

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("tournament", "name_key"),)

    id: Mapped[str] = _id()
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    tournament: Mapped[int]
    name: Mapped[str] = mapped_column(String(20))
    name_key: Mapped[str] = mapped_column(String(20))
    bio: Mapped[str | None] = mapped_column(Text)
    link_url: Mapped[str | None] = mapped_column(Text)
    link_text: Mapped[str | None] = mapped_column(Text)
    submission_webhook: Mapped[str | None] = mapped_column(Text)
    meta_model_weight: Mapped[float] = mapped_column(default=1.0, server_default="1")
    fallback: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    pickle_id: Mapped[str | None] = mapped_column(ForeignKey("pickles.id"), index=True)
    inserted_at: Mapped[datetime]
    archived_at: Mapped[datetime | None]

    account: Mapped[Account] = relationship()
    pickle: Mapped["Pickle | None"] = relationship(foreign_keys=[pickle_id])


class Upload(Base):
    """A filename reserved for an upload of at most `max_bytes`; `registered_at` is null until the file is used."""

    __tablename__ = "uploads"

    id: Mapped[str] = _id()
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    filename: Mapped[str] = mapped_column(String(300), unique=True)
    model_id: Mapped[str | None] = mapped_column(String(36))
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)
    inserted_at: Mapped[datetime]
    registered_at: Mapped[datetime | None]


class DataVersion(Base):
    """A version of the data; its files are in storage under `data/<name>/`."""

    __tablename__ = "data_versions"

    id: Mapped[str] = _id()
    name: Mapped[str] = mapped_column(String(64), unique=True)
    is_default: Mapped[bool] = mapped_column(default=False)
    is_deprecated: Mapped[bool] = mapped_column(default=False)
    inserted_at: Mapped[datetime]


class Runtime(Base):
    """A Python version with a locked package set, built in the subfolder `folder` of the runtimes folder."""

    __tablename__ = "runtimes"
    __table_args__ = (UniqueConstraint("image", "tag"),)

    id: Mapped[str] = _id()
    name: Mapped[str] = mapped_column(String(64))
    image: Mapped[str] = mapped_column(String(128))
    tag: Mapped[str] = mapped_column(String(64))
    python: Mapped[str] = mapped_column(String(8))
    folder: Mapped[str] = mapped_column(Text)
    is_default: Mapped[bool] = mapped_column(default=False)
    is_deprecated: Mapped[bool] = mapped_column(default=False)
    inserted_at: Mapped[datetime]


class Pickle(Base):
    """An uploaded pickle; `model_id` is the model that it was uploaded for.

    With `assign_when_validated` it is assigned to that model after validation. `tables_key` is the storage key of the
    compiled trees (empty: it has none; null: no run yet) and `imports` lists its warm modules; both only make later
    runs faster. `forecast_seconds` is the expected duration of the next run. `removed_at` is when its file was deleted.
    """

    __tablename__ = "pickles"

    id: Mapped[str] = _id()
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    model_id: Mapped[str | None] = mapped_column(String(36), index=True)
    runtime_id: Mapped[str] = mapped_column(ForeignKey("runtimes.id"))
    data_version_id: Mapped[str] = mapped_column(ForeignKey("data_versions.id"))
    filename: Mapped[str] = mapped_column(String(300))
    label: Mapped[str | None] = mapped_column(String(200))
    storage_key: Mapped[str] = mapped_column(String(400))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    source: Mapped[str | None] = mapped_column(String(100))
    validation_status: Mapped[str] = mapped_column(String(16))
    assign_when_validated: Mapped[bool] = mapped_column(default=False)
    tables_key: Mapped[str | None] = mapped_column(String(400))
    imports: Mapped[str] = mapped_column(String(200), default="", server_default="")
    forecast_seconds: Mapped[float | None]
    removed_at: Mapped[datetime | None]
    inserted_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    runtime: Mapped[Runtime] = relationship()
    data_version: Mapped[DataVersion] = relationship()
    runs: Mapped[list["Run"]] = relationship(
        primaryjoin="and_(Run.pickle_id == Pickle.id, Run.diagnostics_id.is_(None))",
        order_by="Run.inserted_at.desc()",
        viewonly=True,
    )
    diagnostics: Mapped[list["Diagnostics"]] = relationship(order_by="Diagnostics.inserted_at.desc()", viewonly=True)
    assigned_models: Mapped[list[Model]] = relationship(
        foreign_keys="Model.pickle_id", order_by="Model.inserted_at", viewonly=True
    )


class Round(Base):
    """One round. `scheduled_at` is the opening time in the calendar, null for rounds opened manually.

    `score_days` counts its daily scores, the last at `scored_at`; the final scores resolve it.
    """

    __tablename__ = "rounds"
    __table_args__ = (UniqueConstraint("tournament", "number"), UniqueConstraint("tournament", "scheduled_at"))

    id: Mapped[str] = _id()
    tournament: Mapped[int]
    number: Mapped[int]
    scheduled_at: Mapped[datetime | None]
    open_time: Mapped[datetime]
    close_time: Mapped[datetime]
    score_time: Mapped[datetime]
    resolve_time: Mapped[datetime]
    is_closed: Mapped[bool] = mapped_column(default=False)
    score_days: Mapped[int] = mapped_column(default=0, server_default="0")
    scored_at: Mapped[datetime | None]
    resolved_at: Mapped[datetime | None]


class Run(Base):
    """One run of a pickle, or the scoring of an uploaded file, and its job in the queue.

    Workers claim due runs by `priority`, then `rank` (the position among the runs of the account), then age, then
    `position` (among runs queued together, the longest `forecast_seconds` first). `start_by` is the latest start to
    end before the round closes. A fallback submits only for the model `fallback_model_id`.

    `attempt` is the fencing token: it grows with each claim, and only reports of the current attempt count. `failures`
    counts failures of the platform. `used_seconds` and `peak_memory_bytes` are the usage of the newest attempt.
    """

    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_queue", "state", "priority", "rank", "inserted_at", "position"),
        Index("ix_runs_pickle_id_inserted_at", "pickle_id", "inserted_at"),
        Index("ix_runs_round_id_account_id", "round_id", "account_id"),
        Index("ix_runs_account_id_state", "account_id", "state"),
    )

    id: Mapped[str] = _id()
    pickle_id: Mapped[str | None] = mapped_column(ForeignKey("pickles.id"))
    diagnostics_id: Mapped[str | None] = mapped_column(String(36), unique=True)
    round_id: Mapped[str | None] = mapped_column(ForeignKey("rounds.id"))
    account_id: Mapped[str | None] = mapped_column(String(36))
    submission_id: Mapped[str | None] = mapped_column(String(36))
    fallback_model_id: Mapped[str | None] = mapped_column(String(36))
    type: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(24))
    priority: Mapped[int] = mapped_column(default=0, server_default="0")
    rank: Mapped[int] = mapped_column(default=0, server_default="0")
    position: Mapped[int] = mapped_column(default=0, server_default="0")
    forecast_seconds: Mapped[float | None]
    start_by: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    failure_code: Mapped[str | None] = mapped_column(String(32))
    not_before: Mapped[datetime]
    log_dropped_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    used_seconds: Mapped[float | None]
    peak_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    lease_owner: Mapped[str | None] = mapped_column(String(100))
    lease_expires_at: Mapped[datetime | None]
    inserted_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    pickle: Mapped[Pickle | None] = relationship()
    round: Mapped[Round | None] = relationship()
    statuses: Mapped[list["RunStatus"]] = relationship(order_by="RunStatus.sequence", back_populates="run")


class RunStatus(Base):
    """One entry in the status history of a run: a state and its reason."""

    __tablename__ = "run_statuses"

    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(36), default=new_id)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    status: Mapped[str] = mapped_column(String(24))
    code: Mapped[str] = mapped_column(String(32))
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    inserted_at: Mapped[datetime]

    run: Mapped[Run] = relationship(back_populates="statuses")

    @property
    def reason(self) -> Reason:
        """Return why the run is in this state."""
        return Reason.of_row(self.code, self.facts)

    @property
    def description(self) -> str:
        """Return the reason as text."""
        return self.reason.describe()


class RunLog(Base):
    """One line of model output; `timestamp` is in milliseconds since the epoch."""

    __tablename__ = "run_logs"

    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    attempt: Mapped[int]
    timestamp: Mapped[int] = mapped_column(BigInteger)
    message: Mapped[str] = mapped_column(Text)


class Submission(Base):
    """Predictions of a model for a round. At most one per model and round is `selected` and counts.

    With `is_queued` it arrived late and waits for the next round.
    """

    __tablename__ = "submissions"
    __table_args__ = (
        Index("ix_submissions_model_id_inserted_at", "model_id", "inserted_at"),
        Index(
            "uq_submissions_selected",
            "model_id",
            "round_id",
            unique=True,
            sqlite_where=text("selected"),
            postgresql_where=text("selected"),
        ),
    )

    id: Mapped[str] = _id()
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    round_id: Mapped[str] = mapped_column(ForeignKey("rounds.id"), index=True)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"))
    filename: Mapped[str] = mapped_column(String(300))
    storage_key: Mapped[str] = mapped_column(String(400))
    status: Mapped[str] = mapped_column(String(16))
    selected: Mapped[bool]
    is_queued: Mapped[bool] = mapped_column(default=False)
    row_count: Mapped[int]
    data_datestamp: Mapped[int | None]
    source: Mapped[str | None] = mapped_column(String(100))
    notes: Mapped[str | None] = mapped_column(Text)
    inserted_at: Mapped[datetime]

    round: Mapped[Round] = relationship()


class Diagnostics(Base):
    """Diagnostics of a pickle, or of an uploaded file of validation predictions.

    Their status is that of their run. `storage_key` is the key of the predictions, null until there are some;
    `figures` are the fields of V2Diagnostics by wire name; `message` describes what is wrong or suspicious.
    """

    __tablename__ = "diagnostics"

    id: Mapped[str] = _id()
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    model_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"), index=True)
    pickle_id: Mapped[str | None] = mapped_column(ForeignKey("pickles.id"), index=True)
    data_version_id: Mapped[str | None] = mapped_column(ForeignKey("data_versions.id"))
    filename: Mapped[str] = mapped_column(String(300))
    storage_key: Mapped[str | None] = mapped_column(String(400))
    message: Mapped[str | None] = mapped_column(Text)
    figures: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), deferred=True)
    process_seconds: Mapped[float | None]
    inserted_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    data_version: Mapped[DataVersion | None] = relationship()
    run: Mapped[Run | None] = relationship(
        primaryjoin="foreign(Run.diagnostics_id) == Diagnostics.id", uselist=False, viewonly=True, lazy="joined"
    )
