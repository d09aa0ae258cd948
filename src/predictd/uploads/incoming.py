"""Filenames given out for uploads, and taking what arrived for good.

A client writes to an incoming key for as long as its URL is good; registration moves the object to a key that no URL
can write to, so that what was registered never changes.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from predictd import prometheus
from predictd.db.hooks import after_commit
from predictd.db.models import Account, Upload
from predictd.db.stored_files import StoredFile, charge, release
from predictd.domain.errors import ConflictError, InvalidInputError, LimitReachedError, NotFoundError, TooLargeError
from predictd.domain.names import unique_filename
from predictd.domain.quotas import NO_LIMITS, Quotas
from predictd.storage import Storage

INCOMING = "incoming"


class UploadKind(StrEnum):
    """What an upload is for."""

    PICKLE = "pickle"
    SUBMISSION = "submission"
    DIAGNOSTICS = "diagnostics"


ENDINGS = {
    UploadKind.PICKLE: (".pkl",),
    UploadKind.SUBMISSION: (".csv", ".parquet"),
    UploadKind.DIAGNOSTICS: (".csv", ".parquet"),
}
DEFAULT_NAMES = {
    UploadKind.PICKLE: "model.pkl",
    UploadKind.SUBMISSION: "predictions.csv",
    UploadKind.DIAGNOSTICS: "predictions.csv",
}


@dataclass(frozen=True, kw_only=True)
class UploadAuth:
    """A unique filename and the presigned URL to PUT the bytes to."""

    filename: str
    url: str


@dataclass(frozen=True, kw_only=True)
class TakenUpload:
    """An upload that was registered: `key` is where it lies for good."""

    upload: Upload
    key: str
    size_bytes: int


def authorize_upload(
    session: Session,
    storage: Storage,
    account: Account,
    kind: UploadKind,
    filename: str,
    model_id: str | None,
    *,
    now: datetime,
    max_bytes: int,
    url_seconds: int,
) -> UploadAuth:
    """Give out a filename and a presigned URL for one upload of at most `max_bytes`.

    Raises:
        InvalidInputError: the filename has the wrong ending or is too long.
    """
    unique = unique_filename(filename, ENDINGS[kind], DEFAULT_NAMES[kind])
    session.add(
        Upload(
            account_id=account.id, kind=kind, filename=unique, model_id=model_id, max_bytes=max_bytes, inserted_at=now
        )
    )
    session.flush()
    url = storage.presign(
        "PUT", incoming_key(kind, unique), expires_at=now + timedelta(seconds=url_seconds), max_bytes=max_bytes
    )
    return UploadAuth(filename=unique, url=url)


def take_upload(
    session: Session,
    storage: Storage,
    account: Account,
    kind: UploadKind,
    filename: str,
    now: datetime,
    quotas: Quotas = NO_LIMITS,
) -> TakenUpload:
    """Register an upload: what arrived is kept for good and the filename is used up.

    What arrived by the server counts toward the account's storage already; what a bucket took is checked now.

    Raises:
        NotFoundError: the filename was not given out to this account for this kind of upload.
        ConflictError: it is registered already.
        InvalidInputError: no bytes arrived.
        TooLargeError: more bytes arrived than were allowed; they are deleted.
        LimitReachedError: more than the account may store; they are deleted.
    """
    upload = session.scalar(select(Upload).where(Upload.filename == filename).with_for_update())
    if upload is None or upload.account_id != account.id or upload.kind != kind:
        raise NotFoundError(
            f"Unknown filename {filename[:300]!r}: request an upload URL, then register the filename that it returns."
        )
    if upload.registered_at is not None:
        raise ConflictError(f"{filename!r} is already registered. Request a new upload URL to upload again.")
    incoming, final = incoming_key(kind, filename), f"{kind}/{upload.id}"
    # A server killed between this move and its commit has left the bytes at the final key already.
    size = storage.stat(final)
    if size is None:
        size = storage.stat(incoming)
        if not size:
            raise InvalidInputError(
                f"No bytes were received for {filename!r}. PUT the file to the presigned URL before it expires, "
                "check that the response is 200, then register it."
            )
        _refuse_too_large(storage, incoming, upload, size)
        storage.move(incoming, final)
        # The URL may still be good: what counts is what was moved.
        size = storage.stat(final) or 0
        _refuse_too_large(storage, final, upload, size)
    charged = session.scalars(select(StoredFile.size_bytes).where(StoredFile.key.in_([incoming, final]))).all()
    is_charged = any(charged_bytes >= size for charged_bytes in charged)
    release(session, [incoming])
    try:
        charge(session, account.id, final, size, now, quota_bytes=0 if is_charged else quotas.storage_bytes)
    except LimitReachedError:
        storage.delete(final)
        raise
    upload.registered_at = now
    session.flush()
    arrived = size
    after_commit(session, lambda: _count(kind, arrived))
    return TakenUpload(upload=upload, key=final, size_bytes=size)


def _count(kind: UploadKind, size_bytes: int) -> None:
    prometheus.UPLOADS.labels(kind).inc()
    prometheus.UPLOAD_BYTES.labels(kind).inc(size_bytes)


def receive_file(
    session: Session,
    storage: Storage,
    account: Account,
    filename: str,
    path: Path,
    now: datetime,
    quotas: Quotas = NO_LIMITS,
) -> None:
    """Store a file that came by another way than the presigned URL, under a filename that was given out.

    Raises:
        NotFoundError: the filename was not given out to this account, or is registered already.
        LimitReachedError: the account may not store so much.
    """
    upload = _open_upload(session, account, filename)
    key = incoming_key(UploadKind(upload.kind), filename)
    charge(session, account.id, key, path.stat().st_size, now, quota_bytes=quotas.storage_bytes)
    storage.put_file(key, path)


def discard_upload(session: Session, storage: Storage, account: Account, filename: str) -> None:
    """Delete what arrived of an upload that was not registered. It stays counted among the account's uploads.

    Raises:
        NotFoundError: the filename was not given out to this account, or is registered already.
    """
    upload = _open_upload(session, account, filename)
    key = incoming_key(UploadKind(upload.kind), filename)
    storage.delete(key)
    release(session, [key])


def _open_upload(session: Session, account: Account, filename: str) -> Upload:
    upload = session.scalar(select(Upload).where(Upload.filename == filename).with_for_update())
    if upload is None or upload.account_id != account.id or upload.registered_at is not None:
        raise NotFoundError("Upload not found. Upload the file again.")
    return upload


def arrived_key(storage: Storage, kind: UploadKind, upload: Upload) -> str | None:
    """Where the bytes of an upload lie now; None as long as none have arrived, or if they are too many."""
    for key in (f"{kind}/{upload.id}", incoming_key(kind, upload.filename)):
        size = storage.stat(key)
        if size:
            return None if upload.max_bytes is not None and size > upload.max_bytes else key
    return None


def _refuse_too_large(storage: Storage, key: str, upload: Upload, size: int) -> None:
    """A presigned PUT of S3 takes any size."""
    if upload.max_bytes is not None and size > upload.max_bytes:
        storage.delete(key)
        raise TooLargeError(
            f"{upload.filename} has {size} bytes, and at most {upload.max_bytes} are allowed. It was deleted. "
            "Request a new upload URL and send a smaller file."
        )


def incoming_key(kind: UploadKind, filename: str) -> str:
    """Return the key that an upload's presigned URL writes to, until it is registered."""
    return f"{INCOMING}/{kind}/{filename}"
