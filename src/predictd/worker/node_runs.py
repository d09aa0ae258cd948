"""Reports of nodes about their runs. Any server can receive them, because they are stored in the database."""

import hashlib
import hmac
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Run
from predictd.db.run_tables import NodeRun
from predictd.domain.errors import ForbiddenTransferError
from predictd.domain.states import RunState
from predictd.jobs.queue import Claim
from predictd.worker.run_logs import store_lines


def begin(session: Session, claimed: Claim, token: str, now: datetime) -> None:
    """Accept reports for this attempt, and no longer for earlier ones."""
    session.execute(sa.delete(NodeRun).where(NodeRun.run_id == claimed.run_id))
    session.add(NodeRun(run_id=claimed.run_id, attempt=claimed.attempt, token_hash=_hashed(token), inserted_at=now))


def end(session: Session, claimed: Claim) -> None:
    """Stop accepting reports for this attempt."""
    of_run = (NodeRun.run_id == claimed.run_id, NodeRun.attempt == claimed.attempt)
    session.execute(sa.delete(NodeRun).where(*of_run))


def delete_ended(session: Session) -> None:
    """Delete the rows that crashed servers left."""
    running = sa.exists().where(Run.id == NodeRun.run_id, Run.attempt == NodeRun.attempt, Run.state == RunState.RUNNING)
    session.execute(sa.delete(NodeRun).where(~running).execution_options(synchronize_session=False))


def list_heartbeats(session: Session) -> dict[tuple[str, int], tuple[int, str]]:
    """Return the number of heartbeats and the node of each active run by run and attempt."""
    is_current = sa.and_(Run.id == NodeRun.run_id, Run.attempt == NodeRun.attempt)
    rows = session.execute(
        sa.select(NodeRun.run_id, NodeRun.attempt, NodeRun.heartbeats, NodeRun.node)
        .join(Run, is_current)
        .where(Run.state == RunState.RUNNING)
    )
    return {(row.run_id, row.attempt): (row.heartbeats, row.node) for row in rows}


def record_report(
    session: Session,
    run_id: str,
    attempt: int,
    token: str,
    *,
    node: str,
    log_batch: int,
    body: bytes,
    dropped_bytes: int,
    max_log_bytes: int,
) -> bool:
    """Record a heartbeat and log lines, each batch once.

    Returns:
        False, without changes, if the run is no longer active.

    Raises:
        ForbiddenTransferError: the token belongs to another run.
    """
    run = session.get(NodeRun, (run_id, attempt), with_for_update=True)
    if run is None:
        return False
    if not hmac.compare_digest(run.token_hash, _hashed(token)):
        raise ForbiddenTransferError("The token was not issued for this run.")
    state = session.scalar(sa.select(Run.state).where(Run.id == run_id, Run.attempt == attempt))
    if state != RunState.RUNNING:
        return False
    run.heartbeats += 1
    run.node = node[:100]
    if log_batch > run.log_batch:
        run.log_batch = log_batch
        store_lines(session, run_id, attempt, body, max_log_bytes, dropped_bytes)
    return True


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
