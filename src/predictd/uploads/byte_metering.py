"""Uploads as their bytes arrive: checked against the account's quota and the disk, whenever their URL was given out."""

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
from predictd.uploads.quotas import check_free

log = structlog.get_logger()

# Of a body of unknown length, so much is reserved at a time.
STEP_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """Admits what arrives at the server by presigned URLs."""

    database: Database
    storage: Storage
    quotas: Quotas

    def begin(self, key: str, declared_bytes: int = 0) -> "Arrival":
        """Admit an object that is about to arrive under the key.

        Args:
            declared_bytes: the size that its client declares, 0 if it declares none.

        Raises:
            LimitReachedError: the account may not store so much.
            BusyError: the disk has no room for it.
            OutageError: the database does not answer.
        """
        arrival = Arrival(self, key, self._account_of(key))
        arrival.check_disk(declared_bytes)
        arrival.reserve(declared_bytes)
        return arrival

    def _account_of(self, key: str) -> str | None:
        """Return the account whose upload arrives under the key, None where it is of no upload."""
        path = PurePosixPath(key)
        kinds = {kind for kind in UploadKind if key == incoming_key(kind, path.name)}
        if not kinds:
            return None
        with _database_needed(), self.database.read() as session:
            upload = select(Upload.account_id).where(Upload.filename == path.name, Upload.kind.in_(kinds))
            return session.scalar(upload)


class Arrival:
    """One object on its way, whose room is reserved ahead of its bytes. `end` must follow, whatever becomes of it.

    An object of no account, such as a node's result, needs room on the disk only: half of the reserve is for these.
    """

    def __init__(self, arrivals: Arrivals, key: str, account_id: str | None) -> None:
        self._arrivals = arrivals
        self._key = key
        self._account_id = account_id
        self._reservation = new_reservation()
        self._reserved = 0

    def admit(self, size_bytes: int, total_bytes: int) -> None:
        """Check that so many bytes may be written now, with which the object has `total_bytes`.

        Raises:
            LimitReachedError: the account may not store so much.
            BusyError: the disk has no room for it.
        """
        self.check_disk(size_bytes)
        if total_bytes <= self._reserved:
            return
        try:
            self.reserve(total_bytes + STEP_BYTES)
        except LimitReachedError:
            self.reserve(total_bytes)

    def check_disk(self, size_bytes: int) -> None:
        """Raise BusyError where so many bytes would not leave the disk's reserve free."""
        free_bytes = self._arrivals.quotas.free_bytes // (1 if self._account_id else 2)
        if free_bytes:
            check_free(self._arrivals.storage.local_folders[0], free_bytes, size_bytes)

    def reserve(self, total_bytes: int) -> None:
        """Count so many bytes toward the account's storage; LimitReachedError where they are more than it may have."""
        quota = self._arrivals.quotas.storage_bytes
        if self._account_id is None or not quota or not total_bytes:
            return
        with _database_needed(), self._arrivals.database.write() as session:
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
        """Count what lies under the key now in place of the reservation, which a database that is away keeps."""
        if self._account_id is None:
            return
        try:
            with _database_needed(), self._arrivals.database.write() as session:
                size = self._arrivals.storage.stat(self._key)
                release(session, [self._reservation] if size else [self._reservation, self._key])
                if size:
                    charge(session, self._account_id, self._key, size, datetime.now(UTC))
        except OutageError as error:
            # What arrived has arrived: its registration counts it, or the sweep removes it.
            log.warning("arrival_not_counted", key=self._key, error=error.message)


@contextmanager
def _database_needed() -> Iterator[None]:
    """Raise OutageError in place of the error of a database that is away."""
    try:
        yield
    except (DBAPIError, NoConnectionInTime) as error:
        if not is_outage(error):
            raise
        raise OutageError("The database is not available. Try again in a minute.") from error
