"""Quotas of accounts, and the disk space of the server."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account, Pickle, Run, Upload
from predictd.db.stored_files import StoredFile, charge, storage_available
from predictd.domain.errors import BusyError, LimitReachedError
from predictd.domain.quotas import GB, Quotas
from predictd.domain.states import RunState, RunType
from predictd.storage import FolderStorage, Storage
from predictd.uploads.incoming import UploadKind, incoming_key

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_MAX_MEASURED = 100


def available_upload_bytes(
    session: Session,
    storage: Storage,
    account: Account,
    kind: UploadKind,
    quotas: Quotas,
    now: datetime,
    *,
    max_bytes: int,
) -> int:
    """Return how many bytes the account may upload now, at most `max_bytes`; called before a URL is returned.

    `byte_metering` checks the bytes again as they arrive, because other uploads may have used the quota meanwhile.

    Raises:
        LimitReachedError: the account has as many uploads, pickles or bytes as it may.
        BusyError: the disk is too full.
    """
    check_disk(storage, quotas.free_bytes)
    if quotas.uploads_per_hour:
        recent = sa.select(sa.func.count()).select_from(Upload)
        count = session.scalar(recent.where(Upload.account_id == account.id, Upload.inserted_at > now - _HOUR)) or 0
        if count >= quotas.uploads_per_hour:
            raise LimitReachedError(
                f"The account started {count} uploads in the last hour, which is the limit "
                f"({quotas.uploads_per_hour}). Wait some minutes and try again."
            )
    if kind is UploadKind.PICKLE:
        check_pickle_count(session, account, quotas)
    if not quotas.storage_bytes:
        return max_bytes
    if not isinstance(storage, FolderStorage):
        _charge_unregistered(session, storage, account, now)
    return min(max_bytes, storage_available(session, account.id, quotas.storage_bytes))


def check_pickle_count(session: Session, account: Account, quotas: Quotas) -> None:
    """Raise LimitReachedError if the account has as many pickles as it may."""
    if not quotas.pickles:
        return
    pickles = sa.select(sa.func.count()).select_from(Pickle)
    count = session.scalar(pickles.where(Pickle.account_id == account.id, Pickle.removed_at.is_(None))) or 0
    if count >= quotas.pickles:
        raise LimitReachedError(
            f"The account has {count} pickles, which is the limit ({quotas.pickles}). Ask an admin to remove old "
            "pickles or to raise the limit."
        )


def check_queue(
    session: Session, storage: Storage, account: Account, quotas: Quotas, *, diagnostics: bool = False
) -> None:
    """Check that an account may queue another run; `diagnostics` are counted separately.

    Raises:
        LimitReachedError: the account has as many pending runs as it may.
        BusyError: the server has as many pending runs as it may, or its disk is too full for logs and predictions.
    """
    check_disk(storage, quotas.free_bytes)
    pending = sa.select(sa.func.count()).select_from(Run).where(Run.state == RunState.PENDING)
    if quotas.account_queue:
        is_counted = (Run.type == RunType.DIAGNOSTICS) == diagnostics
        count = session.scalar(pending.where(Run.account_id == account.id, is_counted)) or 0
        if count >= quotas.account_queue:
            raise LimitReachedError(
                f"The account has {count} pending runs, which is the limit ({quotas.account_queue}). Wait until some "
                "of them end, or cancel some."
            )
    if quotas.queue:
        count = session.scalar(pending) or 0
        if count >= quotas.queue:
            raise BusyError(
                f"The server has {count} pending runs, which is the limit ({quotas.queue}), so nothing was queued. "
                "Try again later. The runs of rounds are not affected."
            )


def check_disk(storage: Storage, free_bytes: int, size_bytes: int = 0) -> None:
    """Check that `free_bytes` (0 for no check) stay free on the disk of the storage after writing `size_bytes`.

    The reserve is for the data of rounds: live data, predictions, logs, and the database.

    Raises:
        BusyError: less would stay free. The storage of a bucket is never full.
    """
    if free_bytes and isinstance(storage, FolderStorage):
        check_free_space(storage.root, free_bytes, size_bytes)


def check_free_space(folder: Path, free_bytes: int, size_bytes: int = 0) -> None:
    """Check that `free_bytes` stay free on the disk of a folder after writing `size_bytes`.

    Raises:
        BusyError: less would stay free.
    """
    free = shutil.disk_usage(folder).free
    if free - size_bytes < free_bytes:
        raise BusyError(
            f"The server's disk has {_gb(free)} GB free, and {_gb(free_bytes)} GB must stay free, so it accepts no "
            "uploads now. Try again later, or contact an admin."
        )


def _charge_unregistered(session: Session, storage: Storage, account: Account, now: datetime) -> None:
    """Count the uploads to a bucket that are not registered yet."""
    counted = sa.select(StoredFile.key).where(StoredFile.account_id == account.id)
    keys = set(session.scalars(counted.where(StoredFile.key.startswith("incoming/"))))
    open_uploads = sa.select(Upload).where(
        Upload.account_id == account.id, Upload.registered_at.is_(None), Upload.inserted_at > now - _DAY
    )
    for upload in session.scalars(open_uploads.order_by(Upload.inserted_at.desc()).limit(_MAX_MEASURED)):
        key = incoming_key(UploadKind(upload.kind), upload.filename)
        size = storage.stat(key) if key not in keys else None
        if size:
            charge(session, account.id, key, size, now)


def _gb(size: int) -> str:
    return f"{size / GB:.3g}"
