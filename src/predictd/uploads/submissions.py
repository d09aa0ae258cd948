"""Accepting predictions as submissions: the newest valid one wins until the round closes."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Model, Round, Submission
from predictd.db.rounds import status_of
from predictd.domain.states import RoundStatus, SubmissionStatus


@dataclass(frozen=True, kw_only=True)
class StoredPredictions:
    """Checked predictions in a file: where it lies, its name for people and how many rows it has."""

    key: str
    filename: str
    row_count: int


def accept(
    session: Session,
    model: Model,
    round_: Round,
    predictions: StoredPredictions,
    *,
    now: datetime,
    trigger_id: str | None = None,
    source: str | None = None,
    data_datestamp: int | None = None,
    notes: str | None = None,
) -> Submission:
    """Make checked predictions the model's submission for the round; `notes` are for its owner.

    In time they replace what was selected before; after the close they are kept as late and queued for the next round,
    in place of what was queued before.
    """
    # The model's row is the lock: two submissions of one model replace each other one after the other.
    session.execute(sa.select(Model.id).where(Model.id == model.id).with_for_update())
    is_on_time = status_of(round_, now) is RoundStatus.OPEN
    late = None if is_on_time else f"Arrived after round {round_.number} closed: kept as late, queued for the next."
    flag = Submission.selected if is_on_time else Submission.is_queued
    session.execute(
        sa.update(Submission)
        .where(Submission.model_id == model.id, flag, *([Submission.round_id == round_.id] if is_on_time else []))
        .values({flag: False})
    )
    submission = Submission(
        account_id=model.account_id,
        model_id=model.id,
        round_id=round_.id,
        trigger_id=trigger_id,
        filename=predictions.filename,
        storage_key=predictions.key,
        status=SubmissionStatus.ON_TIME if is_on_time else SubmissionStatus.LATE,
        selected=is_on_time,
        is_queued=not is_on_time,
        row_count=predictions.row_count,
        data_datestamp=data_datestamp,
        source=source,
        notes=" ".join(filter(None, (notes, late))) or None,
        inserted_at=now,
    )
    session.add(submission)
    session.flush()
    return submission
