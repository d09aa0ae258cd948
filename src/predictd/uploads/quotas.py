"""Holding accounts to their limits, and uploads off a server that has no room for more."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account, Pickle, Trigger, Upload
from predictd.db.stored_files import StoredFile, charge, storage_left
from predictd.domain.errors import BusyError, LimitReachedError
from predictd.domain.quotas import GB, Quotas
from predictd.domain.states import TriggerState, TriggerType
from predictd.storage import FolderStorage, Storage
from predictd.uploads.incoming import UploadKind, incoming_key

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_MOST_MEASURED = 100


def room_for_upload(
    session: Session,
    storage: Storage,
    account: Account,
    kind: UploadKind,
    quotas: Quotas,
    now: datetime,
    *,
    max_bytes: int,
) -> int:
    """How many bytes the account may upload now, at most `max_bytes`; asked before a URL is given out.

    What arrives is checked again (`engine.arrivals`): URLs that were given out before may have used the room meanwhile.

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
        _charge_arrived(session, storage, account, now)
    return min(max_bytes, storage_left(session, account.id, quotas.storage_bytes))


def check_pickle_count(session: Session, account: Account, quotas: Quotas) -> None:
    """Raise LimitReachedError where the account has as many pickles as it may."""
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
    """Refuse one more run that an account asks for where too many wait; `diagnostics` are counted apart.

    Raises:
        LimitReachedError: the account has as many runs waiting as it may.
        BusyError: the whole server has, or its disk is too full for what a run leaves: its log and its predictions.
    """
    check_disk(storage, quotas.free_bytes)
    waiting = sa.select(sa.func.count()).select_from(Trigger).where(Trigger.state == TriggerState.PENDING)
    if quotas.account_queue:
        is_counted = (Trigger.type == TriggerType.DIAGNOSTICS) == diagnostics
        count = session.scalar(waiting.where(Trigger.account_id == account.id, is_counted)) or 0
        if count >= quotas.account_queue:
            raise LimitReachedError(
                f"The account has {count} pending runs, which is the limit ({quotas.account_queue}). Wait until some "
                "of them end, or cancel some."
            )
    if quotas.queue:
        count = session.scalar(waiting) or 0
        if count >= quotas.queue:
            raise BusyError(
                f"The server has {count} pending runs, which is the limit ({quotas.queue}), so nothing was queued. "
                "Try again later. The runs of rounds are not affected."
            )


def check_disk(storage: Storage, free_bytes: int, size_bytes: int = 0) -> None:
    """Refuse to write so many bytes where less than `free_bytes` (0 for any) would stay free on the storage's disk.

    The reserve is for what rounds write (live data, their runs' predictions and logs, the database): all that accounts
    cause at will stays above it.

    Raises:
        BusyError: it would. The storage of a bucket has no disk that fills up.
    """
    if free_bytes and isinstance(storage, FolderStorage):
        check_free(storage.root, free_bytes, size_bytes)


def check_free(folder: Path, free_bytes: int, size_bytes: int = 0) -> None:
    """The same for the disk of a folder, whatever it is for."""
    free = shutil.disk_usage(folder).free
    if free - size_bytes < free_bytes:
        raise BusyError(
            f"The server's disk has {_gb(free)} GB free, and {_gb(free_bytes)} GB must stay free, so it accepts no "
            "uploads now. Try again later, or contact an admin."
        )


def _charge_arrived(session: Session, storage: Storage, account: Account, now: datetime) -> None:
    """Count the uploads that a bucket took without this server, and that nobody has registered yet."""
    counted = sa.select(StoredFile.key).where(StoredFile.account_id == account.id)
    keys = set(session.scalars(counted.where(StoredFile.key.startswith("incoming/"))))
    open_uploads = sa.select(Upload).where(
        Upload.account_id == account.id, Upload.registered_at.is_(None), Upload.inserted_at > now - _DAY
    )
    for upload in session.scalars(open_uploads.order_by(Upload.inserted_at.desc()).limit(_MOST_MEASURED)):
        key = incoming_key(UploadKind(upload.kind), upload.filename)
        size = storage.stat(key) if key not in keys else None
        if size:
            charge(session, account.id, key, size, now)


def _gb(size: int) -> str:
    return f"{size / GB:.3g}"
