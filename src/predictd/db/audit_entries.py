"""Queries of the audit log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from predictd.db.audit_table import AuditEntry


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """A filter of audit entries; empty or None fields match everything.

    Attributes:
        who: full name of the account or operating system user who acted.
        action: an action such as round.open, or the part before the dot.
        about: id of an object, or a part of its name.
        account_id: account that acted or was changed.
        interface: web, api, mcp or command line.
        since: earliest time, inclusive.
        before: latest time, exclusive.
    """

    who: str = ""
    action: str = ""
    about: str = ""
    account_id: str = ""
    interface: str = ""
    since: datetime | None = None
    before: datetime | None = None


def list_entries(session: Session, filter_: AuditFilter, *, limit: int, offset: int = 0) -> Sequence[AuditEntry]:
    """Return the matching entries, newest first."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit).offset(offset)
    if filter_.who:
        query = query.where(AuditEntry.who == filter_.who)
    if filter_.action:
        group = AuditEntry.action.startswith(f"{filter_.action}.", autoescape=True)
        query = query.where(or_(AuditEntry.action == filter_.action, group))
    if filter_.about:
        name_matches = AuditEntry.object_name.icontains(filter_.about, autoescape=True)
        query = query.where(or_(AuditEntry.object_id == filter_.about, name_matches))
    if filter_.account_id:
        of_account = (AuditEntry.account_id == filter_.account_id, AuditEntry.object_id == filter_.account_id)
        query = query.where(or_(*of_account))
    if filter_.interface:
        query = query.where(AuditEntry.interface == filter_.interface)
    if filter_.since is not None:
        query = query.where(AuditEntry.at >= filter_.since)
    if filter_.before is not None:
        query = query.where(AuditEntry.at < filter_.before)
    return session.scalars(query).all()
