"""The tables. One class a noun; ids are random, times are aware and in UTC."""

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
    """Somebody who owns models. `username_key` is the name in lower case, which is unique.

    Nothing is sent to `email` before its owner has confirmed it. `link_secret` signs the links of mails to the account.
    One that is suspended can't sign in or use its tokens, and its pickles don't run.
    """

    __tablename__ = "accounts"

    id: Mapped[str] = _id()
    username: Mapped[str] = mapped_column(String(64))
    username_key: Mapped[str] = mapped_column(String(64), unique=True)
    email: Mapped[str | None] = mapped_column(String(320))
    email_confirmed_at: Mapped[datetime | None]
    link_secret: Mapped[str | None] = mapped_column(String(64), deferred=True)
    display_name: Mapped[str | None] = mapped_column(String(128))
    bio: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16), default="VERIFIED")
    email_preferences: Mapped[dict[str, Any]] = mapped_column(default=dict)
    password_hash: Mapped[str | None] = mapped_column(String(200), deferred=True)
    is_organiser: Mapped[bool] = mapped_column(default=False, server_default=false())
    suspended_at: Mapped[datetime | None]
    inserted_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class WebSession(Base):
    """Somebody who signed in with a password; of the secret only a hash is kept."""

    __tablename__ = "sessions"

    secret_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    inserted_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)

    account: Mapped[Account] = relationship()


class PasswordLink(Base):
    """A link by which the owner of an account chooses a password, once; of its secret only a hash is kept."""

    __tablename__ = "password_links"

    secret_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    inserted_at: Mapped[datetime]
    expires_at: Mapped[datetime]

    account: Mapped[Account] = relationship()


class Token(Base):
    """An API token; of the secret only a hash is kept."""

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
    """A slot of an account in a tournament, to which one pickle may be assigned.

    `meta_model_weight` is how much its submissions count in the meta model of a round, 0 or more. `fallback` says that
    its last good pickle may run for a round in place of an assigned one that failed.
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
    """A filename given out for an upload of at most `max_bytes`; `registered_at` says that something was made of it."""

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
    """A version of the data; its files lie in storage below `data/<name>/`."""

    __tablename__ = "data_versions"

    id: Mapped[str] = _id()
    name: Mapped[str] = mapped_column(String(64), unique=True)
    is_default: Mapped[bool] = mapped_column(default=False)
    is_deprecated: Mapped[bool] = mapped_column(default=False)
    inserted_at: Mapped[datetime]


class Runtime(Base):
    """A Python version with a locked package set, built in `folder` below the runtimes' folder."""

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
    """An uploaded model, `model_id` being what it was uploaded for.

    `takes_slot` says that it shall be assigned to that model once it is validated. `triggers` are its runs for rounds
    and validations, those for its diagnostics belong to these. `tables_key` is where the compiled
    tables of its trees lie, empty if it has none and null before it ran; `imports` are the modules that its warm parent
    has ready, with spaces between them. These two are kept from its runs and only make further ones faster.
    `forecast_seconds` is how long its next run is expected to take, null before it ran. Of an old one the file may be
    gone, since `removed_at`.
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
    takes_slot: Mapped[bool] = mapped_column(default=False)
    tables_key: Mapped[str | None] = mapped_column(String(400))
    imports: Mapped[str] = mapped_column(String(200), default="", server_default="")
    forecast_seconds: Mapped[float | None]
    removed_at: Mapped[datetime | None]
    inserted_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    runtime: Mapped[Runtime] = relationship()
    data_version: Mapped[DataVersion] = relationship()
    triggers: Mapped[list["Trigger"]] = relationship(
        primaryjoin="and_(Trigger.pickle_id == Pickle.id, Trigger.diagnostics_id.is_(None))",
        order_by="Trigger.inserted_at.desc()",
        viewonly=True,
    )
    diagnostics: Mapped[list["Diagnostics"]] = relationship(order_by="Diagnostics.inserted_at.desc()", viewonly=True)
    assigned_models: Mapped[list[Model]] = relationship(
        foreign_keys="Model.pickle_id", order_by="Model.inserted_at", viewonly=True
    )


class Round(Base):
    """One round. `scheduled_at` is the calendar's opening time; rounds opened by hand have none.

    `score_days` counts the daily scores that it has had, the last of them at `scored_at`; with the final ones it is
    resolved.
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


class Trigger(Base):
    """One run of a pickle, or the scoring of an uploaded file, and the job of the queue that it is.

    Of the due ones those of the lowest `priority` are taken first, of these those of the lowest `rank` (the how-manieth
    run of its account it is), then those that came first; `place` is their order among those that came together, the
    longest `forecast_seconds` first. `start_by` is when it must start to end before its round closes, if the forecast
    is right. `fallback_for` is the model that the run alone submits for, because the assigned pickle has failed.

    `attempt` is the fencing token: it grows with each claim, and what a worker reports counts only under the attempt
    that it claimed. `failures` counts the attempts that the platform lost; `log_cut_bytes` is what was printed but not
    kept. `used_seconds` and `peak_memory_bytes` are what the newest run took of its limits, null where that is not
    known.
    """

    __tablename__ = "triggers"
    __table_args__ = (
        Index("ix_triggers_queue", "state", "priority", "rank", "inserted_at", "place"),
        Index("ix_triggers_pickle_id_inserted_at", "pickle_id", "inserted_at"),
        Index("ix_triggers_round_id_account_id", "round_id", "account_id"),
        Index("ix_triggers_account_id_state", "account_id", "state"),
    )

    id: Mapped[str] = _id()
    pickle_id: Mapped[str | None] = mapped_column(ForeignKey("pickles.id"))
    diagnostics_id: Mapped[str | None] = mapped_column(String(36), unique=True)
    round_id: Mapped[str | None] = mapped_column(ForeignKey("rounds.id"))
    account_id: Mapped[str | None] = mapped_column(String(36))
    submission_id: Mapped[str | None] = mapped_column(String(36))
    fallback_for: Mapped[str | None] = mapped_column(String(36))
    type: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(24))
    priority: Mapped[int] = mapped_column(default=0, server_default="0")
    rank: Mapped[int] = mapped_column(default=0, server_default="0")
    place: Mapped[int] = mapped_column(default=0, server_default="0")
    forecast_seconds: Mapped[float | None]
    start_by: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    failure_code: Mapped[str | None] = mapped_column(String(32))
    not_before: Mapped[datetime]
    log_cut_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    used_seconds: Mapped[float | None]
    peak_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    lease_owner: Mapped[str | None] = mapped_column(String(100))
    lease_expires_at: Mapped[datetime | None]
    inserted_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    pickle: Mapped[Pickle | None] = relationship()
    round: Mapped[Round | None] = relationship()
    statuses: Mapped[list["TriggerStatus"]] = relationship(order_by="TriggerStatus.sequence", back_populates="trigger")


class TriggerStatus(Base):
    """One step in the history of a trigger: a state and the reason for it."""

    __tablename__ = "trigger_statuses"

    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(36), default=new_id)
    trigger_id: Mapped[str] = mapped_column(ForeignKey("triggers.id"), index=True)
    status: Mapped[str] = mapped_column(String(24))
    code: Mapped[str] = mapped_column(String(32))
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    inserted_at: Mapped[datetime]

    trigger: Mapped[Trigger] = relationship(back_populates="statuses")

    @property
    def reason(self) -> Reason:
        """Why the trigger is in this state."""
        return Reason.of_row(self.code, self.facts)

    @property
    def description(self) -> str:
        """The reason as a person reads it."""
        return self.reason.describe()


class TriggerLog(Base):
    """One line of what a model printed; `timestamp` in milliseconds since the epoch."""

    __tablename__ = "trigger_logs"

    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    trigger_id: Mapped[str] = mapped_column(ForeignKey("triggers.id"), index=True)
    attempt: Mapped[int]
    timestamp: Mapped[int] = mapped_column(BigInteger)
    message: Mapped[str] = mapped_column(Text)


class Submission(Base):
    """Predictions of one model for one round. At most one of a model and round is `selected`: it counts.

    `is_queued` says that it came late and is kept for the next round.
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
    trigger_id: Mapped[str | None] = mapped_column(ForeignKey("triggers.id"))
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

    How far they are is how far their trigger is. `storage_key` is where the predictions lie, null as long as a pickle
    has given none; `figures` are the fields of V2Diagnostics by their names on the wire; `message` says what is wrong
    with the model, or what is suspicious of its figures.
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
    trigger: Mapped[Trigger | None] = relationship(
        primaryjoin="foreign(Trigger.diagnostics_id) == Diagnostics.id", uselist=False, viewonly=True, lazy="joined"
    )
