"""Reading the audit log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from predictd.db.audit_table import AuditEntry


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which entries; what is empty or None restricts nothing.

    Attributes:
        who: name of the account or of the machine's user who acted, whole.
        action: an action such as round.open, or what stands before the dot.
        about: id of an object, or a part of its name.
        account_id: of the account that acted or that the act was done to.
        way: web, api, mcp or command line.
        since: the first moment.
        before: the first moment that is too late.
    """

    who: str = ""
    action: str = ""
    about: str = ""
    account_id: str = ""
    way: str = ""
    since: datetime | None = None
    before: datetime | None = None


def list_entries(session: Session, wanted: Wanted, *, limit: int, offset: int = 0) -> Sequence[AuditEntry]:
    """The entries, newest first."""
    found = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit).offset(offset)
    if wanted.who:
        found = found.where(AuditEntry.who == wanted.who)
    if wanted.action:
        group = AuditEntry.action.startswith(f"{wanted.action}.", autoescape=True)
        found = found.where(or_(AuditEntry.action == wanted.action, group))
    if wanted.about:
        named = AuditEntry.object_name.icontains(wanted.about, autoescape=True)
        found = found.where(or_(AuditEntry.object_id == wanted.about, named))
    if wanted.account_id:
        of_it = (AuditEntry.account_id == wanted.account_id, AuditEntry.object_id == wanted.account_id)
        found = found.where(or_(*of_it))
    if wanted.way:
        found = found.where(AuditEntry.way == wanted.way)
    if wanted.since is not None:
        found = found.where(AuditEntry.at >= wanted.since)
    if wanted.before is not None:
        found = found.where(AuditEntry.at < wanted.before)
    return session.scalars(found).all()
