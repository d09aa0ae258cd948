"""The tables of attempts: records of those that ended, and those that run on nodes."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from predictd.db.models import Base


class RunRecordRow(Base):
    """The inputs and outputs of an attempt that ended: the facts of `domain.run_records.RunRecord`."""

    __tablename__ = "run_records"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    outcome: Mapped[str] = mapped_column(String(32))
    facts: Mapped[dict[str, Any]]
    inserted_at: Mapped[datetime]


class ObjectHash(Base):
    """The SHA-256, in hex, of an object in storage at its first use."""

    __tablename__ = "object_hashes"

    key: Mapped[str] = mapped_column(String(500), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    inserted_at: Mapped[datetime]


class NodeRun(Base):
    """An active run on a node of the cluster.

    `token_hash` is the hash of the token that the node reports with. `heartbeats` counts its reports; `log_batch` is
    the number of the last stored batch of log lines. There is no foreign key, so that a row never blocks a deletion.
    """

    __tablename__ = "node_runs"

    run_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    token_hash: Mapped[str] = mapped_column(String(64))
    node: Mapped[str] = mapped_column(String(100), default="")
    heartbeats: Mapped[int] = mapped_column(default=0)
    log_batch: Mapped[int] = mapped_column(default=0)
    inserted_at: Mapped[datetime]
