"""The queue: a trigger with its history is the job.

A worker claims the first pending trigger (`order` says which that is) under a lease and reports under the attempt that
it claimed; a report of any other attempt changes nothing, because another worker may have taken over in the meantime.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account, Pickle, Round, Runtime, Trigger, TriggerStatus
from predictd.db.types import new_id
from predictd.domain.failures import ModelFailure
from predictd.domain.notices import Event
from predictd.domain.reasons import PLATFORM, Reason
from predictd.domain.runs import RunReport
from predictd.domain.states import CLAIMED, TRIGGER_TRANSITIONS, TriggerState, TriggerType
from predictd.jobs import events
from predictd.jobs.scheduling import Priority, has_room, learn, put_in_order, put_round_in_order, take_turns
from predictd.jobs.status_history import log_failure, newest_step, record_step, set_reason
from predictd.notifications.outbox import tell_of_run

# However often something failed, it is tried again so soon; what is due later was queued by a clock that was set back.
LONGEST_WAIT_SECONDS = 60.0
# With that wait, some days of an outage.
_MOST_OUTAGES = 5000


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
    reason: Reason,
    *,
    account_id: str | None = None,
    diagnostics_id: str | None = None,
) -> Trigger:
    """Add a pending trigger, of a pickle unless it scores an uploaded file, with the first line of its history.

    `account_id` says whose it is where there is no pickle.
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
    put_in_order(session, trigger, pickle)
    session.add(trigger)
    session.flush()
    record_step(session, trigger.id, TriggerState.PENDING, reason, now)
    events.queued(session, trigger)
    return trigger


def enqueue_round(session: Session, pickles: Sequence[Pickle], round_: Round, now: datetime, reason: Reason) -> None:
    """Add a pending trigger of each pickle for a round that opens; thousands take about a second."""
    common = {
        "round_id": round_.id,
        "type": TriggerType.LIVE,
        "state": TriggerState.PENDING,
        "attempt": 0,
        "failures": 0,
        "log_cut_bytes": 0,
        "not_before": now,
        "inserted_at": now,
        "updated_at": now,
    }
    triggers = [
        {"id": new_id(), "pickle_id": pickle.id, "account_id": pickle.account_id, **common, **columns}
        for pickle, columns in put_round_in_order(round_, pickles)
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
    """Take the first pending trigger that is due, or None.

    No two workers ever get the same attempt.

    Args:
        diagnostics: whether those may be taken too; else they are left to others.
        first: what is taken before everything else, this once.
        account_runs: runs of one account at once, 0 for any number; accounts that have so many are passed over.
        missing_runtimes: folders of runtimes whose runs are left to others.
    """
    if account_runs:
        take_turns(session)
    wanted = _claimable(now, account_runs, missing_runtimes)
    if not diagnostics:
        wanted.append(Trigger.priority != Priority.DIAGNOSTICS)
    row = None
    if first is not None:
        row = _take_first(session, [*wanted, Trigger.priority == first], owner, now, lease_seconds)
    if row is None:
        row = _take_first(session, wanted, owner, now, lease_seconds)
    if row is None:
        return None
    claimed = Claim(trigger_id=row.id, attempt=row.attempt, owner=owner, type=TriggerType(row.type))
    reason = Reason(code="running", facts={"attempt": claimed.attempt})
    record_step(session, claimed.trigger_id, TriggerState.RUNNING, reason, now)
    due = row.not_before
    whose = row.account_id
    events.claimed(
        session, claimed.trigger_id, claimed.attempt, claimed.type, account_id=whose, owner=owner, due=due, now=now
    )
    return claimed


def _claimable(now: datetime, account_runs: int, missing_runtimes: Collection[str]) -> list[sa.ColumnElement[bool]]:
    """What a trigger must be for somebody with these limits to claim it."""
    # Suspending withdraws what it sees; what was queued in that moment waits.
    is_suspended = sa.exists().where(Account.id == Trigger.account_id, Account.suspended_at.is_not(None))
    wanted = [Trigger.state == TriggerState.PENDING, Trigger.not_before <= now, ~is_suspended]
    if missing_runtimes:
        in_these = sa.select(Pickle.id).join(Runtime).where(Runtime.folder.in_(missing_runtimes))
        wanted.append(Trigger.pickle_id.is_(None) | Trigger.pickle_id.not_in(in_these))
    if account_runs:
        wanted.append(has_room(account_runs))
    return wanted


def _take_first(
    session: Session, wanted: list[sa.ColumnElement[bool]], owner: str, now: datetime, lease_seconds: float
) -> sa.Row[str, int, str, datetime, str | None] | None:
    candidate = (
        sa.select(Trigger.id)
        .where(*wanted)
        .order_by(Trigger.priority, Trigger.rank, Trigger.inserted_at, Trigger.place)
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


def lost(session: Session, claims: Collection[Claim]) -> set[str]:
    """The triggers among the claimed that are not these claims' any more: cancelled, withdrawn or taken over.

    One query for all of them. A trigger that has ended under its claim is not among them.
    """
    attempts = {one.trigger_id: one.attempt for one in claims}
    found = session.execute(sa.select(Trigger.id, Trigger.attempt).where(Trigger.id.in_(attempts)))
    held = {row.id for row in found if row.attempt == attempts[row.id]}
    return set(attempts) - held


def renew(session: Session, claimed: Claim, now: datetime, lease_seconds: float) -> bool:
    """Keep the lease; False says that it is lost and that the run counts no more."""
    return _update(session, claimed, {"lease_expires_at": now + timedelta(seconds=lease_seconds)})


def advance(
    session: Session, claimed: Claim, to: TriggerState, reason: Reason, now: datetime, failure_code: str | None = None
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
    record_step(session, claimed.trigger_id, to, reason, now)
    if to.is_final:
        events.ended(session, claimed.trigger_id, claimed.attempt, claimed.type, to, failure_code)
    return True


def record_use(session: Session, claimed: Claim, report: RunReport) -> bool:
    """Keep what the run took of its limits; False, and nothing is kept, when the claim is no longer valid.

    The forecast of the pickle's next run learns from it.
    """
    used: dict[str, object] = {
        "used_seconds": report.limited_seconds if report.stages else None,
        "peak_memory_bytes": report.peak_memory_bytes or None,
    }
    if not _update(session, claimed, used):
        return False
    events.used(session, claimed.type, report)
    pickle_id = session.scalar(sa.select(Trigger.pickle_id).where(Trigger.id == claimed.trigger_id))
    if report.stages and pickle_id is not None and claimed.type is not TriggerType.DIAGNOSTICS:
        learn(session, pickle_id, sum(report.stages.values()))
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
    """Record an Error of the platform and put the trigger back, until it has failed `max_attempts` times.

    It waits for `wait_seconds`, and twice as long after each further failure, at most for a minute. An outage, which
    meets every run alike, does not count among the failures: the trigger waits for its end, though not for ever.

    Returns:
        Whether the trigger will be tried again.
    """
    if not advance(session, claimed, TriggerState.ERROR, reason, now, failure_code=PLATFORM):
        return False
    trigger = session.get_one(Trigger, claimed.trigger_id, populate_existing=True)
    if not is_outage:
        trigger.failures += 1
    others = trigger.attempt - trigger.failures
    if trigger.failures >= max_attempts or (is_outage and others > _MOST_OUTAGES):
        tell_of_run(session, trigger, Event.RUN_FAILED, now)
        return False
    doublings = (others if is_outage else trigger.failures) - 1
    wait = min(wait_seconds * 2 ** min(doublings, 20), LONGEST_WAIT_SECONDS)
    retried = Reason(code="retried", facts={"attempt": trigger.attempt + 1})
    put_back(session, trigger, retried, now, wait_seconds=wait)
    events.retried(session, trigger.id, trigger.attempt + 1)
    return True


def give_back(
    session: Session, claimed: Claim, reason: Reason, waits_for: Reason, now: datetime, *, wait_seconds: float = 0
) -> bool:
    """Put back a run that is stopped before its end, due after the wait; this counts as nobody's failure."""
    if not advance(session, claimed, TriggerState.ERROR, reason, now, failure_code=PLATFORM):
        return False
    trigger = session.get_one(Trigger, claimed.trigger_id, populate_existing=True)
    put_back(session, trigger, waits_for, now, wait_seconds=wait_seconds)
    return True


def is_waited_for(
    session: Session, now: datetime, *, account_runs: int = 0, missing_runtimes: Collection[str] = ()
) -> bool:
    """Whether a trigger is due that a round may wait for, and that `claim` would take with the same limits."""
    wanted = _claimable(now, account_runs, missing_runtimes)
    found = sa.select(Trigger.id).where(*wanted, Trigger.type != TriggerType.DIAGNOSTICS).limit(1)
    return session.scalar(found) is not None


def put_back(session: Session, trigger: Trigger, reason: Reason, now: datetime, *, wait_seconds: float = 0) -> None:
    """From Error back to Pending, due after the wait."""
    trigger.state = TriggerState.PENDING
    trigger.not_before = now + timedelta(seconds=wait_seconds)
    trigger.updated_at = now
    trigger.failure_code = None
    session.flush()
    record_step(session, trigger.id, TriggerState.PENDING, reason, now)


def end_at_once(session: Session, trigger: Trigger, reason: Reason, now: datetime) -> None:
    """End a pending trigger that there is nothing to run for."""
    if TriggerState(trigger.state) is not TriggerState.PENDING:
        raise ValueError(f"a trigger that is {trigger.state} can't be ended at once")
    trigger.state = TriggerState.ERROR
    trigger.updated_at = now
    session.flush()
    record_step(session, trigger.id, TriggerState.ERROR, reason, now)
    events.ended(session, trigger.id, trigger.attempt, TriggerType(trigger.type), TriggerState.ERROR, None)


def fail_at_once(session: Session, trigger: Trigger, failure: ModelFailure, now: datetime) -> None:
    """End a pending trigger of a pickle that need not be run to know how it fails; its log says so too."""
    if TriggerState(trigger.state) is not TriggerState.PENDING:
        raise ValueError(f"a trigger that is {trigger.state} can't fail at once")
    trigger.state, trigger.failure_code, trigger.updated_at = TriggerState.FAILED, failure.code, now
    log_failure(session, trigger.id, trigger.attempt, failure, now)
    record_step(session, trigger.id, TriggerState.FAILED, Reason.of_failure(failure), now)
    tell_of_run(session, trigger, Event.RUN_FAILED, now)
    kind = TriggerType(trigger.type)
    events.ended(session, trigger.id, trigger.attempt, kind, TriggerState.FAILED, failure.code)


def update_reason(session: Session, claimed: Claim, reason: Reason) -> None:
    """Replace the reason of the newest step in the claimed trigger's history, while it is active."""
    if _update(session, claimed, {"type": claimed.type}):
        set_reason(newest_step(session, claimed.trigger_id), reason)
        session.flush()


def withdraw(session: Session, trigger: Trigger, reason: Reason, now: datetime) -> None:
    """End a trigger that nobody wants any more; a run of it reports to nobody and is cancelled."""
    _take_away(session, trigger, TriggerState.ERROR, reason, now)


def cancel(session: Session, trigger: Trigger, failure: ModelFailure, now: datetime) -> bool:
    """End a trigger because somebody said so; what runs of it is ended, what it has printed is kept.

    Returns:
        False, and nothing is changed, when it has ended already.
    """
    attempt = trigger.attempt
    if not _take_away(session, trigger, TriggerState.FAILED, Reason.of_failure(failure), now, failure.code):
        return False
    log_failure(session, trigger.id, attempt, failure, now)
    return True


def _take_away(
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
    record_step(session, trigger.id, to, reason, now)
    kind = TriggerType(trigger.type)
    events.ended(session, trigger.id, attempt, kind, to, code or "withdrawn")
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
