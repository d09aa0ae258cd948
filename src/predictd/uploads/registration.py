"""Registration of uploaded pickles."""

from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from predictd.db.catalog import choose_data_version, choose_runtime
from predictd.db.model_queries import get_model
from predictd.db.models import Account, Pickle
from predictd.domain.errors import InvalidInputError
from predictd.domain.names import check_tournament
from predictd.domain.quotas import NO_LIMITS, Quotas
from predictd.domain.reasons import Reason
from predictd.domain.states import RunType, ValidationStatus
from predictd.jobs.queue import enqueue, fail_pending
from predictd.pickles import Inspection
from predictd.storage import Storage
from predictd.uploads.assignment import check_has_no_webhook
from predictd.uploads.incoming import UploadKind, register_upload
from predictd.uploads.quota_checks import check_pickle_count
from predictd.uploads.runtime_selection import certain_failure, matching_runtime

MAX_LABEL_LENGTH = 200


def set_label(pickle: Pickle, label: str | None) -> None:
    """Set the display name of a pickle; None or an empty text removes it.

    Raises:
        InvalidInputError: the label is longer than `MAX_LABEL_LENGTH`.
    """
    label = (label or "").strip()
    if len(label) > MAX_LABEL_LENGTH:
        raise InvalidInputError(f"The label has {len(label)} characters. The limit is {MAX_LABEL_LENGTH}.")
    pickle.label = label or None


def register_pickle(
    session: Session,
    storage: Storage,
    account: Account,
    filename: str,
    *,
    tournament: int,
    model_id: str | None,
    runtime: str | None,
    data_version: str | None,
    source: str | None,
    now: datetime,
    inspection: Inspection | None = None,
    runtimes_home: Path | None = None,
    quotas: Quotas = NO_LIMITS,
) -> Pickle:
    """Register an uploaded pickle and queue its validation; a pickle for a model is assigned when it is validated.

    With an inspection, a pickle without a given runtime gets the best match, and one that is certain to fail in every
    runtime is invalid at once. `runtimes_home` is the folder of built runtimes.

    Raises:
        InvalidInputError: the tournament is not 8, or no bytes were received.
        NotFoundError: the filename, model, runtime, or data version is unknown.
        ConflictError: the file is already registered, or the model has a webhook.
        LimitReachedError: the account has as many pickles or bytes as it may.
    """
    check_tournament(tournament)
    chosen_runtime = None
    if runtime is None and inspection is not None and runtimes_home is not None:
        chosen_runtime = matching_runtime(session, inspection, runtimes_home)
    chosen_runtime = chosen_runtime or choose_runtime(session, runtime)
    chosen_version = choose_data_version(session, data_version)
    if model_id is not None:
        check_has_no_webhook(get_model(session, account, model_id))
    check_pickle_count(session, account, quotas)
    uploaded = register_upload(session, storage, account, UploadKind.PICKLE, filename, now, quotas)
    for_model = model_id or uploaded.upload.model_id
    if model_id is None and for_model is not None:
        check_has_no_webhook(get_model(session, account, for_model))
    pickle = Pickle(
        account_id=account.id,
        model_id=for_model,
        runtime_id=chosen_runtime.id,
        data_version_id=chosen_version.id,
        filename=filename,
        storage_key=uploaded.key,
        size_bytes=uploaded.size_bytes,
        source=source,
        validation_status=ValidationStatus.PENDING,
        assign_when_validated=for_model is not None,
        inserted_at=now,
        updated_at=now,
    )
    session.add(pickle)
    session.flush()
    run = enqueue(session, pickle, RunType.VALIDATION, None, now, Reason(code="validation_queued"))
    if inspection is not None and runtimes_home is not None:
        failure = certain_failure(session, inspection, chosen_runtime, runtimes_home)
        if failure is not None:
            fail_pending(session, run, failure, now)
            pickle.validation_status = ValidationStatus.INVALID
            session.flush()
    return pickle
