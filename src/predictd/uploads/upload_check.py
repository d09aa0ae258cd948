"""What the bytes of an upload say before anything is made of it, and the runtime and data version that suit it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from predictd.data.layout import round_key, version_key
from predictd.data.schema import FEATURES_FILE, LIVE_BENCHMARKS_FILE, LIVE_FILE
from predictd.db.catalogue import choose_data_version, choose_runtime, list_data_versions, list_runtimes
from predictd.db.models import Account, DataVersion, Runtime, Upload
from predictd.db.rounds import latest_round
from predictd.domain.errors import ConflictError, InvalidInputError, NotFoundError, PredictdError
from predictd.domain.findings import Finding, Level, warn
from predictd.domain.names import CLASSIC
from predictd.pickles import DataColumns, Inspection, check_inspected
from predictd.pickles.columns import columns_in, features_in
from predictd.storage import Storage
from predictd.uploads.incoming import UploadKind, arrived_key
from predictd.uploads.runtime_selection import inspect_upload, runtimes_by_fit, target_in


@dataclass(frozen=True, kw_only=True)
class UploadCheck:
    """What is known of an upload.

    Attributes:
        size_bytes: of the file.
        findings: about it in that runtime and on that data version; None where nothing can be told.
        runtimes, versions: those in use, what suits it best first.
        fitting: the ids of the runtimes of a Python that can have made it; empty where that can't be told.
        runtime, version: those that were asked for, else the first ones.
    """

    size_bytes: int
    findings: tuple[Finding, ...] | None
    runtimes: Sequence[Runtime]
    versions: Sequence[DataVersion]
    fitting: frozenset[str]
    runtime: Runtime
    version: DataVersion

    def of_level(self, level: Level) -> list[Finding]:
        """The findings of that level, in their order."""
        return [one for one in self.findings or () if one.level is level]


def check_upload(
    session: Session,
    storage: Storage,
    account: Account,
    filename: str,
    *,
    model_id: str,
    runtime: str | None,
    data_version: str | None,
    runtimes_home: Path,
    most_bytes: int,
    now: datetime,
) -> UploadCheck:
    """Look into an upload that is not registered yet; takes some seconds for a large one, and never unpickles it.

    Args:
        session: to read from.
        storage: where the bytes are.
        account: whose upload it is.
        filename: as it was given out.
        model_id: the model that it was given out for.
        runtime, data_version: what to check it against, None for what suits it.
        runtimes_home: where the runtimes are built.
        most_bytes: the largest pickle that is taken.
        now: the time.

    Raises:
        NotFoundError: no such filename was given out for that model, or there is no such runtime or data version.
        ConflictError: it is registered already.
        InvalidInputError: no bytes arrived.
    """
    size = _size_of(session, storage, account, filename, model_id)
    inspection = inspect_upload(session, storage, account, filename)
    fitting = runtimes_by_fit(session, inspection, runtimes_home) if inspection is not None else []
    others = sorted((one for one in list_runtimes(session) if one not in fitting), key=lambda one: not one.is_default)
    runtimes = [*fitting, *others]
    versions = _versions_by_fit(session, storage, inspection)
    chosen = choose_runtime(session, runtime or (runtimes[0].id if runtimes else None))
    version = choose_data_version(session, data_version or (versions[0].id if versions else None))
    findings = None
    if inspection is not None:
        columns = _columns_of(session, storage, version, now)
        found = check_inspected(inspection, target_in(runtimes_home, chosen), columns, most_bytes)
        found = [*found, *_of_another_version(inspection, versions)]
        findings = tuple(found if fitting else map(_without_a_runtime, found))
    return UploadCheck(
        size_bytes=size,
        findings=findings,
        runtimes=runtimes,
        versions=versions,
        fitting=frozenset(one.id for one in fitting),
        runtime=chosen,
        version=version,
    )


def _size_of(session: Session, storage: Storage, account: Account, filename: str, model_id: str) -> int:
    upload = session.scalar(select(Upload).where(Upload.filename == filename))
    given_out_for = (account.id, UploadKind.PICKLE, model_id)
    if upload is None or (upload.account_id, upload.kind, upload.model_id) != given_out_for:
        raise NotFoundError("Upload not found for this model. Upload the pickle again.")
    if upload.registered_at is not None:
        raise ConflictError(f"{filename!r} has already been registered. Upload it again to run it again.")
    key = arrived_key(storage, UploadKind.PICKLE, upload)
    size = storage.stat(key) if key is not None else None
    if size is None:
        raise InvalidInputError(f"No bytes of {filename!r} were received. Upload the file again.")
    return size


def _versions_by_fit(session: Session, storage: Storage, inspection: Inspection | None) -> list[DataVersion]:
    """The data versions in use: with the fewest features missing, of these that of the training, then the default."""
    told = _trained_on(inspection)

    def badness(version: DataVersion) -> tuple[int, bool, bool]:
        features = _features_of(storage, version)
        named = inspection.features if inspection is not None else ()
        missing = sum(name not in features for name in named) if features is not None else 0
        return missing, version.name != told, not version.is_default

    return sorted(list_data_versions(session), key=badness)


def _trained_on(inspection: Inspection | None) -> str | None:
    told = (inspection.manifest or {}).get("data_version") if inspection is not None else None
    return told if isinstance(told, str) else None


def _of_another_version(inspection: Inspection, versions: Sequence[DataVersion]) -> list[Finding]:
    told = _trained_on(inspection)
    if told is None or told in {one.name for one in versions}:
        return []
    text = f"It was trained on the data version {told[:64]!r}, which this server does not offer."
    return [warn("data", "other_data_version", text, "Train it on one of those that there are to choose from.")]


def _without_a_runtime(finding: Finding) -> Finding:
    """The remedy of a wrong Python, where there is no runtime of the right one to choose."""
    if finding.code != "python_mismatch":
        return finding
    fix = "This server has no runtime of that Python: make the pickle with one that it has, or ask who runs it."
    return replace(finding, fix=fix)


def _features_of(storage: Storage, version: DataVersion) -> frozenset[str] | None:
    key = version_key(version.name, FEATURES_FILE)
    if storage.stat(key) is None:
        return None
    try:
        with storage.local_path(key) as path:
            return features_in(path)
    except PredictdError:
        return None


def _columns_of(session: Session, storage: Storage, version: DataVersion, now: datetime) -> DataColumns | None:
    """What the data version gives to a model, its live columns by the newest round's files."""
    features = _features_of(storage, version)
    if features is None:
        return None
    newest = latest_round(session, CLASSIC, now)
    columns: dict[str, frozenset[str] | None] = {}
    for filename in (LIVE_FILE, LIVE_BENCHMARKS_FILE):
        key = round_key(version.name, newest.number, filename) if newest is not None else None
        columns[filename] = None
        if key is not None and storage.stat(key) is not None:
            with storage.local_path(key) as path:
                columns[filename] = columns_in(path)
    return DataColumns(
        version=version.name, features=features, live=columns[LIVE_FILE], benchmarks=columns[LIVE_BENCHMARKS_FILE]
    )
