"""What waits in the queue, what runs where, and what the platform failed at of late."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from predictd.db.models import Trigger, TriggerStatus
from predictd.db.stored_files import StoredFile
from predictd.domain.reasons import NO_OPEN_ROUND
from predictd.domain.states import CLAIMED, TriggerState, TriggerType

# So far back in the history errors are looked for; a look at all of it would cost more with every run.
_LAST_STEPS = 50_000


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The pending triggers of a type: how many, how many of them are due, and since when the oldest of these is."""

    type: TriggerType
    count: int
    due: int
    oldest_due_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a claimed trigger is, as the owner of its lease says: the server, its process, and the worker in it."""

    server: str
    pid: str
    slot: str

    @classmethod
    def of(cls, owner: str | None) -> "Place":
        """Read `SERVER/PID/SLOT`; what is missing is empty."""
        server, _, rest = (owner or "").partition("/")
        pid, _, slot = rest.partition("/")
        return cls(server=server, pid=pid, slot=slot)


def list_waiting(session: Session, now: datetime) -> list[Waiting]:
    """What is pending, by type; also the types of which nothing is."""
    is_due = Trigger.not_before <= now
    rows = session.execute(
        sa.select(
            Trigger.type,
            sa.func.count(),
            sa.func.sum(sa.case((is_due, 1), else_=0)),
            sa.func.min(sa.case((is_due, Trigger.not_before))),
        )
        .where(Trigger.state == TriggerState.PENDING)
        .group_by(Trigger.type)
    )
    found = {row[0]: row for row in rows}
    return [
        Waiting(
            type=kind,
            count=found[kind][1] if kind in found else 0,
            due=found[kind][2] if kind in found else 0,
            oldest_due_at=found[kind][3] if kind in found else None,
        )
        for kind in TriggerType
    ]


def list_running(session: Session, limit: int | None = None) -> Sequence[Trigger]:
    """What is claimed, the longest first, with its pickle."""
    found = (
        sa.select(Trigger)
        .where(Trigger.state.in_(CLAIMED))
        .order_by(Trigger.updated_at)
        .options(joinedload(Trigger.pickle), joinedload(Trigger.round))
    )
    return session.scalars(found.limit(limit) if limit is not None else found).all()


def count_running(session: Session) -> dict[tuple[str, str], int]:
    """How many triggers are claimed, by server and type."""
    rows = session.execute(
        sa.select(Trigger.lease_owner, Trigger.type, sa.func.count())
        .where(Trigger.state.in_(CLAIMED))
        .group_by(Trigger.lease_owner, Trigger.type)
    )
    counts: dict[tuple[str, str], int] = {}
    for owner, kind, count in rows:
        key = (Place.of(owner).server, kind)
        counts[key] = counts.get(key, 0) + count
    return counts


def count_of_round(session: Session, round_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many runs of each of the rounds are in which state."""
    rows = session.execute(
        sa.select(Trigger.round_id, Trigger.state, sa.func.count())
        .where(Trigger.round_id.in_(round_ids))
        .group_by(Trigger.round_id, Trigger.state)
    )
    counts: dict[str, dict[str, int]] = {one: {} for one in round_ids}
    for round_id, state, count in rows:
        counts[str(round_id)][state] = count
    return counts


def list_errors(session: Session, limit: int) -> Sequence[tuple[TriggerStatus, Trigger]]:
    """Return the newest errors of the platform in the histories of triggers, with these triggers."""
    newest = session.scalar(sa.select(sa.func.max(TriggerStatus.sequence))) or 0
    rows = session.execute(
        sa.select(TriggerStatus, Trigger)
        .join(Trigger, Trigger.id == TriggerStatus.trigger_id)
        .where(
            TriggerStatus.sequence > newest - _LAST_STEPS,
            TriggerStatus.status == TriggerState.ERROR,
            TriggerStatus.code != NO_OPEN_ROUND,
        )
        .options(joinedload(Trigger.pickle))
        .order_by(TriggerStatus.sequence.desc())
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]


def storage_of(session: Session, account_ids: Sequence[str]) -> dict[str, int]:
    """Return the bytes that each of the accounts has in storage, as its quota counts them."""
    rows = session.execute(
        sa.select(StoredFile.account_id, sa.func.sum(StoredFile.size_bytes))
        .where(StoredFile.account_id.in_(account_ids))
        .group_by(StoredFile.account_id)
    )
    return dict.fromkeys(account_ids, 0) | {row[0]: int(row[1]) for row in rows}
