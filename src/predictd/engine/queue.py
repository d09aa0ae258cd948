"""The queue: a trigger with its history is the job.

A worker claims the oldest pending trigger under a lease and reports under the attempt that it claimed; a report of any
other attempt changes nothing, because another worker may have taken over in the meantime.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.tables import Pickle, Runtime, Trigger, TriggerLog, TriggerStatus
from predictd.domain.failures import ModelFailure
from predictd.domain.runs import RunReport
from predictd.domain.states import TRIGGER_TRANSITIONS, TriggerState, TriggerType

NO_OPEN_ROUND = "No currently open rounds!"
# However often something failed, it is tried again so soon; what is due later was queued by a clock that was set back.
LONGEST_WAIT_SECONDS = 60.0
# With that wait, some days of an outage.
_MOST_OUTAGES = 5000
# Runs that may submit to a round come before those that no round waits for.
_PRIORITIES = {TriggerType.LIVE: 0, TriggerType.VALIDATION: 0, TriggerType.DIAGNOSTICS: 20}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A trigger that this worker may run: what it reports counts only while it holds this attempt."""

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
    description: str,
    *,
    diagnostics_id: str | None = None,
) -> Trigger:
    """Add a pending trigger, of a pickle unless it scores an uploaded file, with the first line of its history."""
    trigger = Trigger(
        pickle_id=pickle.id if pickle is not None else None,
        diagnostics_id=diagnostics_id,
        round_id=round_id,
        type=kind,
        priority=_PRIORITIES[kind],
        state=TriggerState.PENDING,
        not_before=now,
        inserted_at=now,
        updated_at=now,
    )
    session.add(trigger)
    session.flush()
    _record(session, trigger.id, TriggerState.PENDING, description, now)
    return trigger


def claim(
    session: Session,
    owner: str,
    now: datetime,
    lease_seconds: float,
    *,
    diagnostics: bool = True,
    missing_runtimes: Collection[str] = (),
) -> Claim | None:
    """Take the most urgent and oldest pending trigger that is due, or None.

    No two workers ever get the same attempt. Without `diagnostics`, those are left to others, and so are runs in the
    runtimes of the folders `missing_runtimes`.
    """
    wanted = [Trigger.state == TriggerState.PENDING, Trigger.not_before <= now]
    if not diagnostics:
        wanted.append(Trigger.type != TriggerType.DIAGNOSTICS)
    if missing_runtimes:
        in_these = sa.select(Pickle.id).join(Runtime).where(Runtime.folder.in_(missing_runtimes))
        wanted.append(Trigger.pickle_id.is_(None) | Trigger.pickle_id.not_in(in_these))
    candidate = (
        sa.select(Trigger.id)
        .where(*wanted)
        .order_by(Trigger.priority, Trigger.not_before, Trigger.inserted_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    row = session.execute(
        sa.update(Trigger)
        .where(Trigger.id == candidate)
        .values(
            state=TriggerState.RUNNING,
            attempt=Trigger.attempt + 1,
            lease_owner=owner,
            lease_expires_at=now + timedelta(seconds=lease_seconds),
            updated_at=now,
        )
        .returning(Trigger.id, Trigger.attempt, Trigger.type)
        .execution_options(synchronize_session=False)
    ).first()
    if row is None:
        return None
    claimed = Claim(trigger_id=row.id, attempt=row.attempt, owner=owner, type=TriggerType(row.type))
    note = "The model is running." if claimed.attempt == 1 else f"The model is running (attempt {claimed.attempt})."
    _record(session, claimed.trigger_id, TriggerState.RUNNING, note, now)
    return claimed


def renew(session: Session, claimed: Claim, now: datetime, lease_seconds: float) -> bool:
    """Keep the lease; False says that it is lost and that the run counts no more."""
    return _update(session, claimed, {"lease_expires_at": now + timedelta(seconds=lease_seconds)})


def advance(
    session: Session, claimed: Claim, to: TriggerState, description: str, now: datetime, code: str | None = None
) -> bool:
    """Move the claimed trigger on; False, and nothing changes, when the claim is no longer valid.

    Harmless where it has moved there already: whoever did not hear of a commit asks again.

    Raises:
        ValueError: the transition is not one of the product's.
    """
    current = session.scalar(
        sa.select(Trigger.state)
        .where(Trigger.id == claimed.trigger_id, Trigger.attempt == claimed.attempt)
        .with_for_update()
    )
    if current is None or TriggerState(current) not in (TriggerState.RUNNING, TriggerState.VALIDATING):
        return False
    if current == to:
        return True
    if to not in TRIGGER_TRANSITIONS[TriggerState(current)]:
        raise ValueError(f"a trigger can't go from {current} to {to}")
    values: dict[str, object] = {"state": to, "updated_at": now, "failure_code": code}
    if to.is_final:
        values |= {"lease_owner": None, "lease_expires_at": None}
    if not _update(session, claimed, values):
        return False
    _record(session, claimed.trigger_id, to, description, now)
    return True


def record_use(session: Session, claimed: Claim, report: RunReport) -> bool:
    """Keep what the run took of its limits; False, and nothing is kept, when the claim is no longer valid."""
    used: dict[str, object] = {
        "used_seconds": report.limited_seconds if report.stages else None,
        "peak_memory_bytes": report.peak_memory_bytes or None,
    }
    return _update(session, claimed, used)


def retry(
    session: Session,
    claimed: Claim,
    reason: str,
    now: datetime,
    *,
    wait_seconds: float,
    max_attempts: int,
    is_outage: bool = False,
) -> bool:
    """Record an Error of the platform and put the trigger back, until it has failed `max_attempts` times.

    It waits for `wait_seconds`, and twice as long after each further failure, at most for a minute. An outage, which
    meets every run alike, does not count among the failures: the trigger waits for its end, though not for ever.

    Returns:
        Whether the trigger will be tried again.
    """
    if not advance(session, claimed, TriggerState.ERROR, reason, now, code="platform"):
        return False
    trigger = session.get_one(Trigger, claimed.trigger_id, populate_existing=True)
    if not is_outage:
        trigger.failures += 1
    others = trigger.attempt - trigger.failures
    if trigger.failures >= max_attempts or (is_outage and others > _MOST_OUTAGES):
        return False
    doublings = (others if is_outage else trigger.failures) - 1
    wait = min(wait_seconds * 2 ** min(doublings, 20), LONGEST_WAIT_SECONDS)
    put_back(session, trigger, f"Tried again: attempt {trigger.attempt + 1}.", now, wait_seconds=wait)
    return True


def give_back(
    session: Session, claimed: Claim, reason: str, description: str, now: datetime, *, wait_seconds: float = 0
) -> bool:
    """Put back a run that is stopped before its end, due after the wait; this counts as nobody's failure."""
    if not advance(session, claimed, TriggerState.ERROR, reason, now, code="platform"):
        return False
    trigger = session.get_one(Trigger, claimed.trigger_id, populate_existing=True)
    put_back(session, trigger, description, now, wait_seconds=wait_seconds)
    return True


def is_waited_for(session: Session, now: datetime) -> bool:
    """Whether a trigger is due that a round may wait for."""
    due = [Trigger.state == TriggerState.PENDING, Trigger.not_before <= now]
    found = sa.select(Trigger.id).where(*due, Trigger.type != TriggerType.DIAGNOSTICS).limit(1)
    return session.scalar(found) is not None


def put_back(session: Session, trigger: Trigger, description: str, now: datetime, *, wait_seconds: float = 0) -> None:
    """From Error back to Pending, due after the wait."""
    trigger.state = TriggerState.PENDING
    trigger.not_before = now + timedelta(seconds=wait_seconds)
    trigger.updated_at = now
    trigger.failure_code = None
    session.flush()
    _record(session, trigger.id, TriggerState.PENDING, description, now)


def end_at_once(session: Session, trigger: Trigger, description: str, now: datetime) -> None:
    """End a pending trigger that there is nothing to run for."""
    if TriggerState(trigger.state) is not TriggerState.PENDING:
        raise ValueError(f"a trigger that is {trigger.state} can't be ended at once")
    trigger.state = TriggerState.ERROR
    trigger.updated_at = now
    session.flush()
    _record(session, trigger.id, TriggerState.ERROR, description, now)


def fail_at_once(session: Session, trigger: Trigger, failure: ModelFailure, now: datetime) -> None:
    """End a pending trigger of a pickle that need not be run to know how it fails; its log says so too."""
    if TriggerState(trigger.state) is not TriggerState.PENDING:
        raise ValueError(f"a trigger that is {trigger.state} can't fail at once")
    trigger.state, trigger.failure_code, trigger.updated_at = TriggerState.FAILED, failure.code, now
    told = f"[predictd] {failure.code}: {failure.describe()}"
    milliseconds = int(now.timestamp() * 1000)
    session.add(TriggerLog(trigger_id=trigger.id, attempt=trigger.attempt, timestamp=milliseconds, message=told))
    session.flush()
    _record(session, trigger.id, TriggerState.FAILED, failure.describe(), now)


def tell(session: Session, claimed: Claim, description: str) -> None:
    """Put other words to the newest step of the claimed trigger's history, while it is on its way."""
    newest = (
        sa.select(sa.func.max(TriggerStatus.sequence))
        .where(TriggerStatus.trigger_id == claimed.trigger_id)
        .scalar_subquery()
    )
    if _update(session, claimed, {"type": claimed.type}):
        session.execute(
            sa.update(TriggerStatus)
            .where(TriggerStatus.sequence == newest)
            .values(description=description)
            .execution_options(synchronize_session=False)
        )


def withdraw(session: Session, trigger: Trigger, description: str, now: datetime) -> None:
    """End a trigger that nobody wants any more; a run of it reports to nobody and is cancelled."""
    if TriggerState(trigger.state).is_final:
        return
    trigger.state = TriggerState.ERROR
    trigger.attempt += 1
    trigger.lease_owner = trigger.lease_expires_at = None
    trigger.updated_at = now
    session.flush()
    _record(session, trigger.id, TriggerState.ERROR, description, now)


def _update(session: Session, claimed: Claim, values: dict[str, object]) -> bool:
    result = session.execute(
        sa.update(Trigger)
        .where(
            Trigger.id == claimed.trigger_id,
            Trigger.attempt == claimed.attempt,
            Trigger.state.in_([TriggerState.RUNNING, TriggerState.VALIDATING]),
        )
        .values(**values)
        .returning(Trigger.id)
        .execution_options(synchronize_session=False)
    )
    return result.first() is not None


def _record(session: Session, trigger_id: str, status: TriggerState, description: str, now: datetime) -> None:
    session.add(TriggerStatus(trigger_id=trigger_id, status=status, description=description, inserted_at=now))
    session.flush()
