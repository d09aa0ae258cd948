"""Metrics and log events of runs, emitted after the transaction commits; each has the trigger id."""

from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from predictd import prometheus
from predictd.db.hooks import after_commit
from predictd.db.models import Trigger
from predictd.domain.runs import RunReport
from predictd.domain.states import TriggerState, TriggerType

log = structlog.get_logger()


def queued(session: Session, trigger: Trigger) -> None:
    """Log that the run is queued."""
    names = {
        "trigger": trigger.id,
        "type": str(trigger.type),
        "pickle": trigger.pickle_id,
        "account": trigger.account_id,
    }
    after_commit(session, lambda: log.info("run_queued", **names, attempt=0))


def claimed(
    session: Session,
    trigger_id: str,
    attempt: int,
    kind: TriggerType,
    *,
    account_id: str | None,
    owner: str,
    due: datetime,
    now: datetime,
) -> None:
    """Log that a worker claimed the run, and observe how long it was due."""
    waited = max(0.0, (now - due).total_seconds())
    names = {"trigger": trigger_id, "attempt": attempt, "type": str(kind), "account": account_id, "owner": owner}

    def emit() -> None:
        prometheus.QUEUE_SECONDS.labels(kind).observe(waited)
        log.info("run_claimed", **names, waited_seconds=round(waited, 3))

    after_commit(session, emit)


def ended(
    session: Session, trigger_id: str, attempt: int, kind: TriggerType, state: TriggerState, code: str | None
) -> None:
    """Log and count the end of the run; an Error may be retried."""

    def emit() -> None:
        prometheus.RUNS_ENDED.labels(kind, state, code or "").inc()
        log.info("run_ended", trigger=trigger_id, attempt=attempt, type=str(kind), state=str(state), code=code or "")

    after_commit(session, emit)


def retried(session: Session, trigger_id: str, attempt: int) -> None:
    """Log and count a retry after a platform failure."""

    def emit() -> None:
        prometheus.RETRIES.inc()
        log.info("run_retried", trigger=trigger_id, attempt=attempt)

    after_commit(session, emit)


def used(session: Session, kind: TriggerType, report: RunReport) -> None:
    """Observe the run time that counts toward the limit."""
    if report.stages:
        seconds = report.limited_seconds
        after_commit(session, lambda: prometheus.RUN_SECONDS_USED.labels(kind).observe(seconds))
