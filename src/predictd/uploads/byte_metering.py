"""Metering of uploads as their bytes arrive, against the quota of the account and the disk space."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionInTime

from predictd.db import Database
from predictd.db.models import Upload
from predictd.db.retry import is_outage
from predictd.db.stored_files import charge, new_reservation, release
from predictd.domain.errors import LimitReachedError, OutageError
from predictd.domain.quotas import Quotas
from predictd.storage import Storage
from predictd.uploads.incoming import UploadKind, incoming_key
from predictd.uploads.quota_checks import check_free_space

log = structlog.get_logger()

# Reserved at a time for a body of unknown length.
STEP_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class ByteMeter:
    """Meters uploads to presigned URLs of this server."""

    database: Database
    storage: Storage
    quotas: Quotas

    def begin(self, key: str, declared_bytes: int = 0) -> "MeteredUpload":
        """Start metering an upload to the key.

        Args:
            declared_bytes: the Content-Length, 0 if it is missing.

        Raises:
            LimitReachedError: the account may not store so much.
            BusyError: the disk is too full.
            OutageError: the database is unavailable.
        """
        upload = MeteredUpload(self, key, self._account_of(key))
        upload.check_disk(declared_bytes)
        upload.reserve(declared_bytes)
        return upload

    def _account_of(self, key: str) -> str | None:
        """Return the account of the upload of that key, None if there is no such upload."""
        path = PurePosixPath(key)
        kinds = {kind for kind in UploadKind if key == incoming_key(kind, path.name)}
        if not kinds:
            return None
        with _database_required(), self.database.read() as session:
            upload = select(Upload.account_id).where(Upload.filename == path.name, Upload.kind.in_(kinds))
            return session.scalar(upload)


class MeteredUpload:
    """An upload in progress, whose storage is reserved ahead of its bytes. `end` must be called in any case.

    An object of no account, such as the result of a node, needs disk space only, and may use half of the reserve.
    """

    def __init__(self, meter: ByteMeter, key: str, account_id: str | None) -> None:
        self._meter = meter
        self._key = key
        self._account_id = account_id
        self._reservation = new_reservation()
        self._reserved = 0

    def admit(self, size_bytes: int, total_bytes: int) -> None:
        """Check that `size_bytes` may be written, after which the object has `total_bytes`.

        Raises:
            LimitReachedError: the account may not store so much.
            BusyError: the disk is too full.
        """
        self.check_disk(size_bytes)
        if total_bytes <= self._reserved:
            return
        try:
            self.reserve(total_bytes + STEP_BYTES)
        except LimitReachedError:
            self.reserve(total_bytes)

    def check_disk(self, size_bytes: int) -> None:
        """Raise BusyError if the disk would have less than the reserve after so many bytes."""
        free_bytes = self._meter.quotas.free_bytes // (1 if self._account_id else 2)
        if free_bytes:
            check_free_space(self._meter.storage.local_folders[0], free_bytes, size_bytes)

    def reserve(self, total_bytes: int) -> None:
        """Count the bytes toward the storage of the account; raise LimitReachedError above its quota."""
        quota = self._meter.quotas.storage_bytes
        if self._account_id is None or not quota or not total_bytes:
            return
        with _database_required(), self._meter.database.write() as session:
            charge(
                session,
                self._account_id,
                self._reservation,
                total_bytes,
                datetime.now(UTC),
                quota_bytes=quota,
                replaces=self._key,
            )
        self._reserved = total_bytes

    def end(self) -> None:
        """Replace the reservation by the size of the stored object; during an outage, the reservation remains."""
        if self._account_id is None:
            return
        try:
            with _database_required(), self._meter.database.write() as session:
                size = self._meter.storage.stat(self._key)
                release(session, [self._reservation] if size else [self._reservation, self._key])
                if size:
                    charge(session, self._account_id, self._key, size, datetime.now(UTC))
        except OutageError as error:
            # Its registration counts the object, or garbage collection removes it.
            log.warning("arrival_not_counted", key=self._key, error=error.message)


@contextmanager
def _database_required() -> Iterator[None]:
    """Raise OutageError instead of the error of an unavailable database."""
    try:
        yield
    except (DBAPIError, NoConnectionInTime) as error:
        if not is_outage(error):
            raise
        raise OutageError("The database is not available. Try again in a minute.") from error
