"""The queue of runs.

A worker claims the first pending run (see `scheduling`) under a lease and reports for the attempt that it claimed.
Reports for any other attempt change nothing, because another worker may have taken over.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account, Pickle, Round, Run, RunStatus, Runtime
from predictd.db.types import new_id
from predictd.domain.failures import ModelFailure
from predictd.domain.notification_types import Event
from predictd.domain.reasons import PLATFORM, Reason
from predictd.domain.runs import RunReport
from predictd.domain.states import CLAIMED, RUN_TRANSITIONS, RunState, RunType
from predictd.jobs import run_events
from predictd.jobs.scheduling import (
    Priority,
    is_below_account_limit,
    lock_claims,
    order_round,
    set_queue_order,
    update_forecast,
)
from predictd.jobs.status_history import add_status, log_failure, newest_status, set_reason
from predictd.notifications.outbox import notify_run

# The longest delay of a retry; a run that is due later was queued before the clock was set back.
MAX_WAIT_SECONDS = 60.0
# Several days of an outage at that delay.
_MAX_OUTAGE_RETRIES = 5000


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An attempt that a worker claimed; its reports count only while it holds the claim."""

    run_id: str
    attempt: int
    owner: str
    type: RunType


def enqueue(
    session: Session,
    pickle: Pickle | None,
    kind: RunType,
    round_id: str | None,
    now: datetime,
    reason: Reason,
    *,
    account_id: str | None = None,
    diagnostics_id: str | None = None,
) -> Run:
    """Add a pending run with the first entry of its history.

    Without a pickle it scores an uploaded file of the account `account_id`.
    """
    run = Run(
        pickle_id=pickle.id if pickle is not None else None,
        account_id=pickle.account_id if pickle is not None else account_id,
        diagnostics_id=diagnostics_id,
        round_id=round_id,
        type=kind,
        state=RunState.PENDING,
        not_before=now,
        inserted_at=now,
        updated_at=now,
    )
    set_queue_order(session, run, pickle)
    session.add(run)
    session.flush()
    add_status(session, run.id, RunState.PENDING, reason, now)
    run_events.queued(session, run)
    return run


def enqueue_round(session: Session, pickles: Sequence[Pickle], round_: Round, now: datetime, reason: Reason) -> None:
    """Add a pending run for each pickle of a round; thousands take about a second."""
    common = {
        "round_id": round_.id,
        "type": RunType.LIVE,
        "state": RunState.PENDING,
        "attempt": 0,
        "failures": 0,
        "log_dropped_bytes": 0,
        "not_before": now,
        "inserted_at": now,
        "updated_at": now,
    }
    runs = [
        {"id": new_id(), "pickle_id": pickle.id, "account_id": pickle.account_id, **common, **columns}
        for pickle, columns in order_round(round_, pickles)
    ]
    if not runs:
        return
    session.execute(sa.insert(Run), runs)
    step = {
        "status": RunState.PENDING,
        "code": reason.code,
        "facts": reason.row_facts,
        "inserted_at": now,
    }
    steps = [{"id": new_id(), "run_id": run["id"], **step} for run in runs]
    session.execute(sa.insert(RunStatus), steps)


def claim(
    session: Session,
    owner: str,
    now: datetime,
    lease_seconds: float,
    *,
    diagnostics: bool = True,
    first: Priority | None = None,
    account_runs: int = 0,
    missing_runtimes: Collection[str] = (),
) -> Claim | None:
    """Claim the first due run; return None if there is none.

    No two workers get the same attempt.

    Args:
        diagnostics: whether diagnostics runs may be claimed.
        first: priority to prefer in this claim.
        account_runs: maximum number of active runs of an account, 0 for no limit.
        missing_runtimes: folders of runtimes that this machine does not have; their runs are skipped.
    """
    if account_runs:
        lock_claims(session)
    conditions = _claim_conditions(now, account_runs, missing_runtimes)
    if not diagnostics:
        conditions.append(Run.priority != Priority.DIAGNOSTICS)
    row = None
    if first is not None:
        row = _take_first(session, [*conditions, Run.priority == first], owner, now, lease_seconds)
    if row is None:
        row = _take_first(session, conditions, owner, now, lease_seconds)
    if row is None:
        return None
    claimed = Claim(run_id=row.id, attempt=row.attempt, owner=owner, type=RunType(row.type))
    reason = Reason(code="running", facts={"attempt": claimed.attempt})
    add_status(session, claimed.run_id, RunState.RUNNING, reason, now)
    due = row.not_before
    account_id = row.account_id
    run_events.claimed(
        session, claimed.run_id, claimed.attempt, claimed.type, account_id=account_id, owner=owner, due=due, now=now
    )
    return claimed


def _claim_conditions(
    now: datetime, account_runs: int, missing_runtimes: Collection[str]
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions for a run to be claimed."""
    # Suspension withdraws existing runs; one queued concurrently stays pending.
    is_suspended = sa.exists().where(Account.id == Run.account_id, Account.suspended_at.is_not(None))
    conditions = [Run.state == RunState.PENDING, Run.not_before <= now, ~is_suspended]
    if missing_runtimes:
        in_missing = sa.select(Pickle.id).join(Runtime).where(Runtime.folder.in_(missing_runtimes))
        conditions.append(Run.pickle_id.is_(None) | Run.pickle_id.not_in(in_missing))
    if account_runs:
        conditions.append(is_below_account_limit(account_runs))
    return conditions


def _take_first(
    session: Session, conditions: list[sa.ColumnElement[bool]], owner: str, now: datetime, lease_seconds: float
) -> sa.Row[str, int, str, datetime, str | None] | None:
    candidate = (
        sa.select(Run.id)
        .where(*conditions)
        .order_by(Run.priority, Run.rank, Run.inserted_at, Run.position)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return session.execute(
        sa.update(Run)
        .where(Run.id == candidate)
        .values(
            state=RunState.RUNNING,
            attempt=Run.attempt + 1,
            lease_owner=owner,
            lease_expires_at=now + timedelta(seconds=lease_seconds),
            updated_at=now,
        )
        .returning(Run.id, Run.attempt, Run.type, Run.not_before, Run.account_id)
        .execution_options(synchronize_session=False)
    ).first()


def find_lost_claims(session: Session, claims: Collection[Claim]) -> set[str]:
    """Return the runs whose claims are lost: cancelled, withdrawn or claimed by another worker.

    Runs that ended under their claim are not included.
    """
    attempts = {claimed.run_id: claimed.attempt for claimed in claims}
    rows = session.execute(sa.select(Run.id, Run.attempt).where(Run.id.in_(attempts)))
    valid = {row.id for row in rows if row.attempt == attempts[row.id]}
    return set(attempts) - valid


def renew(session: Session, claimed: Claim, now: datetime, lease_seconds: float) -> bool:
    """Renew the lease; return False if the claim is lost."""
    return _update(session, claimed, {"lease_expires_at": now + timedelta(seconds=lease_seconds)})


def advance(
    session: Session, claimed: Claim, to: RunState, reason: Reason, now: datetime, failure_code: str | None = None
) -> bool:
    """Change the state of the claimed run; return False, without changes, if the claim is lost.

    Idempotent, because a commit may succeed although the connection is lost.

    Raises:
        ValueError: the transition is not allowed.
    """
    current = session.scalar(
        sa.select(Run.state).where(Run.id == claimed.run_id, Run.attempt == claimed.attempt).with_for_update()
    )
    if current is None or RunState(current) not in CLAIMED:
        return False
    if current == to:
        return True
    if to not in RUN_TRANSITIONS[RunState(current)]:
        raise ValueError(f"a run can't go from {current} to {to}")
    values: dict[str, object] = {"state": to, "updated_at": now, "failure_code": failure_code}
    if to.is_final:
        values |= {"lease_owner": None, "lease_expires_at": None}
    if not _update(session, claimed, values):
        return False
    add_status(session, claimed.run_id, to, reason, now)
    if to.is_final:
        run_events.ended(session, claimed.run_id, claimed.attempt, claimed.type, to, failure_code)
    return True


def record_usage(session: Session, claimed: Claim, report: RunReport) -> bool:
    """Store the resource usage of the run and update the forecast; return False if the claim is lost."""
    used: dict[str, object] = {
        "used_seconds": report.limited_seconds if report.stages else None,
        "peak_memory_bytes": report.peak_memory_bytes or None,
    }
    if not _update(session, claimed, used):
        return False
    run_events.used(session, claimed.type, report)
    pickle_id = session.scalar(sa.select(Run.pickle_id).where(Run.id == claimed.run_id))
    if report.stages and pickle_id is not None and claimed.type is not RunType.DIAGNOSTICS:
        update_forecast(session, pickle_id, sum(report.stages.values()))
    return True


def retry(
    session: Session,
    claimed: Claim,
    reason: Reason,
    now: datetime,
    *,
    wait_seconds: float,
    max_attempts: int,
    is_outage: bool = False,
) -> bool:
    """Record an Error of the platform and requeue the run, until it has failed `max_attempts` times.

    The delay is `wait_seconds` and doubles with each failure, up to a minute. Outages, which affect all runs, do not
    count as failures, up to a limit.

    Returns:
        Whether the run will be retried.
    """
    if not advance(session, claimed, RunState.ERROR, reason, now, failure_code=PLATFORM):
        return False
    run = session.get_one(Run, claimed.run_id, populate_existing=True)
    if not is_outage:
        run.failures += 1
    uncounted = run.attempt - run.failures
    if run.failures >= max_attempts or (is_outage and uncounted > _MAX_OUTAGE_RETRIES):
        notify_run(session, run, Event.RUN_FAILED, now)
        return False
    doublings = (uncounted if is_outage else run.failures) - 1
    wait = min(wait_seconds * 2 ** min(doublings, 20), MAX_WAIT_SECONDS)
    retried = Reason(code="retried", facts={"attempt": run.attempt + 1})
    requeue(session, run, retried, now, wait_seconds=wait)
    run_events.retried(session, run.id, run.attempt + 1)
    return True


def requeue_claim(
    session: Session, claimed: Claim, reason: Reason, waits_for: Reason, now: datetime, *, wait_seconds: float = 0
) -> bool:
    """Requeue a run that was stopped before its end, due after the delay; this does not count as a failure."""
    if not advance(session, claimed, RunState.ERROR, reason, now, failure_code=PLATFORM):
        return False
    run = session.get_one(Run, claimed.run_id, populate_existing=True)
    requeue(session, run, waits_for, now, wait_seconds=wait_seconds)
    return True


def has_due_run(
    session: Session, now: datetime, *, account_runs: int = 0, missing_runtimes: Collection[str] = ()
) -> bool:
    """Return whether `claim` would find a round or validation run with the same limits."""
    conditions = _claim_conditions(now, account_runs, missing_runtimes)
    query = sa.select(Run.id).where(*conditions, Run.type != RunType.DIAGNOSTICS).limit(1)
    return session.scalar(query) is not None


def requeue(session: Session, run: Run, reason: Reason, now: datetime, *, wait_seconds: float = 0) -> None:
    """Change the state from Error to Pending, due after the delay."""
    run.state = RunState.PENDING
    run.not_before = now + timedelta(seconds=wait_seconds)
    run.updated_at = now
    run.failure_code = None
    session.flush()
    add_status(session, run.id, RunState.PENDING, reason, now)


def end_pending(session: Session, run: Run, reason: Reason, now: datetime) -> None:
    """End a pending run that has nothing left to run."""
    if RunState(run.state) is not RunState.PENDING:
        raise ValueError(f"a run that is {run.state} can't be ended without a run")
    run.state = RunState.ERROR
    run.updated_at = now
    session.flush()
    add_status(session, run.id, RunState.ERROR, reason, now)
    run_events.ended(session, run.id, run.attempt, RunType(run.type), RunState.ERROR, None)


def fail_pending(session: Session, run: Run, failure: ModelFailure, now: datetime) -> None:
    """Fail a pending run without running it, and append the failure to its log."""
    if RunState(run.state) is not RunState.PENDING:
        raise ValueError(f"a run that is {run.state} can't fail without a run")
    run.state, run.failure_code, run.updated_at = RunState.FAILED, failure.code, now
    log_failure(session, run.id, run.attempt, failure, now)
    add_status(session, run.id, RunState.FAILED, Reason.of_failure(failure), now)
    notify_run(session, run, Event.RUN_FAILED, now)
    run_events.ended(session, run.id, run.attempt, RunType(run.type), RunState.FAILED, failure.code)


def update_reason(session: Session, claimed: Claim, reason: Reason) -> None:
    """Replace the reason of the newest history entry of the claimed run, while it is active."""
    if _update(session, claimed, {"type": claimed.type}):
        set_reason(newest_status(session, claimed.run_id), reason)
        session.flush()


def withdraw(session: Session, run: Run, reason: Reason, now: datetime) -> None:
    """End a run as Error and cancel its active run."""
    _end_active(session, run, RunState.ERROR, reason, now)


def cancel(session: Session, run: Run, failure: ModelFailure, now: datetime) -> bool:
    """End a run on request; its active run is cancelled, its log remains.

    Returns:
        False, and nothing is changed, when it has ended already.
    """
    attempt = run.attempt
    if not _end_active(session, run, RunState.FAILED, Reason.of_failure(failure), now, failure.code):
        return False
    log_failure(session, run.id, attempt, failure, now)
    return True


def _end_active(
    session: Session, run: Run, to: RunState, reason: Reason, now: datetime, code: str | None = None
) -> bool:
    if RunState(run.state).is_final:
        return False
    attempt = run.attempt
    run.state, run.failure_code = to, code
    run.attempt += 1
    run.lease_owner = run.lease_expires_at = None
    run.updated_at = now
    session.flush()
    add_status(session, run.id, to, reason, now)
    kind = RunType(run.type)
    run_events.ended(session, run.id, attempt, kind, to, code or "withdrawn")
    return True


def _update(session: Session, claimed: Claim, values: dict[str, object]) -> bool:
    result = session.execute(
        sa.update(Run)
        .where(
            Run.id == claimed.run_id,
            Run.attempt == claimed.attempt,
            Run.state.in_(CLAIMED),
        )
        .values(**values)
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    )
    return result.first() is not None
