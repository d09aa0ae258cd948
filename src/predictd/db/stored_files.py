"""What accounts have in storage: each file that counts toward an account's quota, with its size.

A row is written in the transaction that decides whether there is room, before the bytes become a file, so that several
uploads at once never exceed the quota together. An upload in progress is counted by a reservation, whose key
starts with `RESERVED`. Rows left by a killed process are deleted together with their orphaned files.
"""

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String, delete, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from predictd.db.models import Account, Base
from predictd.domain.errors import LimitReachedError
from predictd.domain.quotas import GB

RESERVED = "reserved"
_BATCH = 500


class StoredFile(Base):
    """A file in storage that counts toward an account's quota, or room that is reserved for one on its way."""

    __tablename__ = "stored_files"

    key: Mapped[str] = mapped_column(String(500), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    inserted_at: Mapped[datetime]


def storage_used(session: Session, account_id: str) -> int:
    """Return the size of all files of the account and of those on their way, in bytes."""
    total = select(func.sum(StoredFile.size_bytes)).where(StoredFile.account_id == account_id)
    return int(session.scalar(total) or 0)


def storage_available(session: Session, account_id: str, quota_bytes: int) -> int:
    """Return how many bytes the account may still store, under a quota other than 0.

    Raises:
        LimitReachedError: the quota is used up.
    """
    used = storage_used(session, account_id)
    if used >= quota_bytes:
        raise LimitReachedError(
            f"The account's files take {_gb(used)} GB, and may take {_gb(quota_bytes)} (pickles, their compiled trees, "
            "uploads, diagnostics). Delete diagnostics, or ask an admin to remove old pickles or to raise the limit."
        )
    return quota_bytes - used


def charge(
    session: Session,
    account_id: str,
    key: str,
    size_bytes: int,
    now: datetime,
    *,
    quota_bytes: int = 0,
    replaces: str = "",
) -> None:
    """Count a file of that size under the key, replacing the previous size under this key.

    Args:
        replaces: the key of a file that this one is going to replace, and that therefore leaves its room to it.

    Raises:
        LimitReachedError: the account would exceed its quota; 0 means no limit.
    """
    # The account's row is the lock: of two uploads at once the second counts the first. Rows that refer to the account
    # are written meanwhile.
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update(key_share=True))
    if quota_bytes:
        replaced = select(func.sum(StoredFile.size_bytes)).where(StoredFile.key.in_([key, replaces]))
        used = storage_used(session, account_id) - int(session.scalar(replaced) or 0)
        if used + size_bytes > quota_bytes:
            raise LimitReachedError(
                f"The file has {_gb(size_bytes)} GB, but the account has only {_gb(max(0, quota_bytes - used))} of "
                f"{_gb(quota_bytes)} GB left; delete diagnostics, or ask an admin to raise the limit."
            )
    session.merge(StoredFile(key=key, account_id=account_id, size_bytes=size_bytes, inserted_at=now))
    session.flush()


def new_reservation() -> str:
    """Return a key under which room for a file on its way is counted."""
    return f"{RESERVED}/{secrets.token_hex(16)}"


def release(session: Session, keys: Iterable[str]) -> None:
    """Stop counting the files of these keys; harmless where they are not counted."""
    all_keys = list(keys)
    for start in range(0, len(all_keys), _BATCH):
        session.execute(delete(StoredFile).where(StoredFile.key.in_(all_keys[start : start + _BATCH])))


def keys_before(session: Session, prefix: str, before: datetime) -> Sequence[str]:
    """Return the counted keys below the prefix that were last written before that time."""
    query = select(StoredFile.key).where(StoredFile.key.startswith(f"{prefix}/"), StoredFile.inserted_at < before)
    return session.scalars(query.order_by(StoredFile.key)).all()


def _gb(size: int) -> str:
    return f"{size / GB:.3g}"
