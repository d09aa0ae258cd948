"""Upload URLs, and the registration of uploaded files.

A client writes to an incoming key until its URL expires. Registration moves the object to a key that no URL can write
to, so that a registered object never changes.
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
    """The kind of an upload."""

    PICKLE = "pickle"
    SUBMISSION = "submission"
    DIAGNOSTICS = "diagnostics"


SUFFIXES = {
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
class RegisteredUpload:
    """A registered upload; `key` is the final key of its object."""

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
    """Return a unique filename and a presigned URL for one upload of at most `max_bytes`.

    Raises:
        InvalidInputError: the filename has the wrong suffix or is too long.
    """
    unique = unique_filename(filename, SUFFIXES[kind], DEFAULT_NAMES[kind])
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


def register_upload(
    session: Session,
    storage: Storage,
    account: Account,
    kind: UploadKind,
    filename: str,
    now: datetime,
    quotas: Quotas = NO_LIMITS,
) -> RegisteredUpload:
    """Register an upload: move its object to the final key. A filename can be registered once.

    An upload through the server already counts toward the storage of the account; one to a bucket is checked now.

    Raises:
        NotFoundError: the filename is not of an upload of this account and kind.
        ConflictError: the upload is already registered.
        InvalidInputError: no bytes were received.
        TooLargeError: the object is larger than allowed; it is deleted.
        LimitReachedError: the account may not store so much; the object is deleted.
    """
    upload = session.scalar(select(Upload).where(Upload.filename == filename).with_for_update())
    if upload is None or upload.account_id != account.id or upload.kind != kind:
        raise NotFoundError(
            f"Unknown filename {filename[:300]!r}: request an upload URL, then register the filename that it returns."
        )
    if upload.registered_at is not None:
        raise ConflictError(f"{filename!r} is already registered. Request a new upload URL to upload again.")
    incoming, final = incoming_key(kind, filename), f"{kind}/{upload.id}"
    # A server that was killed between the move and the commit left the object at the final key.
    size = storage.stat(final)
    if size is None:
        size = storage.stat(incoming)
        if not size:
            raise InvalidInputError(
                f"No bytes were received for {filename!r}. PUT the file to the presigned URL before it expires, "
                "check that the response is 200, then register it."
            )
        _check_size(storage, incoming, upload, size)
        storage.move(incoming, final)
        # The URL may still be valid, so the size of the moved object counts.
        size = storage.stat(final) or 0
        _check_size(storage, final, upload, size)
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
    final_size = size
    after_commit(session, lambda: _count(kind, final_size))
    return RegisteredUpload(upload=upload, key=final, size_bytes=size)


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
    """Store a file that was not sent to the presigned URL, such as one of a form.

    Raises:
        NotFoundError: the filename is not of an open upload of this account.
        LimitReachedError: the account may not store so much.
    """
    upload = _open_upload(session, account, filename)
    key = incoming_key(UploadKind(upload.kind), filename)
    charge(session, account.id, key, path.stat().st_size, now, quota_bytes=quotas.storage_bytes)
    storage.put_file(key, path)


def discard_upload(session: Session, storage: Storage, account: Account, filename: str) -> None:
    """Delete the object of an open upload, which still counts toward the uploads of the account.

    Raises:
        NotFoundError: the filename is not of an open upload of this account.
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


def uploaded_key(storage: Storage, kind: UploadKind, upload: Upload) -> str | None:
    """Return the current key of the object of an upload; None if there is none, or if it is too large."""
    for key in (f"{kind}/{upload.id}", incoming_key(kind, upload.filename)):
        size = storage.stat(key)
        if size:
            return None if upload.max_bytes is not None and size > upload.max_bytes else key
    return None


def _check_size(storage: Storage, key: str, upload: Upload, size: int) -> None:
    """Delete the object and raise TooLargeError if it is too large: a presigned PUT of S3 accepts any size."""
    if upload.max_bytes is not None and size > upload.max_bytes:
        storage.delete(key)
        raise TooLargeError(
            f"{upload.filename} has {size} bytes, and at most {upload.max_bytes} are allowed. It was deleted. "
            "Request a new upload URL and send a smaller file."
        )


def incoming_key(kind: UploadKind, filename: str) -> str:
    """Return the key that an upload's presigned URL writes to, until it is registered."""
    return f"{INCOMING}/{kind}/{filename}"
