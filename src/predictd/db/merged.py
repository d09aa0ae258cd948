"""The tables of what several servers must know of each other."""

from datetime import datetime

from sqlalchemy import Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from predictd.db.models import Base


class Secret(Base):
    """A key that all servers share, in hexadecimal."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(String(128))
    inserted_at: Mapped[datetime]


class SignInAttempt(Base):
    """A password that was tried and was wrong, counted for an account's name or for an address: `subject`."""

    __tablename__ = "sign_in_attempts"
    __table_args__ = (Index("ix_sign_in_attempts_subject_at", "subject", "at"),)

    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    subject: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(index=True)
