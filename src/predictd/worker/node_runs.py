"""What nodes of the cluster report of their runs; every server takes it, because it goes to the database."""

import hashlib
import hmac
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Trigger
from predictd.db.run_tables import NodeRun
from predictd.domain.errors import ForbiddenTransferError
from predictd.domain.states import TriggerState
from predictd.jobs.queue import Claim
from predictd.worker.run_logs import keep_lines


def begin(session: Session, claimed: Claim, token: str, now: datetime) -> None:
    """Expect reports of this attempt, and of no earlier one any more."""
    session.execute(sa.delete(NodeRun).where(NodeRun.trigger_id == claimed.trigger_id))
    session.add(
        NodeRun(trigger_id=claimed.trigger_id, attempt=claimed.attempt, token_hash=_hashed(token), inserted_at=now)
    )


def end(session: Session, claimed: Claim) -> None:
    """Take no more reports of this attempt."""
    of_run = (NodeRun.trigger_id == claimed.trigger_id, NodeRun.attempt == claimed.attempt)
    session.execute(sa.delete(NodeRun).where(*of_run))


def forget_ended(session: Session) -> None:
    """Remove what servers that died have left."""
    running = sa.exists().where(
        Trigger.id == NodeRun.trigger_id, Trigger.attempt == NodeRun.attempt, Trigger.state == TriggerState.RUNNING
    )
    session.execute(sa.delete(NodeRun).where(~running).execution_options(synchronize_session=False))


def beats(session: Session) -> dict[tuple[str, int], tuple[int, str]]:
    """Signs of life so far, and the node, of each run by trigger and attempt; those that were left behind are none."""
    held = sa.and_(Trigger.id == NodeRun.trigger_id, Trigger.attempt == NodeRun.attempt)
    rows = session.execute(
        sa.select(NodeRun.trigger_id, NodeRun.attempt, NodeRun.beats, NodeRun.node)
        .join(Trigger, held)
        .where(Trigger.state == TriggerState.RUNNING)
    )
    return {(row.trigger_id, row.attempt): (row.beats, row.node) for row in rows}


def take_report(
    session: Session,
    trigger_id: str,
    attempt: int,
    token: str,
    *,
    node: str,
    batch: int,
    body: bytes,
    cut_bytes: int,
    kept_bytes: int,
) -> bool:
    """Record a sign of life, and lines of the log, each batch once.

    Returns:
        False, and nothing is recorded, when the run is nobody's any more.

    Raises:
        ForbiddenTransferError: the token is not that of this run.
    """
    run = session.get(NodeRun, (trigger_id, attempt), with_for_update=True)
    if run is None:
        return False
    if not hmac.compare_digest(run.token_hash, _hashed(token)):
        raise ForbiddenTransferError("The token was not given out for this run.")
    state = session.scalar(sa.select(Trigger.state).where(Trigger.id == trigger_id, Trigger.attempt == attempt))
    if state != TriggerState.RUNNING:
        return False
    run.beats += 1
    run.node = node[:100]
    if batch > run.batch:
        run.batch = batch
        keep_lines(session, trigger_id, attempt, body, kept_bytes, cut_bytes)
    return True


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
