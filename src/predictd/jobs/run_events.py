"""Metrics and log events of runs, emitted after the transaction commits; each has the run id."""

from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from predictd import prometheus
from predictd.db.hooks import after_commit
from predictd.db.models import Run
from predictd.domain.runs import RunReport
from predictd.domain.states import RunState, RunType

log = structlog.get_logger()


def queued(session: Session, run: Run) -> None:
    """Log that the run is queued."""
    names = {
        "run": run.id,
        "type": str(run.type),
        "pickle": run.pickle_id,
        "account": run.account_id,
    }
    after_commit(session, lambda: log.info("run_queued", **names, attempt=0))


def claimed(
    session: Session,
    run_id: str,
    attempt: int,
    kind: RunType,
    *,
    account_id: str | None,
    owner: str,
    due: datetime,
    now: datetime,
) -> None:
    """Log that a worker claimed the run, and observe how long it was due."""
    waited = max(0.0, (now - due).total_seconds())
    names = {"run": run_id, "attempt": attempt, "type": str(kind), "account": account_id, "owner": owner}

    def emit() -> None:
        prometheus.QUEUE_SECONDS.labels(kind).observe(waited)
        log.info("run_claimed", **names, waited_seconds=round(waited, 3))

    after_commit(session, emit)


def ended(session: Session, run_id: str, attempt: int, kind: RunType, state: RunState, code: str | None) -> None:
    """Log and count the end of the run; an Error may be retried."""

    def emit() -> None:
        prometheus.RUNS_ENDED.labels(kind, state, code or "").inc()
        log.info("run_ended", run=run_id, attempt=attempt, type=str(kind), state=str(state), code=code or "")

    after_commit(session, emit)


def retried(session: Session, run_id: str, attempt: int) -> None:
    """Log and count a retry after a platform failure."""

    def emit() -> None:
        prometheus.RETRIES.inc()
        log.info("run_retried", run=run_id, attempt=attempt)

    after_commit(session, emit)


def used(session: Session, kind: RunType, report: RunReport) -> None:
    """Observe the run time that counts toward the limit."""
    if report.stages:
        seconds = report.limited_seconds
        after_commit(session, lambda: prometheus.RUN_SECONDS_USED.labels(kind).observe(seconds))
