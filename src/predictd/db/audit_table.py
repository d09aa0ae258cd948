"""The table of the audit log."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from predictd.db.models import Base


class AuditEntry(Base):
    """One action: who (an account or an operating system user) did what to which object, and from where.

    `interface` is web, api, mcp or command line. `detail` holds no secrets. Entries are never changed.
    """

    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_action_id", "action", "id"),
        Index("ix_audit_log_account_id_id", "account_id", "id"),
        Index("ix_audit_log_object_id_id", "object_id", "id"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    interface: Mapped[str] = mapped_column(String(16))
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"))
    who: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(40))
    object_kind: Mapped[str] = mapped_column(String(24))
    object_id: Mapped[str] = mapped_column(String(64))
    object_name: Mapped[str] = mapped_column(String(300))
    detail: Mapped[dict[str, Any]]
    address: Mapped[str] = mapped_column(String(64))
