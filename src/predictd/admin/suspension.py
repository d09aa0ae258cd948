"""Suspension and reactivation of accounts."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account, Run, WebSession
from predictd.domain.reasons import Reason
from predictd.domain.states import ACTIVE
from predictd.jobs.queue import withdraw


def suspend(session: Session, account: Account, now: datetime) -> int:
    """Suspend the account: end its sessions, refuse its tokens, and stop its runs; idempotent.

    Its data is retained. Returns the number of stopped runs.
    """
    if account.suspended_at is not None:
        return 0
    account.suspended_at = account.updated_at = now
    session.execute(sa.delete(WebSession).where(WebSession.account_id == account.id))
    active = sa.select(Run).where(Run.state.in_(ACTIVE), Run.account_id == account.id)
    runs = session.scalars(active.with_for_update()).all()
    for run in runs:
        withdraw(session, run, Reason(code="account_suspended"), now)
    return len(runs)


def reactivate(session: Session, account: Account, now: datetime) -> None:
    """Reactivate a suspended account; its pickles run from the next round on."""
    if account.suspended_at is not None:
        account.suspended_at, account.updated_at = None, now
        session.flush()
