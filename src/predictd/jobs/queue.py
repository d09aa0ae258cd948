"""The queue of triggers.

A worker claims the first pending trigger (see `scheduling`) under a lease and reports for the attempt that it claimed.
Reports for any other attempt change nothing, because another worker may have taken over.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account, Pickle, Round, Runtime, Trigger, TriggerStatus
from predictd.db.types import new_id
from predictd.domain.failures import ModelFailure
from predictd.domain.notification_types import Event
from predictd.domain.reasons import PLATFORM, Reason
from predictd.domain.runs import RunReport
from predictd.domain.states import CLAIMED, TRIGGER_TRANSITIONS, TriggerState, TriggerType
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

# The longest delay of a retry; a trigger that is due later was queued before the clock was set back.
MAX_WAIT_SECONDS = 60.0
# Several days of an outage at that delay.
_MAX_OUTAGE_RETRIES = 5000


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An attempt that a worker claimed; its reports count only while it holds the claim."""

    trigger_id: str
    attempt: int
    owner: str
    type: TriggerType


def enqueue(
    session: Session,
    pickle: Pickle | None,
    kind: TriggerType,
    round_id: str | None,
    now: datetime,
    reason: Reason,
    *,
    account_id: str | None = None,
    diagnostics_id: str | None = None,
) -> Trigger:
    """Add a pending trigger with the first entry of its history.

    Without a pickle it scores an uploaded file of the account `account_id`.
    """
    trigger = Trigger(
        pickle_id=pickle.id if pickle is not None else None,
        account_id=pickle.account_id if pickle is not None else account_id,
        diagnostics_id=diagnostics_id,
        round_id=round_id,
        type=kind,
        state=TriggerState.PENDING,
        not_before=now,
        inserted_at=now,
        updated_at=now,
    )
    set_queue_order(session, trigger, pickle)
    session.add(trigger)
    session.flush()
    add_status(session, trigger.id, TriggerState.PENDING, reason, now)
    run_events.queued(session, trigger)
    return trigger


def enqueue_round(session: Session, pickles: Sequence[Pickle], round_: Round, now: datetime, reason: Reason) -> None:
    """Add a pending trigger for each pickle of a round; thousands take about a second."""
    common = {
        "round_id": round_.id,
        "type": TriggerType.LIVE,
        "state": TriggerState.PENDING,
        "attempt": 0,
        "failures": 0,
        "log_dropped_bytes": 0,
        "not_before": now,
        "inserted_at": now,
        "updated_at": now,
    }
    triggers = [
        {"id": new_id(), "pickle_id": pickle.id, "account_id": pickle.account_id, **common, **columns}
        for pickle, columns in order_round(round_, pickles)
    ]
    if not triggers:
        return
    session.execute(sa.insert(Trigger), triggers)
    step = {
        "status": TriggerState.PENDING,
        "code": reason.code,
        "facts": reason.row_facts,
        "inserted_at": now,
    }
    steps = [{"id": new_id(), "trigger_id": trigger["id"], **step} for trigger in triggers]
    session.execute(sa.insert(TriggerStatus), steps)


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
    """Claim the first due trigger; return None if there is none.

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
        conditions.append(Trigger.priority != Priority.DIAGNOSTICS)
    row = None
    if first is not None:
        row = _take_first(session, [*conditions, Trigger.priority == first], owner, now, lease_seconds)
    if row is None:
        row = _take_first(session, conditions, owner, now, lease_seconds)
    if row is None:
        return None
    claimed = Claim(trigger_id=row.id, attempt=row.attempt, owner=owner, type=TriggerType(row.type))
    reason = Reason(code="running", facts={"attempt": claimed.attempt})
    add_status(session, claimed.trigger_id, TriggerState.RUNNING, reason, now)
    due = row.not_before
    account_id = row.account_id
    run_events.claimed(
        session, claimed.trigger_id, claimed.attempt, claimed.type, account_id=account_id, owner=owner, due=due, now=now
    )
    return claimed


def _claim_conditions(
    now: datetime, account_runs: int, missing_runtimes: Collection[str]
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions for a trigger to be claimed."""
    # Suspension withdraws existing triggers; one queued concurrently stays pending.
    is_suspended = sa.exists().where(Account.id == Trigger.account_id, Account.suspended_at.is_not(None))
    conditions = [Trigger.state == TriggerState.PENDING, Trigger.not_before <= now, ~is_suspended]
    if missing_runtimes:
        in_missing = sa.select(Pickle.id).join(Runtime).where(Runtime.folder.in_(missing_runtimes))
        conditions.append(Trigger.pickle_id.is_(None) | Trigger.pickle_id.not_in(in_missing))
    if account_runs:
        conditions.append(is_below_account_limit(account_runs))
    return conditions


def _take_first(
    session: Session, conditions: list[sa.ColumnElement[bool]], owner: str, now: datetime, lease_seconds: float
) -> sa.Row[str, int, str, datetime, str | None] | None:
    candidate = (
        sa.select(Trigger.id)
        .where(*conditions)
        .order_by(Trigger.priority, Trigger.rank, Trigger.inserted_at, Trigger.position)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return session.execute(
        sa.update(Trigger)
        .where(Trigger.id == candidate)
        .values(
            state=TriggerState.RUNNING,
            attempt=Trigger.attempt + 1,
            lease_owner=owner,
            lease_expires_at=now + timedelta(seconds=lease_seconds),
            updated_at=now,
        )
        .returning(Trigger.id, Trigger.attempt, Trigger.type, Trigger.not_before, Trigger.account_id)
        .execution_options(synchronize_session=False)
    ).first()


def find_lost_claims(session: Session, claims: Collection[Claim]) -> set[str]:
    """Return the triggers whose claims are lost: cancelled, withdrawn or claimed by another worker.

    Triggers that ended under their claim are not included.
    """
    attempts = {claimed.trigger_id: claimed.attempt for claimed in claims}
    rows = session.execute(sa.select(Trigger.id, Trigger.attempt).where(Trigger.id.in_(attempts)))
    valid = {row.id for row in rows if row.attempt == attempts[row.id]}
    return set(attempts) - valid


def renew(session: Session, claimed: Claim, now: datetime, lease_seconds: float) -> bool:
    """Renew the lease; return False if the claim is lost."""
    return _update(session, claimed, {"lease_expires_at": now + timedelta(seconds=lease_seconds)})


def advance(
    session: Session, claimed: Claim, to: TriggerState, reason: Reason, now: datetime, failure_code: str | None = None
) -> bool:
    """Change the state of the claimed trigger; return False, without changes, if the claim is lost.

    Idempotent, because a commit may succeed although the connection is lost.

    Raises:
        ValueError: the transition is not allowed.
    """
    current = session.scalar(
        sa.select(Trigger.state)
        .where(Trigger.id == claimed.trigger_id, Trigger.attempt == claimed.attempt)
        .with_for_update()
    )
    if current is None or TriggerState(current) not in CLAIMED:
        return False
    if current == to:
        return True
    if to not in TRIGGER_TRANSITIONS[TriggerState(current)]:
        raise ValueError(f"a trigger can't go from {current} to {to}")
    values: dict[str, object] = {"state": to, "updated_at": now, "failure_code": failure_code}
    if to.is_final:
        values |= {"lease_owner": None, "lease_expires_at": None}
    if not _update(session, claimed, values):
        return False
    add_status(session, claimed.trigger_id, to, reason, now)
    if to.is_final:
        run_events.ended(session, claimed.trigger_id, claimed.attempt, claimed.type, to, failure_code)
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
    pickle_id = session.scalar(sa.select(Trigger.pickle_id).where(Trigger.id == claimed.trigger_id))
    if report.stages and pickle_id is not None and claimed.type is not TriggerType.DIAGNOSTICS:
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
    """Record an Error of the platform and requeue the trigger, until it has failed `max_attempts` times.

    The delay is `wait_seconds` and doubles with each failure, up to a minute. Outages, which affect all runs, do not
    count as failures, up to a limit.

    Returns:
        Whether the trigger will be retried.
    """
    if not advance(session, claimed, TriggerState.ERROR, reason, now, failure_code=PLATFORM):
        return False
    trigger = session.get_one(Trigger, claimed.trigger_id, populate_existing=True)
    if not is_outage:
        trigger.failures += 1
    uncounted = trigger.attempt - trigger.failures
    if trigger.failures >= max_attempts or (is_outage and uncounted > _MAX_OUTAGE_RETRIES):
        notify_run(session, trigger, Event.RUN_FAILED, now)
        return False
    doublings = (uncounted if is_outage else trigger.failures) - 1
    wait = min(wait_seconds * 2 ** min(doublings, 20), MAX_WAIT_SECONDS)
    retried = Reason(code="retried", facts={"attempt": trigger.attempt + 1})
    requeue(session, trigger, retried, now, wait_seconds=wait)
    run_events.retried(session, trigger.id, trigger.attempt + 1)
    return True


def requeue_claim(
    session: Session, claimed: Claim, reason: Reason, waits_for: Reason, now: datetime, *, wait_seconds: float = 0
) -> bool:
    """Requeue a run that was stopped before its end, due after the delay; this does not count as a failure."""
    if not advance(session, claimed, TriggerState.ERROR, reason, now, failure_code=PLATFORM):
        return False
    trigger = session.get_one(Trigger, claimed.trigger_id, populate_existing=True)
    requeue(session, trigger, waits_for, now, wait_seconds=wait_seconds)
    return True


def has_due_run(
    session: Session, now: datetime, *, account_runs: int = 0, missing_runtimes: Collection[str] = ()
) -> bool:
    """Return whether `claim` would find a round or validation run with the same limits."""
    conditions = _claim_conditions(now, account_runs, missing_runtimes)
    query = sa.select(Trigger.id).where(*conditions, Trigger.type != TriggerType.DIAGNOSTICS).limit(1)
    return session.scalar(query) is not None


def requeue(session: Session, trigger: Trigger, reason: Reason, now: datetime, *, wait_seconds: float = 0) -> None:
    """Change the state from Error to Pending, due after the delay."""
    trigger.state = TriggerState.PENDING
    trigger.not_before = now + timedelta(seconds=wait_seconds)
    trigger.updated_at = now
    trigger.failure_code = None
    session.flush()
    add_status(session, trigger.id, TriggerState.PENDING, reason, now)


def end_pending(session: Session, trigger: Trigger, reason: Reason, now: datetime) -> None:
    """End a pending trigger that has nothing left to run."""
    if TriggerState(trigger.state) is not TriggerState.PENDING:
        raise ValueError(f"a trigger that is {trigger.state} can't be ended without a run")
    trigger.state = TriggerState.ERROR
    trigger.updated_at = now
    session.flush()
    add_status(session, trigger.id, TriggerState.ERROR, reason, now)
    run_events.ended(session, trigger.id, trigger.attempt, TriggerType(trigger.type), TriggerState.ERROR, None)


def fail_pending(session: Session, trigger: Trigger, failure: ModelFailure, now: datetime) -> None:
    """Fail a pending trigger without running it, and append the failure to its log."""
    if TriggerState(trigger.state) is not TriggerState.PENDING:
        raise ValueError(f"a trigger that is {trigger.state} can't fail without a run")
    trigger.state, trigger.failure_code, trigger.updated_at = TriggerState.FAILED, failure.code, now
    log_failure(session, trigger.id, trigger.attempt, failure, now)
    add_status(session, trigger.id, TriggerState.FAILED, Reason.of_failure(failure), now)
    notify_run(session, trigger, Event.RUN_FAILED, now)
    kind = TriggerType(trigger.type)
    run_events.ended(session, trigger.id, trigger.attempt, kind, TriggerState.FAILED, failure.code)


def update_reason(session: Session, claimed: Claim, reason: Reason) -> None:
    """Replace the reason of the newest history entry of the claimed trigger, while it is active."""
    if _update(session, claimed, {"type": claimed.type}):
        set_reason(newest_status(session, claimed.trigger_id), reason)
        session.flush()


def withdraw(session: Session, trigger: Trigger, reason: Reason, now: datetime) -> None:
    """End a trigger as Error and cancel its active run."""
    _end_active(session, trigger, TriggerState.ERROR, reason, now)


def cancel(session: Session, trigger: Trigger, failure: ModelFailure, now: datetime) -> bool:
    """End a trigger on request; its active run is cancelled, its log remains.

    Returns:
        False, and nothing is changed, when it has ended already.
    """
    attempt = trigger.attempt
    if not _end_active(session, trigger, TriggerState.FAILED, Reason.of_failure(failure), now, failure.code):
        return False
    log_failure(session, trigger.id, attempt, failure, now)
    return True


def _end_active(
    session: Session, trigger: Trigger, to: TriggerState, reason: Reason, now: datetime, code: str | None = None
) -> bool:
    if TriggerState(trigger.state).is_final:
        return False
    attempt = trigger.attempt
    trigger.state, trigger.failure_code = to, code
    trigger.attempt += 1
    trigger.lease_owner = trigger.lease_expires_at = None
    trigger.updated_at = now
    session.flush()
    add_status(session, trigger.id, to, reason, now)
    kind = TriggerType(trigger.type)
    run_events.ended(session, trigger.id, attempt, kind, to, code or "withdrawn")
    return True


def _update(session: Session, claimed: Claim, values: dict[str, object]) -> bool:
    result = session.execute(
        sa.update(Trigger)
        .where(
            Trigger.id == claimed.trigger_id,
            Trigger.attempt == claimed.attempt,
            Trigger.state.in_(CLAIMED),
        )
        .values(**values)
        .returning(Trigger.id)
        .execution_options(synchronize_session=False)
    )
    return result.first() is not None
