"""The tables of single attempts: what is kept of one that ended, and of one that a node carries out."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from predictd.db.models import Base


class Recorded(Base):
    """What went into an attempt of a trigger that ended and what came out: the facts of `domain.records.RunRecord`."""

    __tablename__ = "run_records"

    trigger_id: Mapped[str] = mapped_column(ForeignKey("triggers.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    outcome: Mapped[str] = mapped_column(String(32))
    facts: Mapped[dict[str, Any]]
    inserted_at: Mapped[datetime]


class ObjectHash(Base):
    """The SHA-256, in hex, of an object in storage, as it was when it was first used."""

    __tablename__ = "object_hashes"

    key: Mapped[str] = mapped_column(String(500), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    inserted_at: Mapped[datetime]


class NodeRun(Base):
    """A run that a node of the cluster carries out: there from its order to its end.

    Of the token that the node reports with only a hash is kept. `beats` counts its signs of life; `batch` is the number
    of the last piece of log that was taken. No foreign key: the row is of no use without its run, and holds up nothing.
    """

    __tablename__ = "node_runs"

    trigger_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    token_hash: Mapped[str] = mapped_column(String(64))
    node: Mapped[str] = mapped_column(String(100), default="")
    beats: Mapped[int] = mapped_column(default=0)
    batch: Mapped[int] = mapped_column(default=0)
    inserted_at: Mapped[datetime]
