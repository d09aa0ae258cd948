"""Submissions: the latest valid one counts until the round closes."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Model, Round, Submission
from predictd.db.rounds import status_of
from predictd.domain.states import RoundStatus, SubmissionStatus


@dataclass(frozen=True, kw_only=True)
class StoredPredictions:
    """A file of checked predictions: its key, its display name, and its number of rows."""

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
    run_id: str | None = None,
    source: str | None = None,
    data_datestamp: int | None = None,
    notes: str | None = None,
) -> Submission:
    """Submit checked predictions for a model and a round; `notes` are shown to the account.

    On time, they replace the selected submission. After the close, they are stored as late and queued for the next
    round, where they replace a queued submission.
    """
    # The row of the model is the lock that serializes its submissions.
    session.execute(sa.select(Model.id).where(Model.id == model.id).with_for_update())
    is_on_time = status_of(round_, now) is RoundStatus.OPEN
    late_note = None if is_on_time else f"Received after round {round_.number} closed. Queued for the next round."
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
        run_id=run_id,
        filename=predictions.filename,
        storage_key=predictions.key,
        status=SubmissionStatus.ON_TIME if is_on_time else SubmissionStatus.LATE,
        selected=is_on_time,
        is_queued=not is_on_time,
        row_count=predictions.row_count,
        data_datestamp=data_datestamp,
        source=source,
        notes=" ".join(filter(None, (notes, late_note))) or None,
        inserted_at=now,
    )
    session.add(submission)
    session.flush()
    return submission
