"""Uploads of predictions for a model without a pickle."""

from datetime import datetime

from predictd.data import read_ids
from predictd.data.layout import round_key
from predictd.db import Database
from predictd.db.catalog import list_data_versions
from predictd.db.model_queries import get_model
from predictd.db.models import Account
from predictd.db.rounds import latest_round
from predictd.domain.errors import ConflictError, InvalidInputError
from predictd.domain.failures import ModelFailure
from predictd.domain.limits import max_rows
from predictd.domain.quotas import NO_LIMITS, Quotas
from predictd.domain.reasons import NO_OPEN_ROUND, Reason
from predictd.domain.runs import Predictions
from predictd.scoring import check_submission, read_submission_file
from predictd.storage import Storage
from predictd.uploads.assignment import check_has_no_pickle
from predictd.uploads.incoming import UploadKind, register_upload
from predictd.uploads.submissions import StoredPredictions, accept

CANT_UPLOAD_PREDICTIONS = "it doesn't accept uploaded predictions"


def submit_file(
    database: Database,
    storage: Storage,
    account: Account,
    model_id: str,
    filename: str,
    *,
    now: datetime,
    run_id: str | None = None,
    source: str | None = None,
    data_datestamp: int | None = None,
    quotas: Quotas = NO_LIMITS,
) -> str:
    """Check an uploaded file of predictions and submit it to the open round, or store it as late for the last one.

    Returns:
        The submission's id.

    Raises:
        NotFoundError: the filename or the model is unknown.
        ConflictError: a pickle is assigned to the model, no round has opened yet, or the file is already registered.
        InvalidInputError: no bytes were received, or they are not a valid submission.
        LimitReachedError: the account may not store so much.
    """
    with database.write() as session:
        model = get_model(session, account, model_id)
        check_has_no_pickle(model, CANT_UPLOAD_PREDICTIONS)
        round_ = latest_round(session, model.tournament, now)
        if round_ is None:
            raise ConflictError(Reason(code=NO_OPEN_ROUND).describe())
        versions = sorted(list_data_versions(session), key=lambda version: not version.is_default)
        keys = [round_key(version.name, round_.number, "live.parquet") for version in versions]
        uploaded = register_upload(session, storage, account, UploadKind.SUBMISSION, filename, now, quotas)
    # The file is read between two transactions, so that a large one blocks nothing.
    live_ids = [_live_ids(storage, key) for key in keys]
    with storage.local_path(uploaded.key) as path:
        predictions = read_submission_file(path, max_rows=max_rows(max(map(len, live_ids), default=0)))
    failure = _check(predictions, live_ids)
    if failure is not None:
        raise InvalidInputError(f"{filename} is not a valid submission for round {round_.number}: {failure.describe()}")
    with database.write() as session:
        model = get_model(session, account, model_id)
        check_has_no_pickle(model, CANT_UPLOAD_PREDICTIONS)
        stored = StoredPredictions(key=uploaded.key, filename=filename, row_count=len(predictions.ids))
        return accept(
            session,
            model,
            session.merge(round_, load=True),
            stored,
            now=now,
            run_id=run_id,
            source=source,
            data_datestamp=data_datestamp,
        ).id


def _live_ids(storage: Storage, key: str) -> list[str]:
    with storage.local_path(key) as live:
        return read_ids(live)


def _check(predictions: Predictions, live_ids: list[list[str]]) -> ModelFailure | None:
    """Return None if the predictions match the live ids of any data version, otherwise the failure for the default."""
    first: ModelFailure | None = None
    for ids in live_ids:
        failure = check_submission(predictions, ids)
        if failure is None:
            return None
        first = first or failure
    return first
