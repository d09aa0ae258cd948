"""The use cases of uploads and runs, as pages and the API call them, each in a transaction of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from predictd.db import Database
from predictd.db.model_queries import get_model
from predictd.db.models import Account, Pickle, Run
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.domain.limits import MAX_SUBMISSION_BYTES, PRESIGNED_URL_SECONDS
from predictd.domain.names import CLASSIC
from predictd.settings import Settings
from predictd.storage import Storage
from predictd.uploads.assignment import (
    assign,
    check_has_no_pickle,
    check_has_no_webhook,
    get_pickle,
    queue_run,
    unassign,
)
from predictd.uploads.diagnostics import delete_diagnostics
from predictd.uploads.incoming import UploadAuth, UploadKind, authorize_upload
from predictd.uploads.prediction_uploads import CANT_UPLOAD_PREDICTIONS
from predictd.uploads.quota_checks import available_upload_bytes, check_queue
from predictd.uploads.registration import register_pickle, set_label
from predictd.uploads.runtime_selection import inspect_upload


@dataclass(frozen=True, kw_only=True)
class UploadService:
    """Uploads, assignments, and the runs that accounts request.

    Attributes:
        storage: presigns URLs as the client needs them.
        wake: wakes the workers after a run was queued.
        hash_pickle: computes the hash of a pickle after its registration.
    """

    database: Database
    storage: Storage
    settings: Settings
    wake: Callable[[], None]
    hash_pickle: Callable[[Pickle], None]

    def authorize(
        self, account: Account, kind: UploadKind, filename: str, model_id: str | None, now: datetime
    ) -> UploadAuth:
        """Return a unique filename and a presigned URL for an upload, for a model or for none.

        Raises:
            NotFoundError: there is no such model of this account.
            ConflictError: the model has another source of predictions.
            InvalidInputError: the filename is invalid.
            LimitReachedError: the account has as many uploads, pickles, or bytes as it may.
            BusyError: the disk is too full.
        """
        settings = self.settings
        max_bytes = settings.max_pickle_bytes if kind is UploadKind.PICKLE else MAX_SUBMISSION_BYTES
        with self.database.write() as session:
            if model_id:
                model = get_model(session, account, model_id)
                if kind is UploadKind.PICKLE:
                    check_has_no_webhook(model)
                elif kind is UploadKind.SUBMISSION:
                    check_has_no_pickle(model, CANT_UPLOAD_PREDICTIONS)
            available_bytes = available_upload_bytes(
                session, self.storage, account, kind, settings.quotas, now, max_bytes=max_bytes
            )
            return authorize_upload(
                session,
                self.storage,
                account,
                kind,
                filename,
                model_id or None,
                now=now,
                max_bytes=available_bytes,
                url_seconds=PRESIGNED_URL_SECONDS,
            )

    def register(
        self,
        account: Account,
        filename: str,
        now: datetime,
        *,
        model_id: str | None,
        runtime: str | None,
        data_version: str | None,
        source: str | None,
        tournament: int = CLASSIC,
        label: str | None = None,
    ) -> Run:
        """Register an uploaded pickle and queue its validation run, which is returned.

        Raises: as `register_pickle`, `inspect_upload`, `check_queue` and `set_label`.
        """
        # Before the transaction that writes: the inspection of a large pickle takes seconds.
        with self.database.read() as session:
            inspection = inspect_upload(session, self.storage, account, filename)
        with self.database.write() as session:
            check_queue(session, self.storage, account, self.settings.quotas)
            pickle = register_pickle(
                session,
                self.storage,
                account,
                filename,
                tournament=tournament,
                model_id=model_id or None,
                runtime=runtime or None,
                data_version=data_version or None,
                source=source[:100] if source else None,
                now=now,
                inspection=inspection,
                runtimes_home=self.settings.runtimes_home,
                quotas=self.settings.quotas,
            )
            set_label(pickle, label)
            session.flush()
            [run] = pickle.runs
        self.wake()
        self.hash_pickle(pickle)
        return run

    def assign(self, account: Account, model_id: str, pickle_id: str, now: datetime) -> None:
        """Assign a validated pickle to a model, which runs it if a round is open.

        Raises: as `assign`.
        """
        with self.database.write() as session:
            assign(session, get_model(session, account, model_id), get_pickle(session, account, pickle_id), now)
        self.wake()

    def unassign(self, account: Account, model_id: str) -> None:
        """Unassign the pickle of a model.

        Raises:
            NotFoundError: there is no such model of this account.
        """
        with self.database.write() as session:
            unassign(session, get_model(session, account, model_id))

    def run(
        self,
        account: Account,
        now: datetime,
        *,
        pickle_id: str | None = None,
        model_id: str | None = None,
        is_validation: bool = False,
    ) -> Run:
        """Queue a run of a pickle, or of the one that is assigned to a model, and return it.

        Raises:
            InvalidInputError: neither a pickle nor a model is given.
            NotFoundError: there is no such pickle or model of this account, or no pickle is assigned.
            ConflictError: the pickle's file was removed.
            LimitReachedError: the account has as many pending runs as it may.
            BusyError: the server has, or its disk is too full.
        """
        with self.database.write() as session:
            if not pickle_id:
                if not model_id:
                    raise InvalidInputError("pickleId or modelId is required.")
                model = get_model(session, account, model_id)
                if model.pickle_id is None:
                    raise NotFoundError(f"Model {model.name} has no assigned pickle. Upload or assign a pickle first.")
                pickle_id = model.pickle_id
            pickle = get_pickle(session, account, pickle_id)
            check_queue(session, self.storage, account, self.settings.quotas)
            run = queue_run(session, pickle, now, validation=is_validation, tournament=CLASSIC)
        self.wake()
        return run

    def delete_diagnostics(self, account: Account, ids: Sequence[str], now: datetime) -> None:
        """Delete diagnostics with their files, and stop their runs.

        Raises:
            NotFoundError: there are no such diagnostics of this account; nothing is deleted.
        """
        with self.database.write() as session:
            keys = delete_diagnostics(session, account, ids, now)
        for key in keys:
            self.storage.delete(key)
