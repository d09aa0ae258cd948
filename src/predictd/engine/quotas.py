"""Holding accounts to their limits, and uploads off a server that has no room for more."""

import shutil
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.tables import Account, Pickle, Trigger, Upload
from predictd.domain.errors import BusyError, LimitReachedError
from predictd.domain.quotas import GB, Quotas
from predictd.domain.states import TriggerState, TriggerType
from predictd.engine.uploads import UploadKind
from predictd.storage import FolderStorage, Storage

_HOUR = timedelta(hours=1)


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

    Raises:
        LimitReachedError: the account has as many uploads or pickles as it may.
        BusyError: the disk is too full.
    """
    _check_disk(storage, quotas)
    if quotas.uploads_per_hour:
        recent = sa.select(sa.func.count()).select_from(Upload)
        count = session.scalar(recent.where(Upload.account_id == account.id, Upload.inserted_at > now - _HOUR)) or 0
        if count >= quotas.uploads_per_hour:
            raise LimitReachedError(
                f"The account has begun {count} uploads within an hour, and may begin {quotas.uploads_per_hour}; "
                "wait some minutes and try again."
            )
    return max_bytes if kind is not UploadKind.PICKLE else _room_for_pickle(session, account, quotas, max_bytes)


def check_pickle(session: Session, account: Account, quotas: Quotas, size_bytes: int) -> None:
    """Raise LimitReachedError where a pickle of that size is more than the account may have."""
    room = _room_for_pickle(session, account, quotas, size_bytes)
    if room < size_bytes:
        raise LimitReachedError(
            f"The pickle has {_gb(size_bytes)} GB, but the account has only {_gb(room)} of "
            f"{_gb(quotas.storage_bytes)} GB left for pickles; upload a smaller one, or ask the organiser for more."
        )


def check_queue(session: Session, account: Account, quotas: Quotas, *, diagnostics: bool = False) -> None:
    """Refuse one more run that an account asks for where too many wait; `diagnostics` are counted apart.

    Raises:
        LimitReachedError: the account has as many runs waiting as it may.
        BusyError: the whole server has.
    """
    waiting = sa.select(sa.func.count()).select_from(Trigger).where(Trigger.state == TriggerState.PENDING)
    if quotas.account_queue:
        is_counted = (Trigger.type == TriggerType.DIAGNOSTICS) == diagnostics
        count = session.scalar(waiting.where(Trigger.account_id == account.id, is_counted)) or 0
        if count >= quotas.account_queue:
            raise LimitReachedError(
                f"The account has {count} runs waiting, and may have {quotas.account_queue}; wait until some of them "
                "have ended, or cancel some."
            )
    if quotas.queue:
        count = session.scalar(waiting) or 0
        if count >= quotas.queue:
            raise BusyError(
                f"The server has {count} runs waiting, which is as many as it takes ({quotas.queue}); nothing was "
                "queued. Try again later; what rounds run is not affected."
            )


def _room_for_pickle(session: Session, account: Account, quotas: Quotas, most: int) -> int:
    if not (quotas.pickles or quotas.storage_bytes):
        return most
    has = session.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(Pickle.size_bytes), 0)).where(
            Pickle.account_id == account.id, Pickle.removed_at.is_(None)
        )
    ).one()
    count, taken = int(has[0]), int(has[1])
    if quotas.pickles and count >= quotas.pickles:
        raise LimitReachedError(
            f"The account has {count} pickles, and may have {quotas.pickles}; ask the organiser to remove old ones or "
            "to allow more."
        )
    if not quotas.storage_bytes:
        return most
    if taken >= quotas.storage_bytes:
        raise LimitReachedError(
            f"The pickles of the account take {_gb(taken)} GB, and may take {_gb(quotas.storage_bytes)}; ask the "
            "organiser to remove old ones or to allow more."
        )
    return min(most, quotas.storage_bytes - taken)


def _check_disk(storage: Storage, quotas: Quotas) -> None:
    # Only a folder has a disk that fills up.
    if not quotas.free_bytes or not isinstance(storage, FolderStorage):
        return
    free = shutil.disk_usage(storage.root).free
    if free < quotas.free_bytes:
        raise BusyError(
            f"The server's disk has {_gb(free)} GB left, and {_gb(quotas.free_bytes)} must stay free, so it takes no "
            "uploads now. Try again later, or tell the organiser."
        )


def _gb(size: int) -> str:
    return f"{size / GB:.3g}"
