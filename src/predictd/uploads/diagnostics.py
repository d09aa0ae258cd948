"""Diagnostics of validated pickles and of uploaded predictions."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account, Diagnostics, Pickle, Run
from predictd.db.stored_files import release
from predictd.domain.errors import NotFoundError
from predictd.domain.quotas import NO_LIMITS, Quotas
from predictd.domain.reasons import Reason
from predictd.domain.states import DiagnosticsStatus, RunState, RunType
from predictd.jobs.queue import enqueue, withdraw
from predictd.storage import Storage
from predictd.uploads.incoming import UploadKind, register_upload


def status_of(diagnostics: Diagnostics) -> DiagnosticsStatus:
    """Return the status of diagnostics."""
    run = diagnostics.run
    return DiagnosticsStatus.PENDING if run is None else DiagnosticsStatus.of(RunState(run.state))


def description_of(diagnostics: Diagnostics) -> str | None:
    """Return the latest status text of the run; None if there is none."""
    run = diagnostics.run
    return run.statuses[-1].description if run is not None and run.statuses else None


def diagnose_pickle(session: Session, pickle: Pickle, now: datetime) -> None:
    """Queue the diagnostics of a validated pickle, unless it has finished or active ones."""
    existing = session.scalars(sa.select(Diagnostics).where(Diagnostics.pickle_id == pickle.id)).all()
    if any(status_of(row) is not DiagnosticsStatus.FAILED for row in existing):
        return
    diagnostics = Diagnostics(
        account_id=pickle.account_id,
        model_id=pickle.model_id,
        pickle_id=pickle.id,
        data_version_id=pickle.data_version_id,
        filename=pickle.filename,
        inserted_at=now,
        updated_at=now,
    )
    _queue(session, pickle, diagnostics, "diagnostics_queued", now)


def diagnose_file(
    session: Session,
    storage: Storage,
    account: Account,
    filename: str,
    model_id: str | None,
    now: datetime,
    quotas: Quotas = NO_LIMITS,
) -> Diagnostics:
    """Register an uploaded file of validation predictions and queue its diagnostics.

    Raises:
        NotFoundError: the filename is unknown.
        ConflictError: the file is already registered.
        InvalidInputError: no bytes were received.
        LimitReachedError: the account may not store so much.
    """
    uploaded = register_upload(session, storage, account, UploadKind.DIAGNOSTICS, filename, now, quotas)
    diagnostics = Diagnostics(
        account_id=account.id,
        model_id=model_id or uploaded.upload.model_id or None,
        filename=filename,
        storage_key=uploaded.key,
        inserted_at=now,
        updated_at=now,
    )
    _queue(session, None, diagnostics, "diagnostics_file_queued", now)
    return diagnostics


def delete_diagnostics(session: Session, account: Account, ids: Sequence[str], now: datetime) -> list[str]:
    """Delete diagnostics of the account, withdraw their runs, and return the keys of their files.

    Raises:
        NotFoundError: there are no such diagnostics of this account; nothing is deleted.
    """
    rows = session.scalars(
        sa.select(Diagnostics).where(Diagnostics.account_id == account.id, Diagnostics.id.in_(ids))
    ).all()
    missing = set(ids) - {row.id for row in rows}
    if missing:
        raise NotFoundError(f"Diagnostics {', '.join(sorted(missing))[:200]} not found, so nothing was deleted.")
    runs = session.scalars(sa.select(Run).where(Run.diagnostics_id.in_([row.id for row in rows])).with_for_update())
    for run in runs:
        withdraw(session, run, Reason(code="diagnostics_deleted"), now)
    for row in rows:
        session.delete(row)
    session.flush()
    keys = [row.storage_key for row in rows if row.storage_key]
    release(session, keys)
    return keys


def _queue(session: Session, pickle: Pickle | None, diagnostics: Diagnostics, code: str, now: datetime) -> None:
    session.add(diagnostics)
    session.flush()
    owner, key = diagnostics.account_id, diagnostics.id
    enqueue(session, pickle, RunType.DIAGNOSTICS, None, now, Reason(code=code), account_id=owner, diagnostics_id=key)
